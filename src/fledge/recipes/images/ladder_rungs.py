"""The rungs of `fledge ladder density`: one line for each model, with what suits small pictures and
seconds of training. Another model of pictures is another line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Rung:
    """title: of the model on the page, and its run's folder. fields: of `fledge imagine`, beside
    the model.
    """

    title: str
    model: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        return self.title.replace(",", "").replace(" ", "_")


RUNGS: tuple[Rung, ...] = (
    Rung("histogram", "histogram"),
    Rung("chow_liu", "chow_liu"),
    Rung("nade", "nade", {"width": 128}),
    Rung("made", "made", {"width": 256}),
    Rung("wavenet", "wavenet", {"width": 32}),
    Rung("pixel_lstm", "pixel_lstm", {"width": 96, "learning_rate": 2e-3}),
    Rung("pixelcnn", "pixelcnn", {"width": 24, "layers": 4}),
    Rung("pixel_transformer", "pixel_transformer", {"width": 64, "layers": 3}),
    Rung(
        "pixel_transformer, strided", "pixel_transformer",
        {"width": 64, "layers": 3, "attention": "strided"},
    ),
    Rung("vae", "vae"),
)  # fmt: skip
