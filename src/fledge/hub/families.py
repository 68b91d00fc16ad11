"""The Hugging Face families that fledge knows, all of its one transformer: Llama, with a window
Mistral, with normalised queries and keys Qwen 3. A file of the user's may register more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from fledge.errors import UserError
from fledge.hub.family import Family, ModelConfig, Part, Positive, Weight
from fledge.models.language.transformer import Transformer, TransformerConfig

Size = Annotated[int, Field(ge=1, lt=2**31)]
Window = Annotated[int, Field(ge=0, lt=2**31)]

HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


class Rope(Part):
    """How positions turn; earlier versions of `transformers` wrote `type` and kept the theta
    beside.
    """

    rope_type: str | None = None
    type: str | None = None
    rope_theta: Positive | None = None


class LlamaConfig(ModelConfig):
    """What is missing has the value that `transformers` 5.24 gives it."""

    vocab_size: Size
    hidden_size: Size
    intermediate_size: Size
    num_hidden_layers: Size
    num_attention_heads: Size
    num_key_value_heads: Size | None = None
    head_dim: Size | None = None
    max_position_embeddings: Size
    rms_norm_eps: Annotated[float, Field(ge=0, lt=1e30)]
    rope_parameters: Rope | None = None
    rope_scaling: Rope | None = None
    rope_theta: Positive | None = None
    tie_word_embeddings: bool = False
    hidden_act: str = "silu"
    sliding_window: Window | None = None
    use_sliding_window: bool = False
    max_window_layers: Window | None = None
    layer_types: list[str] | None = None


def _read_sizes(config: LlamaConfig, folder: Path) -> TransformerConfig:
    """The sizes of fledge's network. Raises UserError for what it cannot compute."""
    if config.hidden_act != "silu":
        raise UserError(
            f"{folder} has hidden_act={config.hidden_act}: fledge reads models with "
            "hidden_act=silu."
        )
    rope = config.rope_parameters or Rope()
    scaling = config.rope_scaling or Rope()
    kinds = (rope.rope_type, rope.type, scaling.rope_type, scaling.type)
    kind = next((kind for kind in kinds if kind not in (None, "default")), None)
    if kind is not None:
        raise UserError(
            f"{folder} scales its rotary positions ({kind}): fledge reads unscaled ones."
        )
    qwen = config.model_type == "qwen3"
    unsaid = 128 if qwen and "head_dim" not in config.model_fields_set else 0
    try:
        return TransformerConfig(
            vocab_size=config.vocab_size,
            context=config.max_position_embeddings,
            layers=config.num_hidden_layers,
            width=config.hidden_size,
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads or config.num_attention_heads,
            mlp_width=config.intermediate_size,
            tied=config.tie_word_embeddings,
            qk_norm=qwen,
            rope_theta=rope.rope_theta or config.rope_theta or 10_000.0,
            norm_eps=config.rms_norm_eps,
            head_width=config.head_dim or unsaid,
            window=_window(config, folder),
        )
    except UserError as error:
        raise UserError(f"{folder / 'config.json'}: {error}") from error


def _window(config: LlamaConfig, folder: Path) -> int:
    """0 where every token looks at all before it. Raises UserError where some layers slide and
    others do not.
    """
    window = 4096 if "sliding_window" not in config.model_fields_set else config.sliding_window or 0
    if config.model_type == "mistral":
        return window
    if config.model_type == "llama" or not config.use_sliding_window or not window:
        return 0
    if config.layer_types is not None:
        slides = {kind == "sliding_attention" for kind in config.layer_types}
    else:
        first = 28 if config.max_window_layers is None else config.max_window_layers
        slides = (
            {False}
            if first >= config.num_hidden_layers
            else {True}
            if first == 0
            else {False, True}
        )
    if len(slides) > 1:
        raise UserError(
            f"{folder} slides its window in some layers only: fledge reads models that do in all "
            "or in none."
        )
    return window if True in slides else 0


def _write_sizes(c: TransformerConfig) -> dict[str, Any]:
    sizes = {
        "vocab_size": c.vocab_size,
        "hidden_size": c.width,
        "intermediate_size": c.mlp_width,
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "num_key_value_heads": c.kv_heads,
        "head_dim": c.head_width,
        "max_position_embeddings": c.context,
        "rms_norm_eps": c.norm_eps,
        "rope_parameters": {"rope_type": "default", "rope_theta": c.rope_theta},
        "tie_word_embeddings": c.tied,
        "hidden_act": "silu",
        "attention_bias": False,
    }
    if c.window:
        sizes |= {"sliding_window": c.window, "use_sliding_window": True, "max_window_layers": 0}
    return sizes


def list_weights(c: TransformerConfig) -> Iterator[Weight]:
    """Of fledge's transformer, by the names that all three families have for it."""
    yield Weight("embedding.weight", ((EMBEDDING, (c.vocab_size, c.width)),))
    yield Weight("norm.weight", (("model.norm.weight", (c.width,)),))
    # Beside a tied embedding it is the same once more, or another that `adapt` finds.
    yield Weight("head.weight", ((HEAD, (c.vocab_size, c.width)),), needed=not c.tied)
    queries, keys = c.heads * c.head_width, c.kv_heads * c.head_width
    block: dict[str, dict[str, tuple[int, ...]]] = {
        "attention.qkv.weight": {
            "self_attn.q_proj.weight": (queries, c.width),
            "self_attn.k_proj.weight": (keys, c.width),
            "self_attn.v_proj.weight": (keys, c.width),
        },
        "attention.out.weight": {"self_attn.o_proj.weight": (c.width, queries)},
        "attention_norm.weight": {"input_layernorm.weight": (c.width,)},
        "mlp_norm.weight": {"post_attention_layernorm.weight": (c.width,)},
        "gate_up.weight": {
            "mlp.gate_proj.weight": (c.mlp_width, c.width),
            "mlp.up_proj.weight": (c.mlp_width, c.width),
        },
        "down.weight": {"mlp.down_proj.weight": (c.width, c.mlp_width)},
    }
    if c.qk_norm:
        for part in "qk":
            name = f"{part}_norm.weight"
            block[f"attention.{name}"] = {f"self_attn.{name}": (c.head_width,)}
    for layer in range(c.layers):
        yield from list_block(layer, block)


def list_block(layer: int, block: Mapping[str, Mapping[str, tuple[int, ...]]]) -> Iterator[Weight]:
    """The weights of one layer: our name in the block to theirs, with their shapes."""
    for ours, theirs in block.items():
        pieces = ((f"model.layers.{layer}.{name}", shape) for name, shape in theirs.items())
        yield Weight(f"blocks.{layer}.{ours}", tuple(pieces))


def untie(sizes: TransformerConfig, weights: Mapping[str, Tensor]) -> TransformerConfig:
    """A file may hold an output layer that is another than its embedding. `transformers` (5.24)
    then uses it, also where config.json says that they are one.
    """
    if not sizes.tied or HEAD not in weights:
        return sizes
    same = torch.equal(weights[HEAD].double(), weights[EMBEDDING].double())
    return sizes if same else replace(sizes, tied=False)


def _is_transformer(network: nn.Module, name: str) -> bool:
    if not isinstance(network, Transformer):
        return False
    c = network.config
    return name == ("Qwen3" if c.qk_norm else "Mistral" if c.window else "Llama")


def _make_llama(name: str) -> Family:
    return Family(
        model_type=name.lower(),
        name=name,
        config=LlamaConfig,
        read_config=_read_sizes,
        write_config=_write_sizes,
        weights=list_weights,
        build=Transformer,
        builds=partial(_is_transformer, name=name),
        adapt=untie,
    )


LLAMA, MISTRAL, QWEN3 = (_make_llama(name) for name in ("Llama", "Mistral", "Qwen3"))
_known = {family.model_type: family for family in (LLAMA, MISTRAL, QWEN3)}


def register_family(family: Family) -> None:
    """From now on its folders are read, and its networks written. One of the same model_type is
    replaced.
    """
    # The newest comes first: its network may be derived from that of another.
    rest = {name: other for name, other in _known.items() if name != family.model_type}
    _known.clear()
    _known.update({family.model_type: family} | rest)


def find_family(model_type: str, place: Path) -> Family:
    """Raises UserError for one that is not known."""
    if model_type not in _known:
        raise UserError(
            f"{place} has model_type={model_type[:40]!r}: fledge reads "
            f"{', '.join(sorted(_known))}. Use another model, or register its family "
            "(fledge.hub.families)."
        )
    return _known[model_type]


def family_of(network: nn.Module) -> Family:
    """Raises UserError for a network of none."""
    for family in _known.values():
        if family.builds(network):
            return family
    raise UserError(
        f"a {type(network).__name__} is of no family that fledge knows, and cannot be written: "
        "register its family (fledge.hub.families)."
    )
