"""A user's own model of pictures: what it leaves out is added, and what goes wrong in it is said
with its file.

    class Mine(torch.nn.Module):
        measure = "exact"                 # of nats: exact, bound or estimate; else it has none
        def __init__(self, settings, shape): ...   # shape.size, .levels, .names
        def loss(self, x): ...            # x [B, C, H, W] uint8 -> [B], differentiable
        def nats(self, x): ...            # -> [B]; by default its loss, where there is a measure
        def sample(self, count): ...      # -> [count, C, H, W] uint8
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from fledge.errors import UserError
from fledge.images.pictures import Pictures, PictureShape
from fledge.models.images.picture_model import MEASURES, PictureModel
from fledge.user_code import call, load_module


class OwnPictures(PictureModel):
    """settings: `file` (FILE.py:Class), and the class's own."""

    name = "own"
    measure = "none"

    def __init__(self, shape: PictureShape, settings: Mapping[str, Any]) -> None:
        super().__init__(shape, settings)
        file, _, wanted = self.settings["file"].rpartition(":")
        self.path, self.wanted = Path(file), wanted
        if not self.path.is_file():
            raise UserError(
                f"the model is of the class {wanted} in {file}, which is not there: put it back."
            )
        kind: Any = getattr(load_module(self.path), wanted)
        own = {key: value for key, value in self.settings.items() if key != "file"}
        made = getattr(kind, "Settings", dict)(**own)
        self.own = self.call(lambda: kind(made, shape), "while it was made")
        if not isinstance(self.own, nn.Module):
            raise UserError(f"{file}: {wanted} is no torch.nn.Module, whose weights could learn.")
        self.measure = getattr(self.own, "measure", "none")
        if self.measure not in MEASURES:
            raise UserError(
                f"{file}: {wanted}.measure is {self.measure!r}: it is one of {', '.join(MEASURES)}."
            )

    def call(self, ask: Any, when: str) -> Any:
        return call(self.path, self.wanted, ask, when)

    def loss(self, x: Tensor) -> Tensor:
        """Of each picture.  -> [B]"""
        return self.check(self.call(lambda: self.own.loss(x), "in its loss"), len(x), "loss")

    def nats(self, rows: Pictures, generator: torch.Generator) -> Tensor:
        name = "nats" if hasattr(self.own, "nats") else "loss"
        said = self.call(lambda: getattr(self.own, name)(rows.x), f"in its {name}")
        return self.check(said, len(rows), name)

    def sample(self, count: int, generator: torch.Generator, label: Tensor | None = None) -> Tensor:
        """By the process's own generator, which is put at a number of this one."""
        if not hasattr(self.own, "sample"):
            raise UserError(f"{self.path}: {self.wanted} has no sample(count): it draws nothing.")
        seed = int(torch.randint(2**62, (), generator=generator))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            drawn = self.call(lambda: self.own.sample(count), "as it drew")
        wanted = (count, *self.shape.size)
        if not isinstance(drawn, Tensor) or drawn.shape != wanted or drawn.dtype != torch.uint8:
            given = f"{drawn.dtype} {list(drawn.shape)}" if isinstance(drawn, Tensor) else drawn
            raise UserError(
                f"{self.path}: {self.wanted}.sample gave {given}: give a uint8 tensor of shape "
                f"{list(wanted)}."
            )
        return drawn

    @property
    def can_sample(self) -> bool:
        return hasattr(self.own, "sample")

    def check(self, said: Any, rows: int, name: str) -> Tensor:
        if not isinstance(said, Tensor) or said.shape != (rows,):
            shape = list(said.shape) if isinstance(said, Tensor) else type(said).__name__
            raise UserError(
                f"{self.path}: {self.wanted}.{name} gave {shape} for {rows} pictures: give one "
                "number for each."
            )
        return said

    @classmethod
    def restore(cls, card: Mapping[str, Any]) -> Self:
        return cls(PictureShape.restore(card["shape"]), card["settings"])
