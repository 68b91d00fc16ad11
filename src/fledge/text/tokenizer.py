"""Text to token ids and back: the tokenizer of a folder, whoever wrote it, behind one interface."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from fledge.errors import UserError
from fledge.json_file import read_bytes, read_json
from fledge.text.foreign import ForeignTokenizer
from fledge.text.foreign_files import read_foreign
from fledge.text.interface import Tokenizer
from fledge.text.own_tokenizers import (
    BYTE_VOCABULARY,
    KINDS,
    OwnTokenizer,
    TokenizerKind,
    cut_apart,
    from_file,
    from_merges,
    train_tokenizer,
)
from fledge.text.tokenizer_file import MEND, SPECIAL

__all__ = [
    "BYTE_VOCABULARY",
    "KINDS",
    "SPECIAL",
    "ForeignTokenizer",
    "OwnTokenizer",
    "Tokenizer",
    "TokenizerKind",
    "cut_apart",
    "from_merges",
    "load_tokenizer",
    "train_tokenizer",
]


class _Written(TypedDict, total=False):
    """What is read of a tokenizer_config.json to know who wrote it."""

    fledge_kind: Any


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """The tokenizer of a folder that holds tokenizer.json, or of a run (its model/ folder).

    Raises UserError where there is none, or where it is broken.
    """
    folder = Path(folder)
    for place in (folder, folder / "model"):
        if os.path.lexists(place / "tokenizer.json"):
            break
    else:
        raise UserError(
            f"{folder} holds no tokenizer.json, and no model/tokenizer.json either: give the "
            "folder of a run or of `fledge tokenizer train`"
        )
    try:
        file = read_bytes(place / "tokenizer.json", mend=MEND).decode("utf-8")
        kind = read_json(place / "tokenizer_config.json", _Written, mend=MEND).get("fledge_kind")
    except FileNotFoundError:
        raise UserError(
            f"{place} has a tokenizer.json and no tokenizer_config.json beside it: copy both"
        ) from None
    except UnicodeDecodeError as error:
        raise UserError(f"{place / 'tokenizer.json'} is broken ({error}): {MEND}") from None
    if kind is None:
        return ForeignTokenizer(read_foreign(place))
    if kind not in KINDS:
        raise UserError(
            f"{place / 'tokenizer_config.json'} is broken (its fledge_kind is none of "
            f"{', '.join(KINDS)}): {MEND}"
        )
    try:
        return from_file(file, kind)
    except UserError as error:  # which begins with the file's name
        raise UserError(f"{place}{os.sep}{error}") from None
    except (ValueError, KeyError) as error:
        raise UserError(f"{place / 'tokenizer.json'} is broken ({error}): {MEND}") from None
