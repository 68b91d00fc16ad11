"""The sequences that `fledge fit` learns from, out of a table or a text, in train, validation and
test.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from fledge.errors import UserError
from fledge.rows.sequence_files import read_sequences
from fledge.rows.sequences import Sequences, split_sequences
from fledge.splits import SPLITS, Split, divide
from fledge.text.documents import read_documents
from fledge.text.symbols import (
    Unit,
    choose_alphabet,
    encode_symbols,
    list_symbols,
    split_paragraphs,
)

PROSE = (".txt", ".md", ".jsonl", "")

Parts = dict[Split, Sequences]


def read_sequence_parts(data: str, settings: Any) -> tuple[Parts, bool]:
    """Train, validation and test, and whether they are apart: a few sequences are all trained on.

    settings: of a model of sequences, with `sequence`, and what it has of `unit`, `vocabulary` and
    `emission`.
    """
    unit: Unit | None = getattr(settings, "unit", None)
    if unit is not None:
        if settings.sequence is not None:
            raise UserError(
                f"sequence={settings.sequence} and unit={unit}: a text's sequences are its "
                "paragraphs. Leave one out."
            )
        return read_text_parts(data, unit, settings.vocabulary)
    if Path(data).suffix in PROSE and Path(data).exists():
        raise UserError(
            f"{data} is a text: give model=hmm with unit=letters or unit=words; or call a table of "
            "numbers .csv."
        )
    symbols = getattr(settings, "emission", "normal") == "symbols"
    sequences = read_sequences(data, sequence=settings.sequence, symbols=symbols)
    parts = split_sequences(sequences)
    if parts is None:
        return dict.fromkeys(SPLITS, sequences), False
    return parts, True


def read_text_parts(data: str, unit: Unit, vocabulary: int) -> tuple[Parts, bool]:
    """Paragraphs as sequences of symbols; the alphabet is that of the train part."""
    paragraphs = [
        part for document in read_documents(data) for part in split_paragraphs(document.text)
    ]
    listed = [(part, list_symbols(part, unit)) for part in paragraphs]
    listed = [(part, symbols) for part, symbols in listed if symbols]
    if not listed:
        raise UserError(f"{data} has no {unit}: give a text.")
    sides = divide(part for part, _ in listed)
    by_side: dict[Split, list[list[str]]] = {
        split: [symbols for part, symbols in listed if sides is None or sides[part] == split]
        for split in SPLITS
    }
    alphabet = choose_alphabet(by_side["train"], unit, vocabulary)
    parts: Parts = {
        split: encode_all(some, alphabet, unit, data) for split, some in by_side.items()
    }
    return parts, sides is not None


def encode_all(
    sequences: list[list[str]], alphabet: tuple[str, ...], unit: Unit, source: str
) -> Sequences:
    codes = [encode_symbols(symbols, alphabet) for symbols in sequences]
    x = torch.tensor([code for row in codes for code in row])
    return Sequences(x, tuple(map(len, codes)), (unit,), alphabet, source)
