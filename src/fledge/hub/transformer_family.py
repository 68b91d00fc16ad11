"""A family of fledge's transformer: what most of their config.json have in common, and the record
made of what is its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fledge.errors import UserError
from fledge.hub.family import Family, ModelConfig, Positive
from fledge.hub.rope_config import EVERY_KIND, Rope, find_rope, read_scaling, write_rope
from fledge.hub.weight_names import LLAMA_NAMES, Names, list_weights
from fledge.json_file import check_shape
from fledge.models.language.transformer import Transformer, TransformerConfig

Size = Annotated[int, Field(ge=1, lt=2**31)]
Window = Annotated[int, Field(ge=0, lt=2**31)]
Layers = Annotated[int, Field(ge=1, le=10_000)]  # more than any has, and few enough to be listed
Epsilon = Annotated[float, Field(ge=0, lt=1e30)]

_ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}


class LlamaConfig(ModelConfig):
    """The entries that Llama and most after it have. What is missing has the value that
    `transformers` 5.24 gives it, except for sizes, which must be there.
    """

    vocab_size: Size
    hidden_size: Size
    intermediate_size: Size
    num_hidden_layers: Layers
    num_attention_heads: Size
    num_key_value_heads: Size | None = None
    head_dim: Size | None = None
    max_position_embeddings: Size
    rms_norm_eps: Epsilon = 1e-6
    rope_parameters: Rope | None = None
    rope_scaling: Rope | None = None
    rope_theta: Positive | None = None
    partial_rotary_factor: Annotated[float, Field(gt=0, le=1)] | None = None
    tie_word_embeddings: bool = False
    hidden_act: str = "silu"
    attention_bias: bool = False
    mlp_bias: bool = False


def refuse(folder: Path, **entries: tuple[Any, Any]) -> None:
    """Raises UserError for an entry whose value is not the one that is computed: name=(value,
    wanted).
    """
    for name, (value, wanted) in entries.items():
        if value != wanted:
            said, meant = (str(one).lower() if isinstance(one, bool) else one
                           for one in (value, wanted))  # fmt: skip
            raise UserError(f"{folder} has {name}={said}: fledge reads models with {name}={meant}.")


def read_activation(name: str, value: str, folder: Path) -> Any:
    """Ours, for the entry `name` of a config.json."""
    if value not in _ACTIVATIONS:
        raise UserError(
            f"{folder} has {name}={value[:40]}: fledge reads models with {name} of "
            f"{', '.join(_ACTIVATIONS)}."
        )
    return _ACTIVATIONS[value]


def write_activation(activation: str) -> str:
    """The name that every family takes."""
    return "gelu_pytorch_tanh" if activation == "gelu_tanh" else activation


def read_windows(
    window: int | None, kinds: Iterable[str], layers: int, folder: Path
) -> tuple[int, ...]:
    """The window of each layer, by its entry in `layer_types`."""
    kinds = list(kinds)
    if len(kinds) != layers:
        raise UserError(
            f"{folder / 'config.json'} has {len(kinds)} layer_types and {layers} layers: there "
            "must be one for each."
        )
    if odd := set(kinds) - {"full_attention", "sliding_attention"}:
        raise UserError(
            f"{folder} has layers with {min(odd)[:40]!r}: fledge reads full_attention and "
            "sliding_attention."
        )
    return tuple((window or 0) if kind == "sliding_attention" else 0 for kind in kinds)


def write_layer_types(c: TransformerConfig) -> list[str]:
    """`layer_types` of a config.json."""
    return [
        "sliding_attention" if c.window_of(layer) else "full_attention"
        for layer in range(c.layers)
    ]  # fmt: skip


def read_sizes(
    config: LlamaConfig,
    folder: Path,
    *,
    theta: float = 10_000.0,
    partial_rotary: float | None = None,
    kinds: Collection[str] = EVERY_KIND,
    **changes: Any,
) -> TransformerConfig:
    """What the common entries say, with `changes` in their place.

    theta: where none is given. partial_rotary: the same, of families that turn a part of each head;
    None: of those that turn all of it. Raises UserError for what fledge's network cannot compute.
    """
    heads, width = config.num_attention_heads, config.hidden_size
    rope = find_rope(config)
    head = config.head_dim or width // heads
    part = rope.partial_rotary_factor or config.partial_rotary_factor
    if partial_rotary is None:
        refuse(folder, partial_rotary_factor=(part or 1.0, 1.0))
    turned = int(head * (part or partial_rotary or 1.0))
    sizes: dict[str, Any] = {
        "vocab_size": config.vocab_size,
        "context": config.max_position_embeddings,
        "layers": config.num_hidden_layers,
        "width": width,
        "heads": heads,
        "kv_heads": config.num_key_value_heads or heads,
        "head_width": config.head_dim or 0,
        "mlp_width": config.intermediate_size,
        "tied": config.tie_word_embeddings,
        "norm_eps": config.rms_norm_eps,
        "rope_theta": rope.rope_theta or config.rope_theta or theta,
        "rotary_width": turned if turned != head else 0,
        "family": config.model_type,
    }
    try:
        if "activation" not in changes:
            changes["activation"] = read_activation("hidden_act", config.hidden_act, folder)
        if "scaling" not in changes:
            context = config.max_position_embeddings
            changes["scaling"] = read_scaling(rope, context, turned, folder, kinds=kinds)
        return TransformerConfig(**sizes | changes)
    except UserError as error:
        if str(folder) in str(error):
            raise
        raise UserError(f"{folder / 'config.json'}: {error}") from error


def write_sizes(c: TransformerConfig) -> dict[str, Any]:
    """The common entries."""
    rope = write_rope(c.rope_theta, c.scaling)
    return {
        "vocab_size": c.vocab_size,
        "hidden_size": c.width,
        "intermediate_size": c.mlp_width,
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "num_key_value_heads": c.kv_heads,
        "head_dim": c.head_width,
        "max_position_embeddings": c.context,
        "rms_norm_eps": c.norm_eps,
        "rope_parameters": rope,
        "tie_word_embeddings": c.tied,
        "hidden_act": write_activation(c.activation),
        "attention_bias": c.qkv_bias and c.out_bias,
    }


def untie(
    sizes: TransformerConfig, weights: Mapping[str, Tensor], names: Names = LLAMA_NAMES
) -> TransformerConfig:
    """A file may hold an output layer that is another than its embedding. `transformers` (5.24)
    then uses it, also where config.json says that they are one.
    """
    head = f"{names.head}.weight"
    if not sizes.tied or head not in weights:
        return sizes
    pairs = zip(
        weights[head].split(1024), weights[f"{names.embedding}.weight"].split(1024), strict=True
    )
    same = all(torch.equal(one.double(), other.double()) for one, other in pairs)
    return sizes if same else replace(sizes, tied=False)


# Inside a function of `nn.init` no mode is asked, so that it has to be named itself.
_DRAWING = (
    Tensor.normal_, Tensor.uniform_, nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_,
)  # fmt: skip


class Unfilled(TorchFunctionMode):
    """Random numbers are not drawn: weights that are filled from a file take no memory before."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in _DRAWING:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs or {})


def build_transformer(sizes: TransformerConfig, border: int | None) -> Transformer:
    """To be filled. The meta device would do the same, and imports 800 modules on the way."""
    with Unfilled():
        return Transformer(sizes, border)


def make_family(
    model_type: str,
    name: str,
    config: type[ModelConfig],
    read: Callable[[Any, Path], TransformerConfig],
    write: Callable[[TransformerConfig], dict[str, Any]],
    names: Names = LLAMA_NAMES,
    **record: Any,
) -> Family:
    """The record of a family whose networks are fledge's transformer."""

    def builds(network: nn.Module) -> bool:
        """Whether its config.json, read again, says the same: what a family has no word for is
        lost.
        """
        if type(network) is not Transformer:  # a derived class may compute something else
            return False
        try:
            raw = {"model_type": model_type, **write(network.config)}
            said = check_shape(raw, config, "config.json")
            return read(said, Path()) == network.config
        except UserError:
            return False

    return Family(
        model_type=model_type,
        name=name,
        config=config,
        read_config=read,
        write_config=write,
        weights=partial(list_weights, names=names),
        build=build_transformer,
        builds=builds,
        adapt=partial(untie, names=names),
        prefix=re.split(r"(?<=\.)", names.embedding)[0],
        **record,
    )
