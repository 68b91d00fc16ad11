"""A folder with an adapter in PEFT's layout: adapter_config.json, adapter_model.safetensors, and
the tokenizer; the base it belongs to stays where it is.

What PEFT has no word for stands in fledge_adapter.json: the base's hash, where it lies as seen from
here, and how its matrices were held while the adapter learned.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from fledge.errors import UserError
from fledge.hub.adapter_config import (
    CONFIG,
    AdapterConfig,
    read_adapter_config,
    write_adapter_config,
)
from fledge.hub.adapter_targets import Places, list_places
from fledge.hub.by_name import is_name
from fledge.hub.families import family_of
from fledge.hub.family import Layout
from fledge.hub.stored_weights import open_file
from fledge.hub.weights_file import SCORE
from fledge.json_file import json_text, read_json
from fledge.models.language.adapters import (
    AdaptedLinear,
    adapt_network,
    list_adapters,
)
from fledge.models.language.frozen_weights import FrozenWeights
from fledge.runs.lineage import weights_hash
from fledge.runs.model_files import write_model
from fledge.tensor_file import write_tensors
from fledge.text.tokenizer import Tokenizer

WEIGHTS, NOTES = "adapter_model.safetensors", "fledge_adapter.json"
_PREFIX = "base_model.model."
_TIED = "embedding.weight", "head.weight"  # ours
_DOWN, _UP, _MAGNITUDE = ".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector"


class Notes(BaseModel):
    """fledge_adapter.json."""

    model_config = ConfigDict(frozen=True)

    base: str  # from the adapter's own folder
    base_sha256: str | None
    base_weights: FrozenWeights = "fp32"


class Base(NamedTuple):
    """What an adapter stands on: where it lies, and how its matrices are held."""

    path: Path
    weights: FrozenWeights


def read_notes(folder: Path) -> dict[str, Any]:
    """What fledge wrote beside an adapter; nothing where another did."""
    path = folder / NOTES
    return read_json(path, dict[str, Any]) if path.is_file() else {}


def holds_adapter(folder: Path) -> bool:
    return (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()


def find_base(folder: Path) -> Base:
    """Raises UserError for a base that is not there, or is another than the adapter's."""
    said = read_adapter_config(folder).base_model_name_or_path
    notes = read_json(folder / NOTES, Notes) if (folder / NOTES).is_file() else None
    # Beside each other they may have been moved together.
    places = [*([folder / notes.base] if notes else []), *([Path(said)] if said else [])]
    there = [place for place in places if place.exists() or is_name(place)]
    if not there:
        raise UserError(
            f"the adapter in {folder} belongs to {said or 'a base that it does not name'}, which "
            "is not there: put the base back."
        )
    wanted = notes.base_sha256 if notes else None
    path = next((place for place in there if wanted in (None, weights_hash(place))), None)
    if path is None:
        raise UserError(
            f"{there[0]} is not the base that the adapter in {folder} was trained on (its weights "
            "have another hash): put that one back."
        )
    return Base(path, notes.base_weights if notes else "fp32")


@torch.no_grad()
def put_on(
    network: nn.Module, folder: Path, weights: FrozenWeights
) -> tuple[nn.Module, Tensor | None]:
    """The network with the folder's adapter on it, and the weights of a reward model's score if it
    has one.

    It is another network where the embedding alone had learned, of a base whose output layer is
    tied to it. Raises UserError for an adapter of another base.
    """
    config, held = read_adapter_config(folder), dict(open_file(folder / WEIGHTS))
    held = {_plain_name(name): tensor for name, tensor in held.items()}
    score = held.pop(SCORE, None)
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
        _copy(network.get_parameter(whole[name]), own, name, folder)
    _load_adapters(network, places, config, held, folder)
    return network, score


def _list_layouts(network: Any) -> dict[str, Layout | None]:
    """How each parameter of ours lies in the family's files."""
    return {w.ours: w.layout for w in family_of(network).weights(network.config)}


def _name_base(path: Path) -> str:
    """As PEFT looks for it: a name on the hub, or where it lies."""
    return str(path if is_name(path) else path.resolve())


def _name_of(network: Any, ours: str) -> str:
    """What a parameter of ours is called in the family's files."""
    named = family_of(network).weights(network.config)
    return next(weight.theirs[0][0] for weight in named if weight.ours == ours)


def _plain_name(name: str) -> str:
    """A module's own: PEFT puts a prefix before it, older versions of it an adapter's name after
    `modules_to_save`.
    """
    return name.removeprefix(_PREFIX).replace(".modules_to_save.default", "")


def _untie(network: Any, config: AdapterConfig, held: dict[str, Tensor]) -> nn.Module:
    """Of a tied model PEFT lets the embedding or the output layer learn and leaves the other as it
    was, unless `ensure_weight_tying` says otherwise.
    """
    embedding, head = (_name_of(network, side) for side in _TIED)
    if not network.config.tied or not (embedding in held or head in held):
        return network
    if config.ensure_weight_tying:
        held.pop(head, None)  # the same once more
        return network
    sizes, state = replace(network.config, tied=False), dict(network.state_dict())
    apart = family_of(network).build(sizes, network.border)
    apart.load_state_dict(state | {"head.weight": state["embedding.weight"].clone()}, assign=True)
    return apart


def _load_adapters(
    network: nn.Module, places: Places, config: AdapterConfig, held: dict[str, Tensor], folder: Path
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
            _copy(adapter.down, down, target.name + _DOWN, folder)
            _copy(adapter.up, up, target.name + _UP, folder)
            if (
                adapter.magnitude is not None
                and (m := held.pop(target.name + _MAGNITUDE, None)) is not None
            ):
                _copy(adapter.magnitude, m, target.name + _MAGNITUDE, folder)
    if held:
        raise UserError(
            f"{folder / WEIGHTS} has {min(held)}, which the base has no place for: the adapter is "
            "another model's."
        )
    if next(list_adapters(network), None) is None:
        raise UserError(f"{folder / WEIGHTS} holds no adapter: write it again.")


def _copy(parameter: Tensor, held: Tensor, name: str, folder: Path) -> None:
    if parameter.shape != held.shape:
        raise UserError(
            f"{name} in {folder / WEIGHTS} is {tuple(held.shape)}, and the base asks for "
            f"{tuple(parameter.shape)}: the adapter is another model's."
        )
    parameter.copy_(held)


def save_adapter(
    folder: Path,
    network: Any,
    tokenizer: Tokenizer,
    base: Base,
    score: Tensor | None = None,
    **notes: Any,
) -> None:
    """Write beside, sync, then rename. Raises OSError, the earlier folder intact."""
    adapters, (weights, trained) = list(list_adapters(network)), _gather(network)
    embedding, head = (_name_of(network, side) for side in _TIED)
    tied = network.config.tied and embedding in trained
    if tied:  # PEFT asks for both
        weights[_PREFIX + head] = weights[_PREFIX + embedding].clone()
    if score is not None:
        weights[_PREFIX + SCORE] = score.detach().cpu().contiguous()
    modules = [name.rpartition(".")[0] for name in trained]
    config = write_adapter_config(
        adapters, modules, base=_name_base(base.path), scalar=score is not None, tied=tied
    )
    named = is_name(base.path)
    own = Notes(
        base=str(base.path) if named else os.path.relpath(base.path.resolve(), folder.resolve()),
        base_sha256=weights_hash(base.path),
        base_weights=base.weights,
    )
    with write_model(folder) as beside:
        write_tensors(beside / WEIGHTS, weights, {"format": "pt"})
        for name, content in ((CONFIG, config), (NOTES, own.model_dump() | notes)):
            text = json_text(content, str(folder / name), indent=2)
            (beside / name).write_text(text + "\n", encoding="utf-8")
        tokenizer.save(beside)


def _gather(network: Any) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of the file, and the names of those among them that learned whole."""
    weights: dict[str, Tensor] = {}
    for adapter in list_adapters(network):
        name = _PREFIX + adapter.target.name
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
            weights[_PREFIX + name] = parameter if layout is None else layout.write(parameter)
    return {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}, trained
