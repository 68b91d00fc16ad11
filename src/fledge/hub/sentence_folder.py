"""What a sentence-transformers folder says beside the model: how hidden states become one vector.

modules.json lists the steps; 1_Pooling/config.json has the kind; sentence_bert_config.json has how
many tokens are read. https://sbert.net/docs/sentence_transformer/usage/custom_models.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from fledge.errors import UserError
from fledge.hub.family import Part
from fledge.json_file import check_shape, read_json
from fledge.models.language.sentence_vectors import Pooling

MODULES, LENGTH = "modules.json", "sentence_bert_config.json"
NOTE = "fledge_pooling"  # in a config.json
_MEND = "write or download the model again"
_KINDS = {"mean": "mean_tokens", "first": "cls_token", "max": "max_tokens"}
_TYPES = "sentence_transformers.models."


class _Module(Part):
    path: str
    type: str


class _Note(Part):
    kind: Literal["mean", "first", "max"]
    normalise: bool
    longest: int | None


class _Length(Part):
    max_seq_length: int | None = None


def read_pooling(folder: Path, config: Mapping[str, Any]) -> Pooling | None:
    """None of a folder that says nothing. config: its config.json, where fledge's own says it.
    Raises UserError for steps that are not computed here.
    """
    if NOTE in config:
        own = check_shape(config[NOTE], _Note, str(folder / "config.json"), mend=_MEND)
        return Pooling(own.kind, own.normalise, own.longest)
    if not (folder / MODULES).is_file():
        return None
    modules = read_json(folder / MODULES, list[_Module], mend=_MEND)
    names = [module.type.rpartition(".")[2] for module in modules]
    if names not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise UserError(
            f"{folder / MODULES} has the steps {', '.join(names)[:80]}: fledge computes "
            "Transformer, Pooling and perhaps Normalize."
        )
    if modules[0].path:
        raise UserError(
            f"{folder / MODULES} has its model in {modules[0].path[:40]!r}: give that folder, or "
            "put its files beside modules.json."
        )
    longest = None
    if (folder / LENGTH).is_file():
        longest = read_json(folder / LENGTH, _Length, mend=_MEND).max_seq_length
    return Pooling(_read_kind(folder, modules[1].path), names[-1] == "Normalize", longest)


def _read_kind(folder: Path, place: str) -> Any:
    """Raises UserError for a mode that is not computed here."""
    path = folder / place / "config.json"
    if Path(place).is_absolute() or ".." in Path(place).parts or not path.is_file():
        raise UserError(f"{folder / MODULES} names {place[:40]!r}, where no config.json is.")
    said = read_json(path, dict[str, Any], mend=_MEND)
    modes = [name for name, value in said.items() if name.startswith("pooling_mode_") and value]
    for kind, name in _KINDS.items():
        if modes == [f"pooling_mode_{name}"]:
            return kind
    raise UserError(
        f"{path} pools by {', '.join(modes)[:80] or 'nothing'}: fledge computes one of "
        f"{', '.join(f'pooling_mode_{name}' for name in _KINDS.values())}."
    )


def write_pooling(folder: Path, pooling: Pooling, width: int) -> None:
    """The files that `sentence_transformers` reads. Raises OSError."""
    steps = ["Transformer", "Pooling", *(["Normalize"] if pooling.normalise else [])]
    places = ["", "1_Pooling", "2_Normalize"]
    modules = [
        {"idx": i, "name": str(i), "path": places[i], "type": _TYPES + step}
        for i, step in enumerate(steps)
    ]
    kinds = {f"pooling_mode_{name}": kind == pooling.kind for kind, name in _KINDS.items()}
    (folder / "1_Pooling").mkdir(exist_ok=True)
    for path, content in (
        (folder / MODULES, modules),
        (folder / "1_Pooling" / "config.json", {"word_embedding_dimension": width, **kinds}),
        (folder / LENGTH, {"max_seq_length": pooling.longest, "do_lower_case": False}),
    ):
        path.write_text(json.dumps(content, indent=2) + "\n")
