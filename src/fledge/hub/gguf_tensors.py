"""The tensors of a network as a GGUF file holds them: their names, their order, and in how many
bits each is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.hub.family import Family
from fledge.hub.gguf_architectures import Architecture, find_expert
from fledge.hub.gguf_blocks import BY_NAME, BlockType
from fledge.hub.gguf_config import ROPE_FACTORS, list_factors
from fledge.hub.gguf_file import Written
from fledge.hub.weights_file import to_hugging_face, translate
from fledge.models.language.quantisation import BLOCK, Rounded

_EXACT = ("ffn_gate_inp.weight", "position_embd.weight")


def list_tensors(
    network: Any,
    family: Family,
    architecture: Architecture,
    kind: str,
    rounded: Mapping[str, Rounded],
) -> list[Written]:
    """What the file holds. Raises UserError for what it has no name for."""
    c = network.config
    tensors: list[Written] = []
    if c.scaling.kind == "llama3":
        factors = list_factors(c.rope_theta, c.head_width, c.scaling).float()
        tensors.append(Written(ROPE_FACTORS, factors, BY_NAME["F32"]))
    # Scales are spread over the numbers that they are of, and go the way that these go.
    scales = dict(translate(
        {name: each.scale.repeat_interleave(BLOCK, -1) for name, each in rounded.items()}, c, family
    ))  # fmt: skip
    kinds = {
        theirs: BY_NAME[rounded[weight.ours].grid.name]
        for weight in family.weights(c) if weight.ours in rounded
        for theirs, _ in weight.theirs
    }  # fmt: skip
    experts: dict[str, list[Written]] = {}
    for theirs, tensor in to_hugging_face(network, family):
        ours = architecture.name_tensor(theirs)
        if ours is None or (theirs.endswith(".bias") and not architecture.biased):
            raise UserError(
                f"the model has {theirs}, which a {architecture.name} file has no name for: export "
                "it with format=hf."
            )
        turn = partial(architecture.convert, theirs, heads=c.heads, kv_heads=c.kv_heads)
        converted = turn(tensor)
        if theirs in scales:
            scale = turn(scales[theirs])[..., ::BLOCK]
            one = Written(ours, converted, kinds[theirs], scale)
        else:
            one = Written(ours, converted, choose_type(converted, kind, ours))
        if find_expert(theirs) is None:
            tensors.append(one)
        else:
            experts.setdefault(ours, []).append(one)
    return tensors + [_stack_experts(each) for each in experts.values()]


def _stack_experts(pieces: Sequence[Written]) -> Written:
    """Those of one layer as one tensor.  [O, I] each -> [experts, O, I]"""
    scales = [each.scale for each in pieces if each.scale is not None]
    return pieces[0]._replace(
        tensor=torch.stack([each.tensor for each in pieces]),
        scale=torch.stack(scales) if scales else None,
    )


def choose_type(tensor: Tensor, kind: str, name: str = "") -> BlockType:
    """Vectors are few numbers and matter much, and so do routers and the places of tokens; a row
    that is no whole number of blocks stays in float16.
    """
    wanted = BY_NAME[kind]
    if tensor.ndim < 2 or name.endswith(_EXACT):
        return BY_NAME["F32"]
    return wanted if tensor.shape[-1] % wanted.numbers == 0 else BY_NAME["F16"]
