"""The tokenizer of a GGUF file as the files of a Hugging Face tokenizer, and back.

Two of GGUF's kinds are read: `gpt2` is byte-level BPE with its merges, cut into words as
`tokenizer.ggml.pre` says; `llama` is SentencePiece's BPE, whose merges follow from its scores.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fledge.errors import UserError
from fledge.hub.gguf_file import Typed, uint32
from fledge.hub.gguf_splits import SPLITS, Splits

PRE = "tokenizer.ggml."
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
_SPACE = "▁"
_NAMED = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}
_ENDS = ("eos", "eot", "eom")  # token ids at which a model stops


def read_tokenizer(
    fields: Mapping[str, Any], path: Path
) -> tuple[dict[str, Any], dict[str, Any], list[int]]:
    """tokenizer.json, tokenizer_config.json, and the ids that end a turn. Raises UserError."""
    kind, words = fields.get(PRE + "model"), fields.get(PRE + "tokens")
    if not isinstance(words, list) or not words or not isinstance(words[0], str):
        raise UserError(f"{path} holds no tokenizer: give the folder that it was made from.")
    types = fields.get(PRE + "token_type") or [NORMAL] * len(words)
    if len(types) != len(words):
        raise UserError(f"{path} is damaged ({len(words)} tokens and {len(types)} types of them).")
    if kind == "gpt2":
        file = _read_byte_level(fields, words, types, path)
    elif kind == "llama":
        file = _read_sentencepiece(fields, words, types, path)
    else:
        raise UserError(
            f"the tokenizer of {path} is of kind {str(kind)[:40]!r}: fledge reads gpt2 and llama "
            "from a GGUF file. Give the folder that it was made from."
        )
    file["added_tokens"] = [
        _added_token(number, word, special=kind == CONTROL)
        for number, (word, kind) in enumerate(zip(words, types, strict=True))
        if kind in (CONTROL, USER_DEFINED)
    ]
    config = _read_config(fields, words, path)
    if fields.get(PRE + "add_bos_token", kind == "llama") and "bos_token" in config:
        file["post_processor"] = _put_before(config["bos_token"], words.index(config["bos_token"]))
    ends = [
        fields[PRE + f"{name}_token_id"] for name in _ENDS if PRE + f"{name}_token_id" in fields
    ]
    return file, config, ends


def _number_words(words: Sequence[str], types: Sequence[int]) -> dict[str, int]:
    """Word to id, the first where several are the same; rows without a token have none."""
    listed = [
        (w, n) for n, (w, kind) in enumerate(zip(words, types, strict=True)) if kind != UNUSED
    ]
    return dict(reversed(listed))


def _read_byte_level(
    fields: Mapping[str, Any], words: list[str], types: Sequence[int], path: Path
) -> dict[str, Any]:
    pre = fields.get(PRE + "pre", "default")
    if pre not in SPLITS:
        raise UserError(
            f"the tokenizer of {path} cuts words as {str(pre)[:40]!r} does, which fledge does not "
            f"know: it knows {', '.join(sorted(SPLITS))}. Give the folder that it was made from."
        )
    splits = SPLITS[pre]
    merges = [tuple(merge.split(" ", 1)) for merge in fields.get(PRE + "merges") or []]
    vocabulary = _number_words(words, types)
    for merge in merges:
        if len(merge) != 2 or not {*merge, "".join(merge)} <= vocabulary.keys():
            raise UserError(
                f"{path} is damaged (the merge {' '.join(merge)[:60]!r} is of no tokens)."
            )
    return {
        **_frame(),
        "normalizer": splits.normalizer,
        "pre_tokenizer": _in_order(splits),
        "decoder": {
            "type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True,
        },
        "model": _bpe(vocabulary, merges, whole=splits.whole),
    }  # fmt: skip


def _read_sentencepiece(
    fields: Mapping[str, Any], words: list[str], types: Sequence[int], path: Path
) -> dict[str, Any]:
    scores = fields.get(PRE + "scores")
    if not isinstance(scores, list) or len(scores) != len(words):
        raise UserError(
            f"{path} holds a tokenizer without the scores of its tokens: fetch it again."
        )
    vocabulary = _number_words(words, types)
    lead = bool(fields.get(PRE + "add_space_prefix", True))
    spaces = [{"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}]
    if lead:
        spaces.insert(0, {"type": "Prepend", "prepend": _SPACE})
    back: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "},
        {"type": "ByteFallback"}, {"type": "Fuse"},
    ]  # fmt: skip
    if lead:
        back.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    unknown = [word for word, kind in zip(words, types, strict=True) if kind == UNKNOWN]
    mergeable = {word for word, kind in zip(words, types, strict=True) if kind == NORMAL}
    merges = list_merges(vocabulary, scores, mergeable)
    return {
        **_frame(),
        "normalizer": {"type": "Sequence", "normalizers": spaces},
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": back},
        "model": _bpe(vocabulary, merges, unknown=next(iter(unknown), None), bytes_too=True),
    }


def list_merges(
    vocabulary: Mapping[str, int], scores: Sequence[float], mergeable: set[str]
) -> list[tuple[str, ...]]:
    """The merges that make what SentencePiece makes: of all pairs of neighbours it joins the one
    whose word has the highest score.
    """
    merges: list[tuple[float, int, int, tuple[str, str]]] = []
    for word in mergeable:
        for at in range(1, len(word)):
            left, right = word[:at], word[at:]
            if left in vocabulary and right in vocabulary:
                rank = -scores[vocabulary[word]]
                merges.append((rank, vocabulary[left], vocabulary[right], (left, right)))
    return [pair for *_, pair in sorted(merges)]


def _frame() -> dict[str, Any]:
    return {"version": "1.0", "truncation": None, "padding": None, "post_processor": None}


def _in_order(splits: Splits) -> dict[str, Any]:
    if len(splits.steps) == 1:
        return splits.steps[0]
    return {"type": "Sequence", "pretokenizers": list(splits.steps)}


def _bpe(
    vocabulary: Mapping[str, int],
    merges: Sequence[tuple[str, ...]],
    *,
    whole: bool = False,
    unknown: str | None = None,
    bytes_too: bool = False,
) -> dict[str, Any]:
    return {
        "type": "BPE", "dropout": None, "unk_token": unknown, "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": bytes_too, "byte_fallback": bytes_too,
        "ignore_merges": whole, "vocab": dict(vocabulary), "merges": [list(m) for m in merges],
    }  # fmt: skip


def _added_token(number: int, word: str, *, special: bool) -> dict[str, Any]:
    return {
        "id": number, "content": word, "single_word": False, "lstrip": False, "rstrip": False,
        "normalized": False, "special": special,
    }  # fmt: skip


def _put_before(word: str, number: int) -> dict[str, Any]:
    begin = {"SpecialToken": {"id": word, "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": n}} for n, name in enumerate("AB"))
    return {
        "type": "TemplateProcessing", "single": [begin, first], "pair": [begin, first, second],
        "special_tokens": {word: {"id": word, "ids": [number], "tokens": [word]}},
    }  # fmt: skip


def _read_config(fields: Mapping[str, Any], words: list[str], path: Path) -> dict[str, Any]:
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast"}
    for name, theirs in _NAMED.items():
        number = fields.get(f"{PRE}{name}_token_id")
        if number is None:
            continue
        if not isinstance(number, int) or not 0 <= number < len(words):
            raise UserError(f"{path} is damaged ({name}_token_id={number}): fetch it again.")
        config[theirs] = words[number]
    if isinstance(template := fields.get("tokenizer.chat_template"), str):
        config["chat_template"] = template
    config["clean_up_tokenization_spaces"] = False
    return config


def write_tokenizer(file: Mapping[str, Any], config: Mapping[str, Any], ids: Mapping[str, Any],
                    rows: int) -> dict[str, Any]:  # fmt: skip
    """The fields of a GGUF file for a tokenizer.json.

    config: tokenizer_config.json. ids: bos_token_id, eos_token_id (or a list), pad_token_id. rows:
    of the embedding; those without a token get a name that no text has, as llama.cpp wants it.
    Raises UserError for a tokenizer that GGUF has no word for.
    """
    model = file["model"]
    words, types = _list_words(file, rows)
    if model["type"] != "BPE":
        raise UserError(
            f"a tokenizer of kind {model['type']} has no place in a GGUF file that llama.cpp would "
            "read as fledge does: export it with format=hf."
        )
    fields: dict[str, Any] = {}
    if model.get("byte_fallback"):
        fields |= _write_sentencepiece(file, words, types)
    else:
        merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
        fields |= {PRE + "model": "gpt2", PRE + "pre": _name_splits(file)}
        # An empty list has no type, and llama.cpp wants the field.
        fields[PRE + "merges"] = merges or Typed(8, [])
    fields[PRE + "tokens"], fields[PRE + "token_type"] = words, Typed(5, types)
    ends = ids.get("eos_token_id")
    ends = ends if isinstance(ends, list) else [] if ends is None else [ends]
    numbered = {"bos": ids.get("bos_token_id"), "padding": ids.get("pad_token_id")}
    numbered |= dict(zip(_ENDS, ends, strict=False))
    if (unknown := model.get("unk_token")) is not None:
        numbered["unknown"] = words.index(unknown)
    fields |= {PRE + f"{n}_token_id": uint32(i) for n, i in numbered.items() if i is not None}
    fields[PRE + "add_bos_token"] = _begins(file)
    if isinstance(template := config.get("chat_template"), str):
        fields["tokenizer.chat_template"] = template
    return fields


def _list_words(file: Mapping[str, Any], rows: int) -> tuple[list[str], list[int]]:
    """By id: how each token is spelled, and its type."""
    words, types = [f"[PAD{number}]" for number in range(rows)], [UNUSED] * rows
    for word, number in file["model"]["vocab"].items():
        if number < rows:
            words[number], types[number] = word, NORMAL
            if file["model"].get("byte_fallback") and _is_byte(word):
                types[number] = BYTE
    for token in file.get("added_tokens") or []:
        if token["id"] < rows:
            words[token["id"]] = token["content"]
            types[token["id"]] = CONTROL if token["special"] else USER_DEFINED
    return words, types


def _is_byte(word: str) -> bool:
    return len(word) == 6 and word.startswith("<0x") and word.endswith(">")


def _name_splits(file: Mapping[str, Any]) -> str:
    """The name of a byte-level tokenizer's way to cut words. Raises UserError for one without."""
    pre = file.get("pre_tokenizer") or {}
    steps = [_plain(step) for step in pre.get("pretokenizers", [pre])]
    whole = bool(file["model"].get("ignore_merges"))
    for name, splits in SPLITS.items():
        if steps == [_plain(step) for step in splits.steps] and whole == splits.whole:
            return name
    raise UserError(
        "the tokenizer cuts words in a way that GGUF has no name for, so llama.cpp would give "
        "other tokens: export it with format=hf."
    )


def _plain(step: Mapping[str, Any]) -> dict[str, Any]:
    """Without what changes no token."""
    return {name: value for name, value in step.items() if name != "trim_offsets"}


def _write_sentencepiece(
    file: Mapping[str, Any], words: list[str], types: list[int]
) -> dict[str, Any]:
    """Scores that make the merges: a word's is below 0 by the rank of the first that makes it."""
    scores = [0.0] * len(words)
    place = file["model"]["vocab"]
    unknown = file["model"].get("unk_token")
    for rank, merge in enumerate(file["model"]["merges"]):
        left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
        number = place[left + right]
        if number < len(words) and scores[number] == 0.0:
            scores[number] = -float(rank + 1)
    for number, kind in enumerate(types):
        if kind == NORMAL and scores[number] == 0.0:
            scores[number] = -1e6  # a single character, or a word that no merge makes
        if words[number] == unknown:
            types[number] = UNKNOWN
    lead = any(step.get("type") == "Prepend" for step in _normalizers(file))
    return {PRE + "model": "llama", PRE + "scores": scores, PRE + "add_space_prefix": lead}


def _normalizers(file: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    normalizer = file.get("normalizer") or {}
    return normalizer.get("normalizers", [normalizer])


def _begins(file: Mapping[str, Any]) -> bool:
    """Whether its post-processor puts a token before every text."""
    processor = file.get("post_processor") or {}
    for step in processor.get("processors", [processor]):
        single = step.get("single") or []
        if single and "SpecialToken" in single[0]:
            return True
    return False


def to_files(file: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, bytes]:
    """tokenizer.json and tokenizer_config.json, as they are written."""
    each = {"tokenizer.json": file, "tokenizer_config.json": config}
    return {name: json.dumps(what, ensure_ascii=False).encode("utf-8", "replace")
            for name, what in each.items()}  # fmt: skip
