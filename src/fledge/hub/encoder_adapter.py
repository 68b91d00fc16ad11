"""The head of an encoder under an adapter: it learns whole beside the low-rank matrices, and PEFT's
files have its weights and no more of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.hub.families import family_of
from fledge.hub.family import Part
from fledge.hub.lora_config import AdapterConfig, read_adapter_config
from fledge.hub.lora_files import PREFIX
from fledge.json_file import check_shape
from fledge.models.language.encoder import Encoder, with_classifier
from fledge.models.language.encoder_config import Classifier

NOTE = "fledge_classifier"  # in fledge_adapter.json: the kind of the head, and its labels
_TASKS: dict[str, Classifier] = {"SEQ_CLS": "sequence", "TOKEN_CLS": "token"}
_HEAD = "classifier.weight"  # ours


class _Note(Part):
    kind: Classifier
    labels: list[str]


def list_head_modules(network: Encoder) -> list[str]:
    """What stands on the trunk, by the family's names: all of it learns whole."""
    return list(dict.fromkeys(name.rpartition(".")[0] for name in _name_heads(network).values()))


def name_task(network: Encoder) -> str | None:
    """PEFT's word for it; it has none for choices."""
    if not network.config.classifier:
        return "FEATURE_EXTRACTION"
    return {kind: task for task, kind in _TASKS.items()}.get(network.config.classifier)


def labels_by_adapter(folder: Path) -> bool:
    """Whether another program's adapter has a head that tells labels apart. Raises UserError."""
    return read_adapter_config(folder / "adapter_config.json").task_type in _TASKS


def note_head(network: Encoder) -> dict[str, Any]:
    """What fledge_adapter.json says of it; nothing of a trunk alone."""
    c = network.config
    return {NOTE: {"kind": c.classifier, "labels": list(c.labels)}} if c.classifier else {}


def add_prefix(network: Encoder, held: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by the names of a model with a head: an adapter of the bare trunk lacks a prefix."""
    prefix = family_of(network).prefix
    if any(name.startswith(prefix) for name in held):
        return dict(held)
    return {prefix + name: tensor for name, tensor in held.items()}


def join_heads(config: dict[str, Any]) -> dict[str, Any]:
    """adapter_config.json with RoBERTa's and ELECTRA's classifier.dense and classifier.out_proj as
    the one module that PEFT keeps whole without being asked.
    """
    saved = config["modules_to_save"] or []
    joined = {"classifier" if name.startswith("classifier.") else name for name in saved}
    return config | {"modules_to_save": sorted(joined) or None}


def take_prefix(
    network: Encoder, config: dict[str, Any], weights: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """adapter_config.json and tensors of the bare trunk, as PEFT finds them in an AutoModel."""
    prefix = family_of(network).prefix

    def plain(name: str) -> str:
        return name.removeprefix(prefix)

    own = config | {"target_modules": [plain(name) for name in config["target_modules"]]}
    for pattern in ("rank_pattern", "alpha_pattern"):
        own[pattern] = {plain(name): value for name, value in config[pattern].items()}
    return own, {PREFIX + plain(n.removeprefix(PREFIX)): tensor for n, tensor in weights.items()}


def stand_head(
    network: Encoder,
    config: AdapterConfig,
    notes: Mapping[str, Any],
    held: Mapping[str, Tensor],
    file: Path,
) -> Encoder:
    """The trunk of a base under the head that an adapter's tensors, `held`, were learned with; its
    weights are still to be put into it. Raises UserError where a part of it is neither in the
    adapter nor in the base.
    """
    kind, labels = _read_kind(config, notes, file)
    if not kind:
        return with_classifier(network, "", ())
    begun = torch.Generator().manual_seed(0)  # nobody else's numbers are drawn
    names = _name_heads(with_classifier(network, kind, ("",), begun))
    if names[_HEAD] not in held:
        raise UserError(
            f"{file} has no {names[_HEAD]}: PEFT writes it where the adapter's task_type is "
            f"{' or '.join(_TASKS)}. Write the adapter again with it."
        )
    rows, c = len(held[names[_HEAD]]), network.config
    if labels is None and c.classifier == kind and len(c.labels) == rows:
        labels = c.labels
    whole = with_classifier(
        network, kind, labels or tuple(f"LABEL_{i}" for i in range(rows)), begun
    )
    if rows != len(whole.config.labels):
        raise UserError(
            f"{names[_HEAD]} in {file} has {rows} rows, and its notes name "
            f"{len(whole.config.labels)} labels: they are of two adapters."
        )
    there = dict(network.named_parameters())
    for ours, name in names.items():
        if ours not in there and name not in held:
            raise UserError(
                f"{file} has no {name}, and neither has the base: it began at random when the "
                "adapter learned, and was not kept. Train it again with it in modules_to_save."
            )
    return whole


def _read_kind(
    config: AdapterConfig, notes: Mapping[str, Any], file: Path
) -> tuple[Classifier, tuple[str, ...] | None]:
    """The kind of the head, and its labels where they are known. Raises UserError."""
    if NOTE in notes:
        own = check_shape(notes[NOTE], _Note, str(file.with_name("fledge_adapter.json")))
        return own.kind, tuple(own.labels)
    if config.task_type in (None, "FEATURE_EXTRACTION"):
        return "", None
    if config.task_type not in _TASKS:
        raise UserError(
            f"{file} is of an adapter with task_type={config.task_type[:40]}, which an encoder has "
            f"not: fledge reads {', '.join(_TASKS)} and FEATURE_EXTRACTION."
        )
    return _TASKS[config.task_type], None


def _name_heads(network: Encoder) -> dict[str, str]:
    """Ours to theirs."""
    held = dict(network.named_parameters())
    named = family_of(network).weights(network.config)
    return {w.ours: w.theirs[0][0] for w in named if not w.needed and w.ours in held}
