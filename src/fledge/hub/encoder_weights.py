"""What the weights of fledge's encoder are called in other makers' files: a table of names a
family, and the shapes, which its config gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fledge.hub.family import Weight
from fledge.models.language.encoder_config import EncoderConfig


@dataclass(frozen=True)
class EncoderNames:
    """Ours to theirs, each without .weight and .bias; the pieces of a joined one in a tuple.
    layer: with {} for its number. heads: what stands on the hidden states, by the kind of
    classifier where its name hangs on that: "classifier token".
    """

    trunk: Mapping[str, str]
    layer: str
    block: Mapping[str, tuple[str, ...]]
    heads: Mapping[str, str]


class OldNorms(Mapping[str, str]):
    """Names of the first releases: gamma and beta of a norm, for weight and bias."""

    def __getitem__(self, name: str) -> str:
        for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
            if name.endswith(old):
                return name.removesuffix(old) + new
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def list_weights(c: EncoderConfig, names: EncoderNames) -> Iterator[Weight]:
    """Of fledge's encoder, by a family's names; what stands on the trunk may be missing."""
    yield from _list_trunk(c, names.trunk)
    for layer in range(c.layers):
        begin = names.layer.format(layer)
        for ours, rows, columns, bias in _list_block(c, layer):
            theirs = names.block[ours]
            pieces = tuple(begin + name for name in theirs)
            for part, width in (("weight", columns), ("bias", 0)):
                if part == "bias" and not bias:
                    continue
                shape = (rows // len(pieces), *((width,) if width else ()))
                named = tuple((f"{piece}.{part}", shape) for piece in pieces)
                yield Weight(f"blocks.{layer}.{ours}.{part}", named)
    for ours, shape in _list_heads(c):
        part, _, leaf = ours.rpartition(".")
        their = names.heads.get(f"{part} {c.classifier}", names.heads.get(part or leaf))
        if their is not None:
            named = f"{their}.{leaf}" if part else their
            yield Weight(ours, ((named, shape),), needed=False)


def _list_trunk(c: EncoderConfig, names: Mapping[str, str]) -> Iterator[Weight]:
    e = c.embedded
    tables = {"embedding": c.vocab_size}
    if c.learned_positions:
        tables["place"] = c.first_position + c.context
    if c.types:
        tables["token_type"] = c.types
    for ours, rows in tables.items():
        yield Weight(f"{ours}.weight", ((f"{names[ours]}.weight", (rows, e)),))
    norms = {"embedding_norm": e} | ({"norm": c.width} if c.norm_first else {})
    for ours, width in norms.items():
        for part in ("weight", "bias")[: 1 + c.norm_bias]:
            yield Weight(f"{ours}.{part}", ((f"{names[ours]}.{part}", (width,)),))
    if c.embedding_width:
        yield Weight("project.weight", ((f"{names['project']}.weight", (c.width, e)),))
        yield Weight("project.bias", ((f"{names['project']}.bias", (c.width,)),))


def _list_block(c: EncoderConfig, layer: int) -> Iterator[tuple[str, int, int, bool]]:
    """Name, rows, columns (0 of a norm) and whether it has a bias."""
    high = (2 if c.gated else 1) * c.mlp_width
    yield "qkv", 3 * c.width, c.width, c.attention_bias
    yield "out", c.width, c.width, c.attention_bias
    if layer or not c.norm_first:
        yield "attention_norm", c.width, 0, c.norm_bias
    yield "up", high, c.width, c.mlp_bias
    yield "down", c.width, c.mlp_width, c.mlp_bias
    yield "mlp_norm", c.width, 0, c.norm_bias


def _list_heads(c: EncoderConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    w, e = c.width, c.embedded

    def linear(name: str, rows: int, columns: int, bias: bool = True) -> Any:
        yield f"{name}.weight", (rows, columns)
        if bias:
            yield f"{name}.bias", (rows,)

    if c.pooler:
        yield from linear("pooler", w, w)
    if c.transform:
        yield from linear("transform", e, w, c.transform_bias)
        yield "transform_norm.weight", (e,)
        if c.norm_bias:
            yield "transform_norm.bias", (e,)
    if c.masked and not c.tied:
        yield "decoder.weight", (c.vocab_size, e)
    if c.masked and c.decoder_bias:
        yield "decoder_bias", (c.vocab_size,)
    if c.next:
        yield from linear("follows", 2, w)
    if c.replaced:
        yield from linear("detector", w, w)
        yield from linear("detected", 1, w)
    if c.classifier:
        yield from linear("classifier", len(c.labels), w)
