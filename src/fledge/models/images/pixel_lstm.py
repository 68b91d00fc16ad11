"""An LSTM over a picture read as one row (as in Theis & Bethge 2015 and van den Oord et al. 2016,
arXiv:1601.06759, a recurrent network over pixels): it is told the number before and that above.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fledge.images.pictures import PictureShape
from fledge.models.images.autoregressive import Advance, Autoregressive, shift


class PixelLSTM(Autoregressive):
    """settings: width, layers."""

    name = "pixel_lstm"

    def __init__(self, shape: PictureShape, settings: Mapping[str, Any]) -> None:
        super().__init__(shape, settings)
        width = self.settings["width"]
        self.across = shape.width * shape.channels
        self.beside = nn.Embedding(self.values, width)
        self.above = nn.Embedding(self.values, width)
        self.place = nn.Parameter(0.02 * torch.randn(self.length, width))
        self.lstm = nn.LSTM(width, width, self.settings["layers"], batch_first=True)
        self.head = nn.Linear(width, self.values)

    def conditionals(self, x: Tensor, label: Tensor | None) -> Tensor:
        above = self.above(x)
        D = self.length
        above = torch.nn.functional.pad(above, (0, 0, self.across, 0))[:, :D]
        hidden, _ = self.lstm(shift(self.beside(x)) + above + self.place)
        return self.head(hidden)

    def begin(self, count: int, label: Tensor | None) -> Advance:
        state: Any = None
        said: list[Tensor] = []

        def advance(t: int, before: Tensor | None) -> Tensor:
            nonlocal state
            given = self.place[t].expand(count, -1)
            if before is not None:
                said.append(before)
                given = given + self.beside(before)
            if t >= self.across:
                given = given + self.above(said[t - self.across])
            hidden, state = self.lstm(given[:, None], state)
            return self.head(hidden[:, 0])

        return advance
