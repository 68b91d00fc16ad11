"""Tensors of LoRA in PEFT's layout: A, B and DoRA's magnitude of each target, and the modules that
learned whole, by their names in the family's files.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fledge.errors import UserError
from fledge.hub.adapter_targets import Places, list_places
from fledge.hub.families import family_of
from fledge.hub.family import Layout
from fledge.hub.lora_config import AdapterConfig, write_adapter_config
from fledge.models.language.adapters import AdaptedLinear, adapt_network, list_adapters
from fledge.models.language.frozen_weights import FrozenWeights

PREFIX = "base_model.model."  # before the names of a model's own modules
_TIED = "embedding.weight", "head.weight"  # ours
_DOWN, _UP, _MAGNITUDE = ".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector"


@torch.no_grad()
def put_lora(
    network: nn.Module,
    config: AdapterConfig,
    held: dict[str, Tensor],
    file: Path,
    weights: FrozenWeights,
) -> nn.Module:
    """The network with the adapter out of the tensors of `file` on it; what was read of `held` is
    taken out.

    It is another network where the embedding alone had learned, of a base whose output layer is
    tied to it. Raises UserError for an adapter of another base.
    """
    network = _untie(network, config, held)
    places = list_places(network)
    whole = {f"{name}.{ours.rpartition('.')[2]}": ours
             for name, every in places.whole.items() for ours in every}  # fmt: skip
    trained = [name for name in held if name in whole]
    adapt_network(
        network, {layer: [] for layer in places.linear}, [whole[name] for name in trained],
        weights=weights,
    )  # fmt: skip
    layouts = _list_layouts(network)
    for name in trained:
        layout, tensor = layouts[whole[name]], held.pop(name)
        own = tensor if layout is None else layout.read(tensor)
        _copy(network.get_parameter(whole[name]), own, name, file)
    _load_adapters(network, places, config, held, file)
    return network


def _list_layouts(network: Any) -> dict[str, Layout | None]:
    """How each parameter of ours lies in the family's files."""
    return {w.ours: w.layout for w in family_of(network).weights(network.config)}


def _name_of(network: Any, ours: str) -> str:
    """What a parameter of ours is called in the family's files; "" of one that it has not."""
    named = family_of(network).weights(network.config)
    return next((weight.theirs[0][0] for weight in named if weight.ours == ours), "")


def _untie(network: Any, config: AdapterConfig, held: dict[str, Tensor]) -> nn.Module:
    """Of a tied model PEFT lets the embedding or the output layer learn and leaves the other as it
    was, unless `ensure_weight_tying` says otherwise.
    """
    embedding, head = (_name_of(network, side) for side in _TIED)
    learned = embedding in held or head in held
    if not head or not network.config.tied or not learned:
        return network
    if config.ensure_weight_tying:
        held.pop(head, None)  # the same once more
        return network
    sizes, state = replace(network.config, tied=False), dict(network.state_dict())
    apart = family_of(network).build(sizes, network.border)
    apart.load_state_dict(state | {"head.weight": state["embedding.weight"].clone()}, assign=True)
    return apart


def _load_adapters(
    network: nn.Module, places: Places, config: AdapterConfig, held: dict[str, Tensor], file: Path
) -> None:
    """What is left in `held`: A, B and DoRA's magnitude of each target."""
    for layer, targets in places.linear.items():
        linear = network.get_submodule(layer)
        if not isinstance(linear, AdaptedLinear):  # it learned whole
            continue
        for target in targets:
            down, up = held.pop(target.name + _DOWN, None), held.pop(target.name + _UP, None)
            if down is None or up is None:
                continue
            adapter = linear.add(target, config.settings_of(target.name, len(down)))
            _copy(adapter.down, down, target.name + _DOWN, file)
            _copy(adapter.up, up, target.name + _UP, file)
            if (
                adapter.magnitude is not None
                and (m := held.pop(target.name + _MAGNITUDE, None)) is not None
            ):
                _copy(adapter.magnitude, m, target.name + _MAGNITUDE, file)
    if held:
        if any(".lora_embedding_" in name for name in held):
            raise UserError(
                f"{file} has {min(held)}, low-rank matrices of an embedding, which fledge does not "
                "compute: merge the adapter into its base with PEFT, and give that model."
            )
        raise UserError(
            f"{file} has {min(held)}, which the base has no place for: the adapter is "
            "another model's."
        )
    if next(list_adapters(network), None) is None:
        raise UserError(f"{file} holds no adapter: write it again.")


def _copy(parameter: Tensor, held: Tensor, name: str, file: Path) -> None:
    if parameter.shape != held.shape:
        raise UserError(
            f"{name} in {file} is {tuple(held.shape)}, and the base asks for "
            f"{tuple(parameter.shape)}: the adapter is another model's."
        )
    parameter.copy_(held)


def write_lora(
    network: Any, *, base: str, task: str | None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """adapter_config.json and the tensors of the network's adapters. task: PEFT's task_type."""
    weights, trained = _gather(network)
    embedding, head = (_name_of(network, side) for side in _TIED)
    tied = bool(head) and network.config.tied and embedding in trained
    if tied:  # PEFT asks for both
        weights[PREFIX + head] = weights[PREFIX + embedding].clone()
    modules = [name.rpartition(".")[0] for name in trained]
    adapters = list(list_adapters(network))
    config = write_adapter_config(adapters, modules, base=base, task=task, tied=tied)
    return config, weights


def _gather(network: Any) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of the file, and the names of those among them that learned whole."""
    weights: dict[str, Tensor] = {}
    for adapter in list_adapters(network):
        name = PREFIX + adapter.target.name
        weights |= {name + _DOWN: adapter.down, name + _UP: adapter.up}
        if adapter.magnitude is not None:
            weights[name + _MAGNITUDE] = adapter.magnitude
    inside = {id(p) for adapter in list_adapters(network) for p in adapter.parameters()}
    named = {w.ours: w for w in family_of(network).weights(network.config)}
    trained: list[str] = []
    for ours, parameter in network.named_parameters():
        if parameter.requires_grad and id(parameter) not in inside:
            ((name, _),), layout = named[ours].theirs, named[ours].layout
            trained.append(name)
            weights[PREFIX + name] = parameter if layout is None else layout.write(parameter)
    return weights, trained
