"""model.safetensors of a model: its header against what config.json asks for, before anything is
made; names ours and theirs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from fledge.errors import UserError
from fledge.json_file import open_regular
from fledge.models.language.transformer import Transformer, TransformerConfig

SCORE = "score.weight"  # of a reward model
_HEAD, _EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
_DTYPES = ("F64", "F32", "F16", "BF16")

# our name -> their name, one to one
_SAME = {
    "attention.out.weight": "self_attn.o_proj.weight",
    "attention.q_norm.weight": "self_attn.q_norm.weight",
    "attention.k_norm.weight": "self_attn.k_norm.weight",
    "attention_norm.weight": "input_layernorm.weight",
    "mlp_norm.weight": "post_attention_layernorm.weight",
    "down.weight": "mlp.down_proj.weight",
    "embedding.weight": _EMBEDDING,
    "norm.weight": "model.norm.weight",
    "head.weight": _HEAD,
}
# our fused name -> the names it joins, along the first axis
_FUSED = {
    "attention.qkv.weight": (
        "self_attn.q_proj.weight",
        "self_attn.k_proj.weight",
        "self_attn.v_proj.weight",
    ),
    "gate_up.weight": ("mlp.gate_proj.weight", "mlp.up_proj.weight"),
}


class Held(NamedTuple):
    """What the header says of one tensor."""

    dtype: str
    shape: tuple[int, ...]


def read_header(path: Path) -> dict[str, Held]:
    """Name to dtype and shape of every tensor, of which none is read. Raises UserError."""
    # The library says of a file that may not be read that it does not exist.
    with open_regular(path):
        pass
    try:
        with safe_open(path, "pt") as file:
            names = file.keys()  # it is no dict, which would give them itself
            slices = {name: file.get_slice(name) for name in names}
            return {
                name: Held(one.get_dtype(), tuple(one.get_shape())) for name, one in slices.items()
            }
    except SafetensorError as error:
        raise _damaged(path, error) from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """Every tensor by its name. Raises UserError."""
    try:
        return load_file(path)
    except SafetensorError as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: SafetensorError) -> UserError:
    return UserError(f"{path} is damaged ({error}): write it again, or use another run.")


def check_header(
    header: Mapping[str, Held], config: TransformerConfig, scalar: bool, path: Path
) -> None:
    """Raises UserError where the weights are not those of such a network: at the first that
    differs, so that sizes like 10⁹ in a config.json cost nothing."""
    used = {SCORE, _HEAD} if config.tied else {SCORE}
    for name, shape in _asked_for(config):
        _check_tensor(header, name, shape, path)
        used.add(name)
    if scalar:
        _check_tensor(header, SCORE, (1, config.width), path)
    if config.tied and _HEAD in header:
        _check_tensor(header, _HEAD, (config.vocab_size, config.width), path)
    left = sorted(name for name in header.keys() - used if not name.endswith("rotary_emb.inv_freq"))
    if left:
        raise UserError(
            f"{path} has {left[0]}, which fledge's network has no place for: it would be another "
            "model."
        )


def _check_tensor(
    header: Mapping[str, Held], name: str, shape: tuple[int, ...], path: Path
) -> None:
    held = header.get(name)
    if held is None:
        raise UserError(f"{path} has no {name}: the weights do not fit their config.json.")
    if held.shape != shape:
        raise UserError(
            f"{name} in {path} is {held.shape}, config.json asks for {shape}: they are of two "
            "models."
        )
    if held.dtype not in _DTYPES:
        raise UserError(
            f"{name} in {path} is of dtype {held.dtype}: fledge reads weights in "
            f"{', '.join(_DTYPES)}. Save the model again in one of these."
        )


def _asked_for(c: TransformerConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Their name and shape of every tensor of a network, one at a time."""
    yield _EMBEDDING, (c.vocab_size, c.width)
    yield "model.norm.weight", (c.width,)
    if not c.tied:
        yield _HEAD, (c.vocab_size, c.width)
    queries, keys = c.heads * c.head_width, c.kv_heads * c.head_width
    block = {
        "self_attn.q_proj.weight": (queries, c.width),
        "self_attn.k_proj.weight": (keys, c.width),
        "self_attn.v_proj.weight": (keys, c.width),
        "self_attn.o_proj.weight": (c.width, queries),
        "input_layernorm.weight": (c.width,),
        "post_attention_layernorm.weight": (c.width,),
        "mlp.gate_proj.weight": (c.mlp_width, c.width),
        "mlp.up_proj.weight": (c.mlp_width, c.width),
        "mlp.down_proj.weight": (c.width, c.mlp_width),
    }
    if c.qk_norm:
        block |= {f"self_attn.{part}_norm.weight": (c.head_width,) for part in "qk"}
    for layer in range(c.layers):
        for name, shape in block.items():
            yield f"model.layers.{layer}.{name}", shape


def has_own_head(weights: Mapping[str, Tensor]) -> bool:
    """Whether a file holds an output layer that is another than its embedding. `transformers`
    (5.24) then uses it, also where config.json says that they are one."""
    if _HEAD not in weights:
        return False
    return not torch.equal(weights[_HEAD].double(), weights[_EMBEDDING].double())


def to_hugging_face(network: Transformer) -> Iterator[tuple[str, Tensor]]:
    """Their names and tensors of a network, on the CPU."""
    for name, tensor in network.state_dict().items():
        prefix, ours = _parts(name)
        tensor = tensor.detach().cpu()
        if ours in _FUSED:
            pieces = tensor.split(_sizes(network.config, ours))
            yield from (
                (prefix + theirs, piece) for theirs, piece in zip(_FUSED[ours], pieces, strict=True)
            )
        else:
            yield prefix + _SAME[ours], tensor


def from_hugging_face(weights: Mapping[str, Tensor], network: Transformer) -> dict[str, Tensor]:
    """The state of `network` from their tensors, which `check_header` has compared with its
    config.
    """
    state: dict[str, Tensor] = {}
    for name, own in network.state_dict().items():
        prefix, ours = _parts(name)
        pieces = [weights[prefix + theirs] for theirs in _FUSED.get(ours, (_SAME.get(ours, ours),))]
        state[name] = torch.cat(pieces).to(own.dtype)
    return state


def _parts(name: str) -> tuple[str, str]:
    """blocks.3.down.weight -> "model.layers.3.", "down.weight"."""
    block = re.fullmatch(r"blocks\.(\d+)\.(.+)", name)
    return (f"model.layers.{block[1]}.", block[2]) if block else ("", name)


def _sizes(config: TransformerConfig, ours: str) -> list[int]:
    if ours == "gate_up.weight":
        return [config.mlp_width] * 2
    return [config.heads * config.head_width, *[config.kv_heads * config.head_width] * 2]
