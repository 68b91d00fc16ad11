"""The tokenizer.json of all three kinds, in Hugging Face's format: written from merges or
characters, and read back.

The ids follow from these alone: 0 to 5 the special tokens, then 256 bytes and the merges in order,
    or the characters; and last the special tokens that an objective of pre-training needs.
Format: https://huggingface.co/docs/tokenizers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated

import tokenizers
from pydantic import Field
from tokenizers import decoders, models, pre_tokenizers
from typing_extensions import TypedDict

from fledge.errors import UserError
from fledge.json_file import parse_json
from fledge.text.bpe import Merge, printable_bytes, spell, unspell

SPECIAL = ("<|pad|>", "<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
"""The special tokens: ids 0 to 5 of every tokenizer that fledge trains."""

MEND = "copy or train it again"


class _Words(TypedDict):
    vocab: dict[str, int]


class _Bpe(_Words):
    merges: list[Annotated[list[str], Field(min_length=2, max_length=2)]]


class _WordsFile(TypedDict):
    """What is read of a tokenizer.json of characters."""

    model: _Words


class _Added(TypedDict):
    id: int
    content: str


class _AddedFile(TypedDict):
    """What is read of special tokens."""

    added_tokens: list[_Added]


class _BpeFile(TypedDict):
    """What is read of a tokenizer.json of the other kinds."""

    model: _Bpe


def bpe_vocabulary(merges: Sequence[Merge]) -> dict[str, int]:
    """The spelling of each token -> its id. Two merges that make the same token share its id.

    Raises ValueError for merges out of order, or that spell a special token: text could then forge
    it.
    """
    vocabulary = _numbered([*SPECIAL, *printable_bytes()])
    for left, right in merges:
        if not (spell(left) in vocabulary and spell(right) in vocabulary):
            raise ValueError(
                f"the merge of {left!r} and {right!r} comes before the merges that make them"
            )
        if spell(left + right) in SPECIAL:
            raise ValueError(
                f"the merge of {left!r} and {right!r} spells a special token, which text could "
                "then forge"
            )
        vocabulary.setdefault(spell(left + right), len(vocabulary))
    return vocabulary


def bpe_encoder(merges: Sequence[Merge]) -> tokenizers.Tokenizer:
    """The library's byte-level BPE with these merges; it has not been told of special tokens, so it
    cannot find any.
    """
    spelled = [(spell(left), spell(right)) for left, right in merges]
    encoder = tokenizers.Tokenizer(models.BPE(vocab=bpe_vocabulary(merges), merges=spelled))
    encoder.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    encoder.decoder = decoders.ByteLevel()
    return encoder


def bpe_file(merges: Sequence[Merge]) -> str:
    """Byte-level BPE of these merges; without any, plain bytes. Raises ValueError as
    `bpe_vocabulary` does.
    """
    return _with_special(bpe_encoder(merges))


def characters_file(characters: Sequence[str]) -> str:
    """One token a character. The library raises for an unknown one; its BPE would drop it
    silently.
    """
    # `<unk>` is the library's default name for what this vocabulary does not have, and the reason
    # why it raises.
    encoder = tokenizers.Tokenizer(
        models.WordLevel(vocab=_numbered([*SPECIAL, *characters]), unk_token="<unk>")
    )
    encoder.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), behavior="isolated")
    encoder.decoder = decoders.Fuse()
    return _with_special(encoder)


def _with_special(encoder: tokenizers.Tokenizer) -> str:
    # Not `normalized`: a special token is found only as it is spelled. Other programs that read the
    # file look for them in text, for the sake of the chat template; fledge's own encoder does not.
    encoder.add_special_tokens(
        [tokenizers.AddedToken(token, special=True, normalized=False) for token in SPECIAL]
    )
    return encoder.to_str(pretty=True) + "\n"


def add_special(file: str, names: Sequence[str]) -> str:
    """The same tokenizer.json with further special tokens, behind all of its ids. Raises UserError
    for one that it has, as a special token or as a word.
    """
    content = json.loads(file)
    words, listed = content["model"]["vocab"], content["added_tokens"]
    known = {*words, *(token["content"] for token in listed)}
    if doubled := sorted(known.intersection(names)):
        raise UserError(
            f"the tokenizer has {doubled[0]} already: train one on text without it, or leave out "
            "what needs it."
        )
    first = len(words) + len(listed) - len(SPECIAL)
    pattern = listed[0]
    listed += [pattern | {"id": first + n, "content": name} for n, name in enumerate(names)]
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def read_added(file: str, first: int) -> list[str]:
    """The special tokens behind all others, from the id `first` on. Raises UserError, or ValueError
    where they do not follow it.
    """
    listed = parse_json(file.encode(), _AddedFile, "tokenizer.json", mend=MEND)["added_tokens"]
    added = [(token["id"], token["content"]) for token in listed if token["content"] not in SPECIAL]
    if [number for number, _ in added] != list(range(first, first + len(added))):
        raise ValueError("its special tokens do not follow the others in order")
    return [name for _, name in added]


def _numbered(tokens: Sequence[str]) -> dict[str, int]:
    return {token: number for number, token in enumerate(tokens)}


def read_merges(file: str) -> list[Merge]:
    """The merges of a tokenizer.json of the kinds bytes (none) or bpe.

    Raises UserError, ValueError or KeyError for a file that this module did not write.
    """
    model = parse_json(file.encode(), _BpeFile, "tokenizer.json", mend=MEND)["model"]
    merges = [(unspell(left), unspell(right)) for left, right in model["merges"]]
    if model["vocab"] != bpe_vocabulary(merges):
        raise ValueError("its vocabulary is not the one of its merges")
    return merges


def read_characters(file: str) -> list[str]:
    """The characters of a tokenizer.json of that kind, in the order of their ids. Raises as
    `read_merges` does.
    """
    vocabulary = parse_json(file.encode(), _WordsFile, "tokenizer.json", mend=MEND)["model"][
        "vocab"
    ]
    characters = sorted(set(vocabulary) - set(SPECIAL))
    if vocabulary != _numbered([*SPECIAL, *characters]) or any(
        len(character) != 1 for character in characters
    ):
        raise ValueError("its vocabulary is not special tokens and single characters in order")
    return characters
