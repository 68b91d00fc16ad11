"""The sizes of a recurrent language model, and which cell it is made of."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

Cell = Literal["elman", "lstm", "gru", "mingru"]
GATES: dict[Cell, int] = {"elman": 1, "lstm": 4, "gru": 3, "mingru": 2}


@dataclass(frozen=True)
class RecurrentConfig:
    """`layers` cells of `width` over an embedding as wide.

    elman: h_t = tanh(W x_t + U h_{t−1} + c) (Elman 1990). lstm: Hochreiter & Schmidhuber 1997 with
    the forget gate of Gers et al. 2000. gru: Cho et al. 2014, the reset gate after the product, as
    torch has it. mingru: gates that see the input alone, so that all steps are computed at once
    (Feng et al. 2024, "Were RNNs all we needed?", §3.1), each between a norm and an MLP, with
    residuals, as a transformer's attention is.

    context: tokens of a row that is trained on or written; the state knows no such limit.
    dropout: of what each layer, and the unembedding, reads: one mask a row, the same at every step
    (Gal & Ghahramani 2016, §4).
    backward: documents were read from their end; the network computes the same.
    """

    vocab_size: int
    cell: Cell
    context: int = 256
    layers: int = 4
    width: int = 128
    mlp_width: int = 0  # of mingru; 0: 8/3 of the width, rounded up to a multiple of 32
    tied: bool = True
    dropout: float = 0.0
    backward: bool = False
    family: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.cell == "mingru" and self.mlp_width == 0:
            object.__setattr__(self, "mlp_width", 32 * math.ceil(self.width * 8 / 3 / 32))

    @property
    def state_width(self) -> int:
        """Numbers that a layer remembers of a row: of an LSTM, what it says and its memory."""
        return 2 * self.width if self.cell == "lstm" else self.width

    @property
    def widest(self) -> int:
        """The most numbers that a layer makes of a token at once."""
        return max(GATES[self.cell] * self.width, 2 * self.mlp_width)

    def count_cache(self, positions: int) -> int:
        """Numbers that are kept of a row while it is written, however long it is."""
        return self.layers * self.state_width

    @property
    def parameters(self) -> int:
        """How many numbers a network of these sizes learns."""
        w = self.width
        if self.cell == "mingru":
            layer = 2 * (w * w + w) + w * w + 3 * w * self.mlp_width + 2 * w
            outside = w
        else:
            layer = GATES[self.cell] * (2 * w * w + 2 * w)
            outside = 0
        return self.layers * layer + outside + (1 if self.tied else 2) * self.vocab_size * w
