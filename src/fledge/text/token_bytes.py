"""The bytes that each token of another program's tokenizer.json stands for, read off its decoder.

Exact for byte-level vocabularies and for those with a token for each byte (<0xNN>). Words of a
WordPiece vocabulary begin with the space that its decoder writes before them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fledge.text.bpe import unspell

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_LOWER_ONE_EIGHTH = "\u2581"  # what SentencePiece writes in place of a space


def read_token_bytes(file: Mapping[str, Any]) -> Callable[[str], bytes]:
    """How a word of the vocabulary is read. Raises KeyError, TypeError or ValueError for a decoder
    that is none.
    """
    steps = list(_flatten(file.get("decoder"), "decoders"))
    kinds = {step["type"] for step in steps}
    before = [
        *_flatten(file.get("pre_tokenizer"), "pretokenizers"),
        *_flatten(file.get("normalizer"), "normalizers"),
    ]
    if "ByteLevel" in kinds or (not kinds and any(step["type"] == "ByteLevel" for step in before)):
        return _unspell
    if not kinds:  # nothing says how: the pre-tokenizer's own sign for a space is all there is
        steps = [step for step in before if step["type"] == "Metaspace"]
    words = [_reader(step) for step in steps if step["type"] in _READERS]
    bytewise = "ByteFallback" in kinds

    def read(word: str) -> bytes:
        if bytewise and (match := _BYTE.fullmatch(word)):
            return bytes((int(match[1], 16),))
        for change in words:
            word = change(word)
        return word.encode("utf-8")

    return read


def has_decoder(file: Mapping[str, Any], kind: str) -> bool:
    """Whether a decoder of that type is among its steps."""
    return any(step["type"] == kind for step in _flatten(file.get("decoder"), "decoders"))


def _flatten(part: Mapping[str, Any] | None, inside: str) -> Iterator[Mapping[str, Any]]:
    """The steps of a part of the file, which may be a sequence of sequences."""
    if part is None:
        return
    if part["type"] != "Sequence":
        yield part
        return
    for step in part[inside]:
        yield from _flatten(step, inside)


def _unspell(word: str) -> bytes:
    try:
        return unspell(word)
    except KeyError:  # a word outside the alphabet is its own text
        return word.encode("utf-8")


def _reader(step: Mapping[str, Any]) -> Callable[[str], str]:
    return _READERS[step["type"]](step)


def _replace(step: Mapping[str, Any]) -> Callable[[str], str]:
    pattern, content = step["pattern"], step["content"]
    if "String" in pattern:
        return lambda word: word.replace(pattern["String"], content)
    expression = re.compile(pattern["Regex"])
    return lambda word: expression.sub(lambda match: content, word)


def _metaspace(step: Mapping[str, Any]) -> Callable[[str], str]:
    sign = step.get("replacement") or _LOWER_ONE_EIGHTH
    return lambda word: word.replace(sign, " ")


def _wordpiece(step: Mapping[str, Any]) -> Callable[[str], str]:
    prefix = step.get("prefix", "##")
    return lambda word: (
        word[len(prefix) :] if word.startswith(prefix) and word != prefix else " " + word
    )


def _suffix(step: Mapping[str, Any]) -> Callable[[str], str]:
    suffix = step.get("suffix", "</w>")
    return lambda word: word.removesuffix(suffix) + " " if word.endswith(suffix) else word


_READERS: dict[str, Callable[[Mapping[str, Any]], Callable[[str], str]]] = {
    "Replace": _replace,
    "Metaspace": _metaspace,
    "WordPiece": _wordpiece,
    "BPEDecoder": _suffix,
}
