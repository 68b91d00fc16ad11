"""The files of a tokenizer in Hugging Face's layout, whoever wrote them: read, checked, and kept as
they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fledge.errors import UserError
from fledge.json_file import parse_json, read_bytes, read_json

MEND = "copy the model's files again"

KEPT = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "chat_template.jinja", "chat_template.json",
)  # fmt: skip
"""What is saved again, byte for byte."""

ADDITIONAL = "additional_chat_templates"  # a folder, as `transformers` writes it

NAMED = ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token")


@dataclass(frozen=True)
class ForeignFiles:
    """What the files of a folder say of its tokenizer."""

    folder: Path
    kept: Mapping[str, bytes]
    tokenizer: Mapping[str, Any]  # tokenizer.json
    named: Mapping[str, str]  # bos_token, eos_token, … -> how it is spelled
    additional: tuple[str, ...]  # further special tokens
    ends: tuple[int, ...]  # what config.json and generation_config.json call eos_token_id
    pad: int | None  # what config.json calls pad_token_id
    templates: Mapping[str, str]  # chat templates by name; the only one is `default`


def read_foreign(folder: Path) -> ForeignFiles:
    """Raises UserError for a file that is not what it should be."""
    kept = {name: read_bytes(folder / name, mend=MEND) for name in KEPT if (folder / name).exists()}
    kept |= _fold_templates(kept, folder)
    read = {
        name: _parse(content, folder / name)
        for name, content in kept.items()
        if name.endswith(".json") and name != "added_tokens.json"
    }
    config = {**read.get("special_tokens_map.json", {}), **read["tokenizer_config.json"]}
    model, generation = (
        _read_ids(folder / "config.json"),
        _read_ids(folder / "generation_config.json"),
    )
    ends = [*_list_ids(generation, "eos_token_id"), *_list_ids(model, "eos_token_id")]
    return ForeignFiles(
        folder=folder,
        kept=kept,
        tokenizer=read["tokenizer.json"],
        named={name: word for name in NAMED if (word := _spelling(config.get(name)))},
        additional=_list_additional(config),
        ends=tuple(dict.fromkeys(ends)),
        pad=next(iter(_list_ids(model, "pad_token_id")), None),
        templates=_find_templates(kept, read, folder),
    )


def _fold_templates(kept: dict[str, bytes], folder: Path) -> dict[str, bytes]:
    """tokenizer_config.json with the templates of the folder additional_chat_templates/, where
    there is one, and of chat_template.jinja: `transformers` reads both forms, and what is saved
    again has no folders in it.
    """
    files = sorted((folder / ADDITIONAL).glob("*.jinja"))
    if not files:
        return {}
    named = {file.stem: _read_text(read_bytes(file, mend=MEND), file) for file in files}
    place = folder / "tokenizer_config.json"
    config = _parse(kept[place.name], place)
    default = config.get("chat_template")
    if "chat_template.jinja" in kept:
        default = _read_text(kept.pop("chat_template.jinja"), folder / "chat_template.jinja")
    if isinstance(default, str):
        named = {"default": default} | named
    config["chat_template"] = [{"name": each, "template": text} for each, text in named.items()]
    return {place.name: json.dumps(config, ensure_ascii=False, indent=2).encode() + b"\n"}


def _read_text(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 at byte {error.start}: {MEND}.") from None


def _parse(content: bytes, path: Path) -> dict[str, Any]:
    return parse_json(content, dict[str, Any], str(path), mend=MEND)


def _read_ids(path: Path) -> dict[str, Any]:
    """A config.json, or what stands of one; {} where there is none."""
    try:
        return read_json(path, dict[str, Any], mend=MEND)
    except FileNotFoundError:
        return {}


def _list_ids(config: Mapping[str, Any], name: str) -> list[int]:
    """One id, a list of ids or nothing, of a model or of the text part of one that sees too."""
    inner = config.get("text_config")
    value = config.get(name, inner.get(name) if isinstance(inner, dict) else None)
    listed = value if isinstance(value, list) else [value]
    return [number for number in listed if type(number) is int and number >= 0]


def _spelling(value: Any) -> str | None:
    """A special token is written as its text, or as an object with its `content`."""
    content = value.get("content") if isinstance(value, dict) else value
    return content if isinstance(content, str) and content else None


def _list_additional(config: Mapping[str, Any]) -> tuple[str, ...]:
    """`transformers` 5 calls the list extra_special_tokens, which may also be an object by name."""
    words: list[Any] = []
    for name in ("additional_special_tokens", "extra_special_tokens"):
        value = config.get(name)
        words += value.values() if isinstance(value, dict) else value or []
    return tuple(word for value in words if (word := _spelling(value)))


def _find_templates(
    kept: Mapping[str, bytes], read: Mapping[str, Mapping[str, Any]], folder: Path
) -> dict[str, str]:
    """A file of its own goes before the entry in tokenizer_config.json."""
    if "chat_template.jinja" in kept:
        path = folder / "chat_template.jinja"
        return {"default": _read_text(kept["chat_template.jinja"], path)}
    for name in ("tokenizer_config.json", "chat_template.json"):
        value = read.get(name, {}).get("chat_template")
        if value is None:
            continue
        if isinstance(value, str):
            return {"default": value}
        try:
            pairs = value.items() if isinstance(value, dict) else _pair_up(value)
            templates = {str(key): str(text) for key, text in pairs}
        except (TypeError, KeyError):
            raise UserError(
                f"the chat_template of {folder / name} is neither a text nor a list of objects "
                f"with `name` and `template`: {MEND}."
            ) from None
        if templates:
            return templates
    return {}


def _pair_up(value: Any) -> list[tuple[Any, Any]]:
    return [(each["name"], each["template"]) for each in value]
