"""What a drawing is worth: a reader that was trained apart says what it sees in it.

The folder is one of `fledge spell`: the autoencoder that turns codes into a picture (`vq/`), the
reader (`reader/`), and which label each prompt asks for (`draw.jsonl`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.images.code_text import read_codes
from fledge.models.images.picture_model import load_picture_model
from fledge.models.images.reader import load_reader
from fledge.models.images.vq import VQ

MOST_WRONG = 0.5  # what a picture earns that is sure to be read as asked, and is not


class Drawings:
    """Pictures out of texts, and what they are worth."""

    def __init__(self, folder: Path) -> None:
        """Raises UserError where the folder is none of `fledge spell`."""
        if not (folder / "draw.jsonl").is_file():
            raise UserError(
                f"{folder} has no draw.jsonl: give a folder that `fledge spell` has written."
            )
        model = load_picture_model(folder / "vq")
        assert isinstance(model, VQ)
        self.model, self.reader = model, load_reader(folder / "reader")
        lines = (folder / "draw.jsonl").read_text(encoding="utf-8").splitlines()
        self.asked = {row["prompt"]: row["label"] for row in map(json.loads, lines)}

    def prompts(self) -> list[str]:
        return list(self.asked)

    @torch.no_grad()
    def draw(self, texts: Sequence[str]) -> tuple[Tensor, list[int]]:
        """The first whole picture of each text that has one.  -> [N, C, H, W] uint8, whose they
        are
        """
        model = self.model
        read = [read_codes(text, model.places, model.quantiser.size) for text in texts]
        owners = [place for place, codes in enumerate(read) if codes is not None]
        if not owners:
            return torch.zeros(0, *model.shape.size, dtype=torch.uint8), []
        codes = torch.tensor([codes for codes in read if codes is not None])
        return model.settle(codes), owners

    @torch.no_grad()
    def scores(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        """1 where the likeliest label is the one asked for; else up to a half, by how likely it
        is; 0 for what is no picture.
        """
        worth = [0.0] * len(completions)
        drawn, owners = self.draw(completions)
        if not owners:
            return worth
        p = self.reader(drawn).exp()
        names = self.model.shape.names
        for row, owner in zip(p, owners, strict=True):
            wanted = names.index(self.asked[prompts[owner]])
            right = int(row.argmax()) == wanted
            worth[owner] = 1.0 if right else MOST_WRONG * float(row[wanted])
        return worth

    @torch.no_grad()
    def name(self, drawn: Tensor) -> list[str]:
        """The likeliest label of each picture.  [N, C, H, W] -> [N]"""
        if len(drawn) == 0:
            return []
        return [self.model.shape.names[place] for place in self.reader(drawn).argmax(1).tolist()]
