"""Another program's tokenizer.json as an encoder in which no text can spell a special token.

The library finds special tokens in whatever text it is given, and some vocabularies also have them
among their ordinary words. Here each bears a private name, everywhere in the file, that no text at
hand contains: what a user types in its place is ordinary text, and whoever means the token writes
the private name. Ids, order and all else stay as they are, so every other text has the same ids.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import tokenizers

NONCHARACTERS = tuple(chr(plane * 0x10000 - back) for plane in range(17, 1, -1) for back in (1, 2))
"""Code points that Unicode keeps free of meaning for good: of thirty-two, a text that has all is
refused.
"""


def private_name(private: str, token: int) -> str:
    """What the special token of that id is called in the encoder made with this noncharacter."""
    return f"{private}{token}{private}"


def model_type(model: Mapping[str, Any]) -> str:
    """BPE, Unigram, WordPiece or WordLevel; old files do not say it."""
    if "type" in model:
        return str(model["type"])
    if isinstance(model.get("vocab"), list):
        return "Unigram"
    if "merges" in model:
        return "BPE"
    return "WordPiece" if "continuing_subword_prefix" in model else "WordLevel"


def list_vocabulary(model: Mapping[str, Any]) -> dict[str, int]:
    """Each word of the model itself, added tokens aside -> its id."""
    words = model["vocab"]
    if isinstance(words, list):
        return {word: number for number, (word, _) in enumerate(words)}
    return dict(words)


def build_encoder(
    file: Mapping[str, Any], special: Mapping[str, int], private: str
) -> tokenizers.Tokenizer:
    """The encoder of a tokenizer.json whose special tokens, spelling -> id, bear their private
    names.

    What the file keeps of its last use (truncation, padding, a merge dropout) is not inherited, and
    nothing is put around a text. Raises ValueError where the library cannot make it, or numbers it
    otherwise.
    """
    secret = {word: private_name(private, number) for word, number in special.items()}
    added = []
    for token in file.get("added_tokens") or ():
        if token["content"] in secret:
            token = {
                **token,
                "content": secret[token["content"]],
                "special": True,
                "normalized": False,
            }
        added.append(token)
    renamed = {
        **file,
        "added_tokens": added,
        "model": _rename(file["model"], secret),
        "truncation": None,
        "padding": None,
        "post_processor": None,
    }
    try:
        encoder = tokenizers.Tokenizer.from_str(json.dumps(renamed, ensure_ascii=False))
    except Exception as error:  # the library raises nothing more special
        raise ValueError(str(error)) from None
    # Those that are named as special elsewhere and are only words of the model here.
    listed = {token["content"] for token in added}
    encoder.add_special_tokens(
        [
            tokenizers.AddedToken(name, special=True, normalized=False)
            for name in secret.values()
            if name not in listed
        ]
    )
    for token in added:
        if encoder.token_to_id(token["content"]) != token["id"]:
            raise ValueError(f"its added token {token['id']} has another id than its place gives")
    for word, name in secret.items():
        if encoder.token_to_id(name) != special[word]:
            raise ValueError(f"its special token {word!r} has two ids")
    return encoder


def _rename(model: Mapping[str, Any], secret: Mapping[str, str]) -> dict[str, Any]:
    renamed = dict(model)
    words = model["vocab"]
    if isinstance(words, list):
        renamed["vocab"] = [[secret.get(word, word), score] for word, score in words]
    else:
        renamed["vocab"] = {secret.get(word, word): number for word, number in words.items()}
    if isinstance(model.get("unk_token"), str):
        renamed["unk_token"] = secret.get(model["unk_token"], model["unk_token"])
    if "merges" in model:
        prefix = model.get("continuing_subword_prefix") or ""
        renamed["merges"] = [
            merge for merge in model["merges"] if not _makes(merge, prefix, secret)
        ]
    if "dropout" in model:
        renamed["dropout"] = None
    return renamed


def _makes(merge: Any, prefix: str, secret: Mapping[str, str]) -> bool:
    """Whether a merge has a special token as a side, or as what comes of it."""
    left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
    joined = left + (right[len(prefix) :] if prefix and right.startswith(prefix) else right)
    return left in secret or right in secret or joined in secret
