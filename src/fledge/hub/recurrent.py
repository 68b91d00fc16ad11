"""Recurrent language models as a folder: fledge's own layout, since no other library has one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from torch import nn

from fledge.hub.family import Family, ModelConfig, Weight
from fledge.models.language.recurrent import Recurrent
from fledge.models.language.recurrent_config import GATES, Cell, RecurrentConfig

Size = Annotated[int, Field(ge=1, le=2**31)]


class SavedRecurrent(ModelConfig):
    cell: Cell
    vocab_size: Size
    max_position_embeddings: Size
    num_hidden_layers: Annotated[int, Field(ge=1, le=10_000)]
    hidden_size: Size
    intermediate_size: Annotated[int, Field(ge=0, le=2**31)] = 0
    tie_word_embeddings: bool = True
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    backward: bool = False


def _read(config: SavedRecurrent, folder: Path) -> RecurrentConfig:
    return RecurrentConfig(
        vocab_size=config.vocab_size,
        cell=config.cell,
        context=config.max_position_embeddings,
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        mlp_width=config.intermediate_size,
        tied=config.tie_word_embeddings,
        dropout=config.dropout,
        backward=config.backward,
        family="fledge_recurrent",
    )


def _write(c: RecurrentConfig) -> dict[str, Any]:
    return {
        "cell": c.cell,
        "vocab_size": c.vocab_size,
        "max_position_embeddings": c.context,
        "num_hidden_layers": c.layers,
        "hidden_size": c.width,
        "intermediate_size": c.mlp_width,
        "tie_word_embeddings": c.tied,
        "dropout": c.dropout,
        "backward": c.backward,
    }


def _list_weights(c: RecurrentConfig) -> Iterator[Weight]:
    yield _name("embedding.weight", c.vocab_size, c.width)
    for layer in range(c.layers):
        start = f"cells.{layer}."
        for name, *shape in _list_minimal(c) if c.cell == "mingru" else _list_kernel(c):
            yield _name(start + name, *shape)
    if c.cell == "mingru":
        yield _name("norm.weight", c.width)
    if not c.tied:
        yield _name("head.weight", c.vocab_size, c.width)


def _list_kernel(c: RecurrentConfig) -> Iterator[tuple[Any, ...]]:
    high = GATES[c.cell] * c.width
    yield "cell.weight_ih_l0", high, c.width
    yield "cell.weight_hh_l0", high, c.width
    yield "cell.bias_ih_l0", high
    yield "cell.bias_hh_l0", high


def _list_minimal(c: RecurrentConfig) -> Iterator[tuple[Any, ...]]:
    w, m = c.width, c.mlp_width
    yield "norm.weight", w
    for name in ("gate", "candidate"):
        yield f"{name}.weight", w, w
        yield f"{name}.bias", w
    yield "out.weight", w, w
    yield "mlp_norm.weight", w
    yield "gate_up.weight", 2 * m, w
    yield "down.weight", w, m


def _name(ours: str, *shape: int) -> Weight:
    return Weight(ours, ((ours, shape),))


def _is_recurrent(network: nn.Module) -> bool:
    return type(network) is Recurrent  # a derived class may compute something else


RECURRENT = Family(
    model_type="fledge_recurrent",
    name="Recurrent",
    config=SavedRecurrent,
    read_config=_read,
    write_config=_write,
    weights=_list_weights,
    build=Recurrent,
    builds=_is_recurrent,
)
