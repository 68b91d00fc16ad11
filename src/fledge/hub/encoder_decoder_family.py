"""What the families of encoder–decoders have in common: how their weights are named piece by piece,
how their network is made, and how their tokenizer is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from torch import nn

from fledge.hub.family import Weight
from fledge.models.language.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from fledge.text.paired import PairedTokenizer
from fledge.text.tokenizer import Tokenizer


class Piece(NamedTuple):
    """A product or a norm of ours, theirs that are joined to make it, and the shape of each."""

    ours: str
    theirs: tuple[str, ...]
    shape: tuple[int, ...]


def name_linear(ours: str, begin: str, part: Piece, *, biased: bool) -> Iterator[Weight]:
    """Its weight, and its bias where there is one. begin: of their names."""
    kinds = {"weight": part.shape} | ({"bias": part.shape[:1]} if biased else {})
    for kind, shape in kinds.items():
        theirs = tuple((f"{begin}{their}.{kind}", shape) for their in part.theirs)
        yield Weight(f"{ours}.{kind}", theirs)


def make_encoder_decoder(config: EncoderDecoderConfig, border: int | None) -> EncoderDecoder:
    """border: of no use, since a row is one input and one target."""
    return EncoderDecoder(config)


def is_encoder_decoder(style: str) -> Callable[[nn.Module], bool]:
    """Whether a network is an encoder–decoder of this style, and no class derived from it."""

    def builds(network: Any) -> bool:
        return type(network) is EncoderDecoder and network.config.style == style

    return builds


def read_pair_tokenizer(tokenizer: Tokenizer, config: EncoderDecoderConfig) -> PairedTokenizer:
    """The same tokenizer, whose prompts are inputs and whose answers are targets."""
    return PairedTokenizer(tokenizer, config.start, joined=config.starts_with_end)
