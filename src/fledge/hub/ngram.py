"""N-gram models as a folder: fledge's own layout. For other programs there is ARPA (`hub.arpa`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from torch import nn

from fledge.hub.family import Family, ModelConfig, Weight
from fledge.models.language.ngram_network import NgramConfig, NgramNetwork

Size = Annotated[int, Field(ge=1, le=2**31)]
Number = Annotated[int, Field(ge=0, le=2**31)]


class SavedNgram(ModelConfig):
    vocab_size: Size
    max_position_embeddings: Size
    numbers: Annotated[list[Number], Field(max_length=6)]
    additive: bool = False


def _read(config: SavedNgram, folder: Path) -> NgramConfig:
    return NgramConfig(
        config.vocab_size, tuple(config.numbers), config.max_position_embeddings, config.additive,
        family="fledge_ngram",
    )  # fmt: skip


def _write(c: NgramConfig) -> dict[str, Any]:
    return {
        "vocab_size": c.vocab_size,
        "max_position_embeddings": c.context,
        "numbers": list(c.numbers),
        "additive": c.additive,
    }


def _list_weights(c: NgramConfig) -> Iterator[Weight]:
    sizes = [c.vocab_size, *c.numbers]
    for n, size in enumerate(sizes, 1):
        if n > 1:
            yield Weight(f"keys_{n}", ((f"keys_{n}", (size,)),), integer=True)
        yield Weight(f"logp_{n}", ((f"logp_{n}", (size,)),))
        if n < len(sizes) or n == 1:
            yield Weight(f"backoff_{n}", ((f"backoff_{n}", (size,)),))


def _is_ngram(network: nn.Module) -> bool:
    return type(network) is NgramNetwork


NGRAM = Family(
    model_type="fledge_ngram",
    name="Ngram",
    config=SavedNgram,
    read_config=_read,
    write_config=_write,
    weights=_list_weights,
    build=NgramNetwork,
    builds=_is_ngram,
)
