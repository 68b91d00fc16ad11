"""A corpus in its splits: one reading finds the copies and the splits, later ones stream the
documents of a split.

What is kept in memory of a document is 25 bytes (and twice that while the copies are looked for),
never its text.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fledge.errors import UserError
from fledge.splits import FEWEST_TO_SPLIT, SPLITS, Split, split_of_digest
from fledge.text.documents import (
    AnyDocument,
    Document,
    DocumentPart,
    LongDocument,
    data_files,
    read_documents,
)
from fledge.text.folders import Links, Passed


@dataclass(frozen=True)
class DocumentChoice:
    """Which of the documents found are wanted."""

    hidden: bool = False
    """Also files and folders whose name begins with a dot, inside of a folder that is read."""
    links: Links = "follow"
    duplicates: Literal["drop", "keep"] = "drop"
    """A document whose text stood before, however its white space is laid out."""


class Corpus:
    """The user's documents without copies, in their splits; each way of asking for them reads the
    files anew.
    """

    def __init__(self, data: str, choice: DocumentChoice | None = None) -> None:
        """Reads everything once. Raises UserError as `read_documents` does, or for files that
        change meanwhile.
        """
        self.data, self.choice = data, choice or DocumentChoice()
        self._files = self._state()
        self.passed = Passed()
        """What was not read."""
        characters, splits, digests = array("Q"), bytearray(), bytearray()
        for document in self._read(self.passed):
            seen = _Fingerprint(document.chunks())
            characters.append(seen.characters)
            splits.append(SPLITS.index(split_of_digest(seen.text)))
            digests += seen.normal[:16]
        self._check()
        self._characters = np.frombuffer(characters, dtype=np.uint64).astype(np.int64)
        self._split = np.frombuffer(splits, dtype=np.uint8)
        self._kept = np.ones(len(splits), dtype=bool)
        if self.choice.duplicates == "drop":
            self._kept = _first_of_each(np.frombuffer(digests, dtype=">u8").reshape(-1, 2))
        self.duplicates = int((~self._kept).sum())
        """How many documents were left out as copies."""
        self.rule: Literal["hash", "cut"] = self._choose_rule()
        """How the text is split: by each document's hash, or by cutting it.

        It is cut where there are fewer documents than `FEWEST_TO_SPLIT`, or where hashes would
        leave a split without any: a single book has a validation set too. A cut takes the first 90%
        of all characters to train, the next 5% to validation, the rest to test."""

    def __len__(self) -> int:
        """The number of documents, copies left out."""
        return int(self._kept.sum())

    def notes(self) -> list[str]:
        """What a user should know of what was not taken, a sentence each."""
        said = [str(self.passed)] if str(self.passed) else []
        if self.duplicates:
            number = (
                "1 document is" if self.duplicates == 1 else f"{self.duplicates:,} documents are"
            )
            said.append(
                f"{number} left out of the data as copies of others (duplicates=keep takes them)"
            )
        return said

    def documents(self) -> Iterator[Document | LongDocument]:
        """All documents whole, in the order in which they are read."""
        for number, document in enumerate(self._read(Passed())):
            if self._at(self._kept, number):
                yield document
        self._check()

    def split(self, *wanted: Split) -> Iterator[tuple[Split, AnyDocument]]:
        """The documents of the splits that are wanted (all, if none is named) with their split, in
        the order of reading.
        """
        chosen = wanted or SPLITS
        parts = self._hashed() if self.rule == "hash" else self._cut()
        for split, document in parts:
            if split in chosen:
                yield split, document
        self._check()

    def _hashed(self) -> Iterator[tuple[Split, AnyDocument]]:
        for number, document in enumerate(self._read(Passed())):
            if self._at(self._kept, number):
                yield SPLITS[self._split[number]], document

    def _cut(self) -> Iterator[tuple[Split, AnyDocument]]:
        total = int(self._characters[self._kept].sum())
        borders = (0, total * 90 // 100, total * 95 // 100, total)
        place = 0
        for number, document in enumerate(self._read(Passed())):
            if not self._at(self._kept, number):
                continue
            length = int(self._characters[number])
            for split, first, last in zip(SPLITS, borders, borders[1:], strict=False):
                start, stop = max(first - place, 0), min(last - place, length)
                if start < stop:
                    yield split, DocumentPart(document, start, stop)
            place += length

    def _choose_rule(self) -> Literal["hash", "cut"]:
        in_splits = np.unique(self._split[self._kept])
        return "cut" if len(self) < FEWEST_TO_SPLIT or len(in_splits) < len(SPLITS) else "hash"

    def _read(self, passed: Passed) -> Iterator[Document | LongDocument]:
        choice = self.choice
        return read_documents(self.data, hidden=choice.hidden, links=choice.links, passed=passed)

    def _at(self, kept: np.ndarray, number: int) -> bool:
        if number >= len(kept):
            raise _changed(self.data)
        return bool(kept[number])

    def _state(self) -> bytes:
        """A digest of the names, sizes and times of all files."""
        digest = hashlib.sha256()
        for file in data_files(self.data, hidden=self.choice.hidden, links=self.choice.links):
            status = file.stat() if file.exists() else None
            digest.update(
                repr((str(file), status and (status.st_size, status.st_mtime_ns))).encode()
            )
        return digest.digest()

    def _check(self) -> None:
        if self._state() != self._files:
            raise _changed(self.data)


def _changed(data: str) -> UserError:
    return UserError(
        f"the files of {data} changed while they were read: begin again when nothing writes to them"
    )


class _Fingerprint:
    """What one reading of a document finds out. The text's own hash, and the one that white space
    does not change.
    """

    def __init__(self, chunks: Iterable[str]) -> None:
        text, normal = hashlib.sha256(), hashlib.sha256()
        self.characters = 0
        begun, spaced = False, False  # whether a word has come, and whether space has come after it
        for chunk in chunks:
            text.update(chunk.encode("utf-8"))
            self.characters += len(chunk)
            words = " ".join(chunk.split())
            if not words:
                spaced = True
                continue
            if begun and (spaced or chunk[0].isspace()):
                normal.update(b" ")
            normal.update(words.encode("utf-8"))
            begun, spaced = True, chunk[-1].isspace()
        self.text, self.normal = text.digest(), normal.digest()


def _first_of_each(digests: np.ndarray) -> np.ndarray:
    """[N] bool: whether a row of numbers [N, 2] stands there for the first time."""
    # stable: equal ones stay in the order in which they came
    order = np.lexsort((digests[:, 1], digests[:, 0]))
    ordered = digests[order]
    again = np.zeros(len(digests), dtype=bool)
    again[order[1:]] = (ordered[1:] == ordered[:-1]).all(axis=1)
    return ~again
