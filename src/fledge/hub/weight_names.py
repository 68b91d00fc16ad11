"""What the weights of fledge's transformer are called in other makers' files: a table of names a
family, and the shapes, which its config gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from fledge.hub.family import Layout, Weight
from fledge.models.language.transformer_config import TransformerConfig

Shape = tuple[int, ...]

TRANSPOSED = Layout(lambda theirs: theirs.T, lambda ours: ours.T)


@dataclass(frozen=True)
class Names:
    """block: a part of ours to theirs, which are joined to make it, or to the one that holds them
    all. In the names of experts {} is their number. layout: of what is one tensor there, and lies
    otherwise than ours.
    """

    embedding: str
    norm: str
    head: str
    layer: str  # with {} for its number
    block: Mapping[str, tuple[str, ...]]
    place: str = ""
    layout: Callable[[TransformerConfig], Mapping[str, Layout]] = lambda c: {}


LLAMA_NAMES = Names(
    embedding="model.embed_tokens",
    norm="model.norm",
    head="lm_head",
    layer="model.layers.{}.",
    block={
        "attention.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "attention.out": ("self_attn.o_proj",),
        "attention.q_norm": ("self_attn.q_norm",),
        "attention.k_norm": ("self_attn.k_norm",),
        "attention_norm": ("input_layernorm",),
        "mlp_norm": ("post_attention_layernorm",),
        "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
        "down": ("mlp.down_proj",),
        "mixture.router": ("mlp.gate",),
        "mixture.bias": ("mlp.e_score_correction_bias",),
        "mixture.gate_up": ("mlp.experts.{}.gate_proj", "mlp.experts.{}.up_proj"),
        "mixture.down": ("mlp.experts.{}.down_proj",),
    },
)


def list_weights(c: TransformerConfig, names: Names = LLAMA_NAMES) -> Iterator[Weight]:
    """Of fledge's transformer, by a family's names."""
    yield Weight("embedding.weight", ((f"{names.embedding}.weight", (c.vocab_size, c.width)),))
    if c.learned_positions:
        yield Weight("place.weight", ((f"{names.place}.weight", (c.context, c.width)),))
    for part in ("weight", "bias") if c.norm == "layer" else ("weight",):
        yield Weight(f"norm.{part}", ((f"{names.norm}.{part}", (c.width,)),))
    # Beside a tied embedding it is the same once more, or another that `adapt` finds.
    head = (f"{names.head}.weight", (c.vocab_size, c.width))
    yield Weight("head.weight", (head,), needed=not c.tied)
    layouts = names.layout(c)
    for layer in range(c.layers):
        for ours, shapes in _list_parts(c, layer):
            yield from _name(ours, shapes, layer, names, layouts.get(ours))
        if c.has_experts(layer):
            yield from _list_experts(c, layer, names)


def _list_parts(
    c: TransformerConfig, layer: int
) -> Iterator[tuple[str, dict[str, tuple[Shape, ...]]]]:
    """The parts of a layer but its experts: weight and bias, in the pieces that are joined."""
    queries, keys, d = c.heads * c.head_width, c.kv_heads * c.head_width, c.width

    def product(rows: tuple[int, ...], columns: int, bias: bool) -> dict[str, tuple[Shape, ...]]:
        shapes = {"weight": tuple((n, columns) for n in rows)}
        return shapes | ({"bias": tuple((n,) for n in rows)} if bias else {})

    def norm(width: int) -> dict[str, tuple[Shape, ...]]:
        parts = ("weight", "bias") if c.norm == "layer" else ("weight",)
        return dict.fromkeys(parts, ((width,),))

    yield "attention.qkv", product((queries, keys, keys), d, c.qkv_bias)
    yield "attention.out", product((d,), queries, c.out_bias)
    if c.qk_norm:
        whole = (queries, keys) if c.qk_norm_whole else (c.head_width,) * 2
        yield "attention.q_norm", norm(whole[0])
        yield "attention.k_norm", norm(whole[1])
    if c.norm_places != "after":
        yield "attention_norm", norm(d)
        if c.residual != "parallel, one norm":
            yield "mlp_norm", norm(d)
    if c.norm_places != "before":
        yield "attention_out_norm", norm(d)
        yield "mlp_out_norm", norm(d)
    if not c.has_experts(layer):
        if c.gated:
            yield "gate_up", product((c.mlp_width,) * 2, d, c.mlp_bias)
        else:
            yield "up", product((c.mlp_width,), d, c.mlp_bias)
        yield "down", product((d,), c.mlp_width, c.mlp_bias)


def _name(
    ours: str,
    shapes: Mapping[str, tuple[Shape, ...]],
    layer: int,
    names: Names,
    layout: Layout | None,
) -> Iterator[Weight]:
    theirs, begin = names.block[ours], names.layer.format(layer)
    for part, pieces in shapes.items():
        own = None if layout is TRANSPOSED and part == "bias" else layout
        if len(theirs) == 1:  # in one piece there
            pieces = ((sum(shape[0] for shape in pieces), *pieces[0][1:]),)
        if own is TRANSPOSED:
            pieces = (pieces[0][::-1],)
        named = tuple(
            (f"{begin}{their}.{part}", shape) for their, shape in zip(theirs, pieces, strict=True)
        )
        yield Weight(f"blocks.{layer}.{ours}.{part}", named, layout=own)


def _list_experts(c: TransformerConfig, layer: int, names: Names) -> Iterator[Weight]:
    """In our network experts lie in one tensor, in their files each for itself."""
    assert c.experts is not None
    begin, n, inner = names.layer.format(layer), c.experts.number, c.experts.width
    [router] = names.block["mixture.router"]
    yield Weight(
        f"blocks.{layer}.mixture.router.weight", ((f"{begin}{router}.weight", (n, c.width)),)
    )
    if c.experts.corrected:
        [bias] = names.block["mixture.bias"]
        yield Weight(f"blocks.{layer}.mixture.bias", ((f"{begin}{bias}", (n,)),))
    for part, shape in (("gate_up", (inner, c.width)), ("down", (c.width, inner))):
        theirs = tuple(
            (f"{begin}{name.format(expert)}.weight", shape)
            for expert in range(n)
            for name in names.block[f"mixture.{part}"]
        )
        yield Weight(f"blocks.{layer}.mixture.{part}", theirs)
