"""The sizes and choices that make an encoder–decoder: T5 with its later versions, and BART."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from fledge.errors import UserError

Style = Literal["t5", "bart"]


@dataclass(frozen=True)
class EncoderDecoderConfig:
    """style: t5 (Raffel et al. 2020, §2.1: relative positions in buckets, a norm without mean
    before each part, no biases, scores that are not scaled) or bart (Lewis et al. 2020, §2.1:
    learned positions, a norm after each part, biases).

    context: tokens of a row, input and target together. start: the token that stands between the
    two, from which the decoder begins; of BART it also ends the input.
    """

    vocab_size: int
    start: int
    style: Style = "t5"
    context: int = 512
    encoder_layers: int = 4
    decoder_layers: int = 4
    width: int = 128
    heads: int = 4
    decoder_heads: int = 0  # 0: as many as the encoder's
    head_width: int = 0  # 0: width / heads
    mlp_width: int = 0  # 0: 8/3 of the width where it is gated, else 4 times it
    decoder_mlp_width: int = 0  # 0: as wide as the encoder's
    gated: bool = True
    activation: str = "gelu_tanh"
    tied: bool = True
    scaled_output: bool = False  # what is unembedded is divided by √width
    embedding_scale: float = 1.0
    norm_eps: float = 1e-6
    buckets: int = 32  # of distances, of T5
    max_distance: int = 128  # beyond which all distances are one bucket
    family: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.head_width == 0:
            if self.width % self.heads:
                raise UserError(
                    f"width={self.width} cannot be divided among heads={self.heads}: choose a "
                    "multiple."
                )
            object.__setattr__(self, "head_width", self.width // self.heads)
        if self.mlp_width == 0:
            wide = 32 * math.ceil(self.width * 8 / 3 / 32) if self.gated else 4 * self.width
            object.__setattr__(self, "mlp_width", wide)
        if self.decoder_mlp_width == 0:
            object.__setattr__(self, "decoder_mlp_width", self.mlp_width)
        if self.decoder_heads == 0:
            object.__setattr__(self, "decoder_heads", self.heads)
        if self.style == "t5" and self.context % 2:
            raise UserError(
                f"context={self.context} is of input and target, and T5's config.json has the half "
                "of it: give an even number."
            )
        if self.style == "t5" and self.max_distance <= self.buckets // 2:
            raise UserError(
                f"a furthest distance of {self.max_distance} leaves nothing to widen for "
                f"{self.buckets} buckets of distances, of which half are for one each: give more "
                "than that half."
            )
        if self.style == "bart" and (
            self.heads * self.head_width != self.width or self.width % self.decoder_heads
        ):
            raise UserError(
                f"width={self.width} cannot be divided among heads={self.heads} and "
                f"{self.decoder_heads}: choose a multiple of both."
            )

    @property
    def layers(self) -> int:
        """Of both sides together."""
        return self.encoder_layers + self.decoder_layers

    @property
    def decoder_head_width(self) -> int:
        return self.width // self.decoder_heads if self.style == "bart" else self.head_width

    @property
    def biased(self) -> bool:
        """Whether products add a bias, and norms do."""
        return self.style == "bart"

    @property
    def starts_with_end(self) -> bool:
        """Whether the token that ends the input is the one that the decoder begins from."""
        return self.style == "bart"

    @property
    def widest(self) -> int:
        """The most numbers that a layer makes of a token at once."""
        return (2 if self.gated else 1) * max(self.mlp_width, self.decoder_mlp_width)

    def count_cache(self, positions: int) -> int:
        """Numbers that are kept of a row while it is written: keys and values of its own tokens,
        and of the input that it looks at.
        """
        return 4 * self.decoder_layers * self.decoder_heads * self.decoder_head_width * positions

    @property
    def parameters(self) -> int:
        """How many numbers a network of these sizes learns."""
        w, bias = self.width, int(self.biased)
        pieces = 2 if self.gated else 1
        norm = (1 + bias) * w

        def attention(heads: int, head_width: int) -> int:
            inner = heads * head_width
            return 4 * inner * w + bias * (3 * inner + w)

        def mlp(wide: int) -> int:
            return (pieces + 1) * w * wide + bias * (wide + w)

        of_decoder = attention(self.decoder_heads, self.decoder_head_width)
        encoder = attention(self.heads, self.head_width) + mlp(self.mlp_width) + 2 * norm
        decoder = 2 * of_decoder + mlp(self.decoder_mlp_width) + 3 * norm
        outside = (1 if self.tied else 2) * self.vocab_size * w + 2 * norm
        if self.style == "t5":
            outside += self.buckets * (self.heads + self.decoder_heads)
        else:
            outside += 2 * (self.context + OFFSET) * w
        return self.encoder_layers * encoder + self.decoder_layers * decoder + outside


OFFSET = 2  # BART's first position is that of the third vector
