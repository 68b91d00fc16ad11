"""Word vectors in files that others write and read: word2vec's text (fastText's .vec, and GloVe's
without a first line) and its binary form.

Text: `V D`, then a word and D numbers a line. Binary: the same first line, then of each word its
bytes, a space, and D little-endian float32, before which a line may end
(https://code.google.com/archive/p/word2vec).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fledge.errors import UserError
from fledge.models.language.word_vectors import WordVectors
from fledge.runs.atomic import write_bytes

BINARY = ".bin"
SUFFIXES = (BINARY, ".vec", ".txt")

Row = tuple[str, NDArray[np.float32]]


def write_word2vec(path: Path, vectors: WordVectors) -> None:
    """Binary where the name ends in .bin, else text, with the digits that give the same floats
    again. Raises OSError.
    """
    rows = vectors.vectors.numpy().astype("<f4")
    parts = [f"{len(vectors.words)} {vectors.dims}\n".encode()]
    for word, row in zip(vectors.words, rows, strict=True):
        if path.suffix == BINARY:
            parts += [f"{word} ".encode(), row.tobytes(), b"\n"]
        else:
            parts.append(f"{word} {' '.join(map(str, row))}\n".encode())
    write_bytes(path, b"".join(parts))


def read_word2vec(path: Path) -> WordVectors:
    """Raises UserError for a file that is none, or was cut short. A word that comes twice is what
    it was at first.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}: give a run of `fledge vectors`, or a file.")
    rows = _read_binary(path) if path.suffix == BINARY else _read_text(path)
    first: dict[str, NDArray[np.float32]] = {}
    for word, row in rows:
        first.setdefault(word, row)
    if not first:
        raise UserError(f"{path} has no vectors: give another file.")
    return WordVectors(tuple(first), torch.from_numpy(np.stack(list(first.values()))))


def _read_text(path: Path) -> Iterator[Row]:
    size = declared = None
    number = 0
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, 1):
                if number == 1 and (header := _read_header(line)) is not None:
                    declared, size = header
                    continue
                fields = line.rstrip("\r\n ")
                size = size or fields.count(" ")
                word, *values = fields.rsplit(" ", size)
                row = np.array(values, np.float32)
                if len(row) != size or not size:
                    raise ValueError(f"{len(row)} numbers")
                yield word, row
    except ValueError as error:
        raise UserError(
            f"{path}, line {number}: not a word and {size or 'some'} numbers ({error}). Give a "
            f"text of word2vec's; of its binary form the name ends in {BINARY}."
        ) from error
    if declared is not None and number - 1 < declared:
        raise UserError(
            f"{path} ends after {number - 1:,} of {declared:,} words: it was cut short; get it "
            "again."
        )


def _read_header(line: str) -> tuple[int, int] | None:
    """Words and dimensions; None of a line that is a word's."""
    fields = line.split()
    return (int(fields[0]), int(fields[1])) if len(fields) == 2 else None


def _read_binary(path: Path) -> Iterator[Row]:
    refused = UserError(
        f"{path} is no binary file of word2vec's, or was cut short: get it again, or name a text "
        ".vec or .txt."
    )
    with path.open("rb") as file:
        try:
            words, size = map(int, file.readline(64).split())
            held = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:
            raise refused from error
        with held:
            place = held.find(b"\n") + 1
            for _ in range(words):
                space = held.find(b" ", place)
                end = space + 1 + 4 * size
                if space < 0 or end > len(held):
                    raise refused
                word = held[place:space].lstrip(b"\n").decode("utf-8", "replace")
                yield word, np.frombuffer(held[space + 1 : end], "<f4").astype(np.float32)
                place = end
