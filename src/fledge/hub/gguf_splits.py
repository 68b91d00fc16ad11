"""How text is cut into words before merges, by the names that GGUF has for it
(`tokenizer.ggml.pre`), as a pre-tokenizer of a tokenizer.json.

The patterns are those of the models' own tokenizer.json files, and of llama.cpp's
src/llama-vocab.cpp where a name belongs to no model.
"""

from __future__ import annotations

from typing import Any, NamedTuple

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3, QWEN2 = _WORDS % "{1,3}", _WORDS % ""
_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
_BYTES_OF_GPT2 = {**_BYTES, "use_regex": True}


class Splits(NamedTuple):
    """steps: of a pre-tokenizer, the last of which is ByteLevel. whole: whether a word that is a
    token is taken whole, whatever merges say. normalizer: as in tokenizer.json.
    """

    steps: tuple[dict[str, Any], ...]
    whole: bool = False
    normalizer: dict[str, Any] | None = None


def _split(pattern: str) -> dict[str, Any]:
    return {
        "type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False,
    }  # fmt: skip


_GPT2 = Splits((_BYTES_OF_GPT2,))
_DIGITS = Splits(({"type": "Digits", "individual_digits": True}, _BYTES_OF_GPT2))
_LLAMA3 = Splits((_split(LLAMA3), _BYTES), whole=True)
_QWEN2 = Splits((_split(QWEN2), _BYTES), normalizer={"type": "NFC"})
# What llama.cpp does where no name was given. `transformers` takes it for GPT-2's.
_DEFAULT = Splits((
    _split(r"[\p{P}\$\+<=>\^~\|]+"), _split(GPT2.removesuffix(r"|\s+")), _split(r"\p{N}+"),
    _split("[0-9][0-9][0-9]"), _BYTES,
))  # fmt: skip

# The first name of each is the one that is written.
SPLITS: dict[str, Splits] = {
    "gpt-2": _GPT2, "phi-2": _GPT2, "mpt": _GPT2, "olmo": _GPT2, "roberta-bpe": _GPT2,
    "smollm": _DIGITS, "starcoder": _DIGITS, "refact": _DIGITS, "command-r": _DIGITS,
    "codeshell": _DIGITS, "exaone": _DIGITS,
    "llama-bpe": _LLAMA3, "llama3": _LLAMA3, "llama-v3": _LLAMA3,
    "dbrx": _LLAMA3._replace(whole=False), "smaug-bpe": _LLAMA3._replace(whole=False),
    "qwen2": _QWEN2, "deepseek-r1-qwen": _QWEN2, "megrez": _QWEN2,
    "stablelm2": _QWEN2._replace(normalizer=None),
    "default": _DEFAULT,
}  # fmt: skip
