"""How rotary positions are described in a config.json: `rope_parameters`, and the `rope_theta` and
`rope_scaling` of earlier versions; into our numbers and back.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import Field

from fledge.errors import UserError
from fledge.hub.family import Part, Positive
from fledge.models.language.rope_scaling import UNSCALED, RopeScaling

Factor = Annotated[float, Field(ge=1e-6, le=1e6)]
Tokens = Annotated[int, Field(ge=1, lt=2**31)]
EVERY_KIND = ("default", "linear", "dynamic", "llama3", "yarn", "longrope")


class Rope(Part):
    """Every entry that one of `transformers`' kinds of scaling reads."""

    rope_type: str | None = None
    type: str | None = None  # of earlier versions
    rope_theta: Positive | None = None
    partial_rotary_factor: Annotated[float, Field(gt=0, le=1)] | None = None
    factor: Factor | None = None
    original_max_position_embeddings: Tokens | None = None
    low_freq_factor: Factor | None = None
    high_freq_factor: Factor | None = None
    beta_fast: Factor | None = None
    beta_slow: Factor | None = None
    mscale: Factor | None = None
    mscale_all_dim: Factor | None = None
    truncate: bool = True
    short_factor: list[Factor] | None = None
    long_factor: list[Factor] | None = None
    attention_factor: Factor | None = None

    @property
    def kind(self) -> str:
        return self.rope_type or self.type or "default"


class RopeConfig(Protocol):
    """What a family's config has of it."""

    @property
    def rope_parameters(self) -> Rope | None: ...
    @property
    def rope_scaling(self) -> Rope | None: ...
    @property
    def max_position_embeddings(self) -> int: ...


def find_rope(config: RopeConfig) -> Rope:
    """The one that counts: `transformers` puts what earlier versions wrote in the place of the
    new.
    """
    given = (config.rope_scaling, config.rope_parameters)
    return next((rope for rope in given if rope is not None and rope.model_fields_set), Rope())


def read_scaling(
    rope: Rope,
    context: int,
    turned: int,
    folder: Path,
    *,
    kinds: Collection[str] = EVERY_KIND,
    original: int | None = None,
) -> RopeScaling:
    """turned: the width of a head that is turned. original: said outside of `rope`, which counts
    more. Raises UserError for a kind that is unknown, or has not what it needs.
    """
    kind, where = rope.kind, f"{folder / 'config.json'}"
    if kind not in kinds:
        raise UserError(
            f"{folder} scales its rotary positions by {kind[:40]!r}: fledge reads "
            f"{', '.join(kinds)}."
        )
    if kind == "default":
        return UNSCALED
    if kind == "longrope":
        return _read_longrope(rope, context, turned, where, original)
    factor = _need(rope.factor, "factor", kind, where)
    original = original or rope.original_max_position_embeddings or context
    if kind == "llama3":
        low = _need(rope.low_freq_factor, "low_freq_factor", kind, where)
        high = _need(rope.high_freq_factor, "high_freq_factor", kind, where)
        if high <= low:
            raise UserError(
                f"{where} has high_freq_factor={high} and low_freq_factor={low}: the first must "
                "be the larger."
            )
        return RopeScaling("llama3", factor, original, low, high)
    if kind == "yarn":
        fast, slow = rope.beta_fast or 32.0, rope.beta_slow or 1.0
        return RopeScaling(
            "yarn", factor, original, fast=fast, slow=slow, whole=rope.truncate,
            attention_factor=rope.attention_factor or _yarn_attention(rope, factor),
        )  # fmt: skip
    return RopeScaling("dynamic" if kind == "dynamic" else "linear", factor)


def _yarn_attention(rope: Rope, factor: float) -> float:
    """Peng et al. 2023, eq. 22; with two scales their ratio, as DeepSeek has it."""

    def grow(scale: float) -> float:
        return 0.1 * scale * math.log(factor) + 1 if factor > 1 else 1.0

    if rope.mscale and rope.mscale_all_dim:
        return grow(rope.mscale) / grow(rope.mscale_all_dim)
    return grow(1.0)


def _read_longrope(
    rope: Rope, context: int, turned: int, where: str, original: int | None
) -> RopeScaling:
    original = original or rope.original_max_position_embeddings or context
    for name in ("short_factor", "long_factor"):
        factors = _need(getattr(rope, name), name, "longrope", where)
        if len(factors) != turned // 2:
            raise UserError(
                f"{where} has {len(factors)} numbers in {name}: there must be {turned // 2}, one "
                "for each frequency."
            )
    stretch = rope.factor or context / original
    attention = 1.0
    if stretch > 1 and original > 1:
        attention = math.sqrt(1 + math.log(stretch) / math.log(original))
    return RopeScaling(
        "longrope",
        original=original,
        short_factors=tuple(map(float, rope.short_factor or ())),
        long_factors=tuple(map(float, rope.long_factor or ())),
        attention_factor=rope.attention_factor or attention,
    )


def _need(value: Any, name: str, kind: str, where: str) -> Any:
    if value is None:
        raise UserError(f"{where} scales its rotary positions by {kind} without a {name}: add it.")
    return value


def write_part(turned: int, head: int) -> float:
    """`partial_rotary_factor`: the share of a head that is turned, as `int(head * share)` reads
    it.
    """
    share = turned / head
    return share if int(head * share) == turned else math.nextafter(share, 1)


def write_rope(theta: float, scaling: RopeScaling = UNSCALED) -> dict[str, Any]:
    """`rope_parameters` of a config.json."""
    s = scaling
    rope: dict[str, Any] = {
        "rope_type": "default" if s.kind == "none" else s.kind, "rope_theta": theta,
    }  # fmt: skip
    if s.kind in ("linear", "dynamic", "llama3", "yarn"):
        rope["factor"] = s.factor
    if s.original:
        rope["original_max_position_embeddings"] = s.original
    if s.kind == "llama3":
        rope |= {"low_freq_factor": s.low, "high_freq_factor": s.high}
    if s.kind == "yarn":
        rope |= {"beta_fast": s.fast, "beta_slow": s.slow, "truncate": s.whole}
    if s.kind == "longrope":
        rope |= {"short_factor": list(s.short_factors), "long_factor": list(s.long_factors)}
    if s.kind in ("yarn", "longrope"):
        rope["attention_factor"] = s.attention_factor
    return rope
