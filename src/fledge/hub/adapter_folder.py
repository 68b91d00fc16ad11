"""A folder with an adapter: adapter_config.json, adapter_model.safetensors, and the tokenizer, in
PEFT's layout where PEFT has such an adapter; the base it belongs to stays where it is.

What PEFT has no word for stands in fledge_adapter.json: the base's hash, where it lies as seen from
here, and how its matrices were held while the adapter learned.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from fledge.errors import UserError
from fledge.hub.adapter_targets import freeze_network
from fledge.hub.by_name import is_name
from fledge.hub.encoder_adapter import (
    add_prefix,
    join_heads,
    name_task,
    note_head,
    stand_head,
    take_prefix,
)
from fledge.hub.houlsby_files import (
    ADAPTER_TYPE,
    HoulsbyConfig,
    name_tensors,
    put_bottlenecks,
    write_houlsby_config,
)
from fledge.hub.lora_config import AdapterConfig, read_adapter_config
from fledge.hub.lora_files import PREFIX, put_lora, write_lora
from fledge.hub.prompted_files import (
    PEFT_TYPES,
    TENSOR,
    PromptedConfig,
    make_virtual,
    read_prompted_config,
    write_prompted_config,
)
from fledge.hub.stored_weights import open_file
from fledge.hub.weights_file import SCORE
from fledge.json_file import json_text, read_json
from fledge.models.language.bottleneck import has_bottlenecks
from fledge.models.language.encoder import Encoder
from fledge.models.language.frozen_weights import FrozenWeights
from fledge.models.language.virtual_tokens import put_before, virtual_of
from fledge.runs.lineage import weights_hash
from fledge.runs.model_files import write_model
from fledge.tensor_file import write_tensors
from fledge.text.tokenizer import Tokenizer, load_tokenizer

CONFIG, WEIGHTS, NOTES = "adapter_config.json", "adapter_model.safetensors", "fledge_adapter.json"
_SHORT_PREFIX = "base_model."


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


def read_kind(folder: Path) -> AdapterConfig | PromptedConfig | HoulsbyConfig:
    """Raises UserError for an adapter of another kind, or one that fledge would compute wrongly."""
    path = folder / CONFIG
    raw = read_json(path, dict[str, Any])
    if raw.get("adapter_type") == ADAPTER_TYPE:
        return read_json(path, HoulsbyConfig)
    kind = raw.get("peft_type")
    if kind == "LORA":
        return read_adapter_config(path)
    if kind in PEFT_TYPES:
        return read_prompted_config(path)
    raise UserError(
        f"{path} is of an adapter of peft_type={str(kind)[:40]}: fledge reads LORA (also "
        f"rank-stabilised, and DoRA), {' and '.join(PEFT_TYPES)}. Merge it into its base with "
        "PEFT, and give that model."
    )


def _list_bases(folder: Path) -> tuple[str | None, list[Path], Notes | None]:
    """What an adapter calls its base, the places where it may lie, and fledge's notes."""
    said = read_kind(folder).base_model_name_or_path
    notes = read_json(folder / NOTES, Notes) if (folder / NOTES).is_file() else None
    # Beside each other they may have been moved together.
    places = [*([folder / notes.base] if notes else []), *([Path(said)] if said else [])]
    return said, [place for place in places if place.exists() or is_name(place)], notes


def find_base(folder: Path) -> Base:
    """Raises UserError for a base that is not there, or is another than the adapter's."""
    said, there, notes = _list_bases(folder)
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
    tied to it, and of an encoder, which gets the adapter's head. Raises UserError for an adapter of
    another base.
    """
    config, file = read_kind(folder), folder / WEIGHTS
    held = {_plain_name(name): tensor for name, tensor in open_file(file).items()}
    score = held.pop(SCORE, None)
    if isinstance(network, Encoder):
        if not isinstance(config, AdapterConfig):
            raise UserError(f"{folder} is no LoRA, and its base an encoder, which takes no other.")
        held = add_prefix(network, held)
        network = stand_head(network, config, read_notes(folder), held, file)
    if isinstance(config, AdapterConfig):
        return put_lora(network, config, held, file, weights), score
    freeze_network(network, weights)
    if isinstance(config, PromptedConfig):
        put_before(network, make_virtual(network, config, held, file))
    else:
        put_bottlenecks(network, config, held, file)
    return network, score


def stands_beside(folder: Path) -> bool:
    """Whether an adapter leaves every tensor of its base as it is: none of them learned whole."""
    if not isinstance(read_kind(folder), AdapterConfig):
        return True
    names = open_file(folder / WEIGHTS)
    return all(".lora_" in name or name.endswith(SCORE) for name in names)


def _name_base(path: Path) -> str:
    """As PEFT looks for it: a name on the hub, or where it lies."""
    return str(path if is_name(path) else path.resolve())


def _plain_name(name: str) -> str:
    """A module's own: PEFT puts a prefix before it, a shorter one beside virtual tokens, and older
    versions of it an adapter's name after `modules_to_save`.
    """
    plain = name.removeprefix(PREFIX).removeprefix(_SHORT_PREFIX)
    return plain.replace(".modules_to_save.default", "")


def save_adapter(
    folder: Path,
    network: Any,
    tokenizer: Tokenizer,
    base: Base,
    score: Tensor | None = None,
    **notes: Any,
) -> None:
    """Write beside, sync, then rename. Raises OSError, the earlier folder intact."""
    config, weights = _write_kind(network, _name_base(base.path), score is not None)
    if score is not None:
        prefix = PREFIX if virtual_of(network) is None else _SHORT_PREFIX
        weights[prefix + SCORE] = score
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    if isinstance(network, Encoder):
        notes |= note_head(network)
    own = Notes(
        base=_spell_base(base.path, folder),
        base_sha256=weights_hash(base.path),
        base_weights=base.weights,
    )
    _write(folder, weights, {CONFIG: config, NOTES: own.model_dump() | notes}, tokenizer)


def copy_adapter(source: Path, folder: Path) -> None:
    """The adapter of one folder into another, in float32, its base named as it lies from there.
    The base is not read, and may be gone: whoever loads the adapter looks whether it is the one.
    Raises UserError for an adapter that fledge does not read, OSError.
    """
    _, there, notes = _list_bases(source)
    config = read_json(source / CONFIG, dict[str, Any])
    files = {CONFIG: config}
    if there:
        files[CONFIG] = config | {"base_model_name_or_path": _name_base(there[0])}
    if notes is not None:
        base = _spell_base(there[0] if there else source / notes.base, folder)
        files[NOTES] = read_notes(source) | {"base": base}
    held = open_file(source / WEIGHTS)
    weights = {name: held[name].float().contiguous() for name in held}
    tokenizer = load_tokenizer(source) if (source / "tokenizer.json").is_file() else None
    _write(folder, weights, files, tokenizer)


def _spell_base(base: Path, folder: Path) -> str:
    """As seen from the adapter's folder; a name on the hub as it is."""
    return str(base) if is_name(base) else os.path.relpath(base.resolve(), folder.resolve())


def _write(
    folder: Path,
    weights: Mapping[str, Tensor],
    files: Mapping[str, Mapping[str, Any]],
    tokenizer: Tokenizer | None,
) -> None:
    """Beside, sync, then rename."""
    with write_model(folder) as beside:
        write_tensors(beside / WEIGHTS, dict(weights), {"format": "pt"})
        for name, content in files.items():
            text = json_text(content, str(folder / name), indent=2)
            (beside / name).write_text(text + "\n", encoding="utf-8")
        if tokenizer is not None:
            tokenizer.save(beside)


def _write_kind(network: Any, base: str, scalar: bool) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """adapter_config.json and the tensors of whatever adapter the network has."""
    if (virtual := virtual_of(network)) is not None:
        config = write_prompted_config(network, base=base, scalar=scalar)
        return config, {TENSOR: virtual.embedding}
    if has_bottlenecks(network):
        return write_houlsby_config(network, base=base), name_tensors(network)
    if isinstance(network, Encoder):
        config, weights = write_lora(network, base=base, task=name_task(network))
        if network.config.classifier:
            return join_heads(config), weights
        return take_prefix(network, config, weights)
    return write_lora(network, base=base, task="SEQ_CLS" if scalar else "CAUSAL_LM")
