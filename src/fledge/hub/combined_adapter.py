"""Several LoRA adapters of one base as one: ΔW = Σ_i w_i ΔW_i, exactly.

With ΔW_i = s_i B_i A_i, that is B = [w_1 s_1 B_1 | w_2 s_2 B_2 | …] and A the A_i below each other:
the ranks add up. (A mean of the A_i and of the B_i would be another matrix, with products of one
adapter's B and another's A in it.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from fledge.errors import UserError
from fledge.hub.folder import Loaded
from fledge.models.language.adapters import AdaptedLinear, LoRA, LowRank, Target, list_adapters
from fledge.runs.lineage import weights_hash
from fledge.weights_version import raise_version


@torch.no_grad()
def combine_adapters(models: Sequence[Loaded], shares: Sequence[float]) -> Loaded:
    """The first model with the sum of all adapters in place of its own. Raises UserError where they
    cannot be added: other kinds, other bases, modules that learned whole.
    """
    first = models[0]
    for model in models:
        _check_addable(model)
        _check_same_base(first, model)
    for name, linear in _list_linears(first.network):
        parts: dict[Target, list[tuple[float, LowRank]]] = {}
        for share, model in zip(shares, models, strict=True):
            for adapter in model.network.get_submodule(name).adapters:
                parts.setdefault(adapter.target, []).append((share, adapter))
        linear.adapters = nn.ModuleList()
        for target in sorted(parts, key=lambda target: target.start):
            _add_sum(linear, target, parts[target])
    raise_version(first.network)
    return first


def _add_sum(linear: Any, target: Target, parts: Sequence[tuple[float, LowRank]]) -> None:
    rank = sum(len(adapter.down) for _, adapter in parts)
    whole = linear.add(target, LoRA(rank, float(rank)))  # s = 1
    whole.down.copy_(torch.cat([adapter.down for _, adapter in parts]))
    ups = [share * adapter.settings.scale * adapter.up for share, adapter in parts]
    whole.up.copy_(torch.cat(ups, dim=1))


def _list_linears(network: nn.Module) -> list[tuple[str, Any]]:
    return [(name, m) for name, m in network.named_modules() if isinstance(m, AdaptedLinear)]


def _check_addable(model: Loaded) -> None:
    adapters = list(list_adapters(model.network))
    if model.base is None or not adapters:
        raise UserError(f"{model.source} has no adapter of lora, and only these can be added up.")
    if any(adapter.magnitude is not None for adapter in adapters):
        raise UserError(
            f"{model.source} was trained with DoRA, which rescales its matrices and adds nothing "
            "to them: only plain lora can be added up."
        )
    own = {id(p) for adapter in adapters for p in adapter.parameters()}
    whole = [n for n, p in model.network.named_parameters() if p.requires_grad and id(p) not in own]
    if whole:
        raise UserError(
            f"{model.source} has modules that learned whole beside its adapter (adapter_saves): "
            "only what lora has learned can be added up."
        )


def _check_same_base(first: Loaded, other: Loaded) -> None:
    assert first.base is not None
    assert other.base is not None
    if weights_hash(first.base.path) != weights_hash(other.base.path):
        raise UserError(
            f"{first.source} and {other.source} belong to two bases, {first.base.path} and "
            f"{other.base.path}: only adapters of one base can be added up."
        )
    if first.base.weights != other.base.weights:
        raise UserError(
            f"{first.source} was trained with base_weights={first.base.weights} and "
            f"{other.source} with {other.base.weights}: only adapters of one base can be added up."
        )
