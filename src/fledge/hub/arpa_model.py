"""An ARPA file as a model: its n-grams, and the words between white space as tokens; or the tokens
of the tokenizer beside it, of which `fledge export format=arpa` spelled each as a word.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fledge.errors import UserError
from fledge.hub.arpa import BEGIN, END, UNKNOWN, name_tokens, read_arpa
from fledge.models.language.ngram_network import NgramConfig, NgramNetwork
from fledge.text.foreign import ForeignTokenizer
from fledge.text.foreign_files import ForeignFiles
from fledge.text.tokenizer import Tokenizer, load_tokenizer

CONTEXT = 1024  # tokens of a row that is read or written; the model looks back at a few
_GLUE = "\U0010fffe\U0010fffe"  # what a word would begin with that has no space before it: none


def is_arpa(path: Path) -> bool:
    return path.suffix == ".arpa" and path.is_file()


def open_arpa(file: Path) -> tuple[NgramNetwork, Tokenizer]:
    """Raises UserError for a file that is none, or has no word that opens and closes a text."""
    beside: Tokenizer | None = None
    if os.path.lexists(file.parent / "tokenizer.json"):
        beside = load_tokenizer(file.parent)
    names, model = read_arpa(file, None if beside is None else name_tokens(beside))
    for word in (BEGIN, END):
        if word not in names:
            raise UserError(f"{file} has no word {word}, which opens and closes a text: write one.")
    tokenizer = beside or ArpaWords(file, names, np.isfinite(model.logp))
    network = NgramNetwork(NgramConfig(model.vocab_size, context=CONTEXT), model.border)
    network.become(model)
    return network.eval(), tokenizer


class ArpaWords(ForeignTokenizer):
    """Words, with a space before each in a text that is made of them. What is no word is <unk>,
    where the file has a probability for it.
    """

    def __init__(self, file: Path, words: Sequence[str], said: np.ndarray) -> None:
        self._said = said  # [V] bool
        ids = {word: i for i, word in enumerate(words)}
        known = UNKNOWN in ids and bool(said[ids[UNKNOWN]])
        made = _describe(ids, UNKNOWN if known else "")
        config = {"bos_token": BEGIN, "eos_token": END} | ({"unk_token": UNKNOWN} if known else {})
        kept = {
            "tokenizer.json": json.dumps(made, ensure_ascii=False).encode(),
            "tokenizer_config.json": json.dumps(config).encode(),
        }
        super().__init__(ForeignFiles(file.parent, kept, made, config, (), (), None, {}))

    @property
    def border(self) -> int | None:
        return self.begin

    @property
    def sayable(self) -> np.ndarray:
        """What has a probability."""
        return self._said


def _describe(ids: Mapping[str, int], unknown: str) -> dict[str, Any]:
    """A tokenizer.json."""
    frame = [
        {"SpecialToken": {"id": BEGIN, "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": END, "type_id": 0}},
    ]
    special = {word: {"id": word, "ids": [ids[word]], "tokens": [word]} for word in (BEGIN, END)}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": ids[word], "content": word, "single_word": False, "lstrip": False,
             "rstrip": False, "normalized": False, "special": True}
            for word in sorted(special, key=ids.__getitem__)
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing", "single": frame, "pair": frame, "special_tokens": special,
        },
        "decoder": {"type": "WordPiece", "prefix": _GLUE, "cleanup": False},
        "model": {"type": "WordLevel", "vocab": dict(ids), "unk_token": unknown},
    }  # fmt: skip
