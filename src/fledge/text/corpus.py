"""A corpus in its splits: one reading finds the copies and the splits, later ones stream the
documents of a split.

What is held of a document while the copies are looked for is twice 25 bytes, and one byte later;
never its text.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fledge.data_names import Source, split_sources
from fledge.splits import FEWEST_TO_SPLIT, SPLITS, Split, split_of_digest
from fledge.text.corpus_part import CUT, LEFT_OUT, CorpusPart, Cut, changed, divide
from fledge.text.documents import (
    AnyDocument,
    Document,
    LongDocument,
    Place,
    data_files,
    read_from,
)
from fledge.text.folders import Links, Passed

PART_CHARACTERS = 1 << 26
"""Of a part that one process encodes: some minutes of work for a few tens of megabytes."""


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
        self.sources = split_sources(data)
        self._files = self._state()
        self.passed = Passed()
        """What was not read."""
        characters, splits, digests = array("Q"), bytearray(), bytearray()
        starts = _Starts(self.sources)
        for place, document in self._read(self.passed):
            seen = _Fingerprint(document.chunks())
            starts.add(place, document, seen.characters)
            characters.append(seen.characters)
            splits.append(SPLITS.index(split_of_digest(seen.text)))
            digests += seen.normal[:16]
        self.check()
        self._starts = starts.begun
        self._sides = np.frombuffer(splits, dtype=np.uint8)
        """[documents] The split of each, LEFT_OUT or CUT."""
        if self.choice.duplicates == "drop":
            first = _first_of_each(np.frombuffer(digests, dtype=">u8").reshape(-1, 2))
            self._sides[~first] = LEFT_OUT
        self.duplicates = int((self._sides == LEFT_OUT).sum())
        """How many documents were left out as copies."""
        self._cuts: dict[int, list[Cut]] = {}
        self.rules: list[Literal["hash", "cut"]] = []
        """How the text of each source is split: by each document's hash, or by cutting it.

        It is cut where there are fewer documents than `FEWEST_TO_SPLIT`, or where hashes would
        leave a split without any: a single book has a validation set too. A cut takes the first 90%
        of all characters to train, the next 5% to validation, the rest to test."""
        for source in range(len(self.sources)):
            self._choose_rule(source, np.frombuffer(characters, dtype=np.uint64))

    def __len__(self) -> int:
        """The number of documents, copies left out."""
        return len(self._sides) - self.duplicates

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
        for side, _, document in self._each():
            if side != LEFT_OUT:
                yield document

    def split(self, *wanted: Split) -> Iterator[tuple[Split, AnyDocument]]:
        """The documents of the splits that are wanted (all, if none is named) with their split, in
        the order of reading.
        """
        chosen = wanted or SPLITS
        for side, number, document in self._each():
            for split, part in divide(document, side, self._cuts.get(number, [])):
                if split in chosen:
                    yield split, part

    def parts(self) -> list[CorpusPart]:
        """All that `split` gives, in parts that can be read side by side, in its order. Each is of
        one source; where parts begin depends on the data alone.
        """
        ends = [number for number, _, _ in self._starts[1:]] + [len(self._sides)]
        return [
            CorpusPart(
                self.data, self.choice.hidden, self.choice.links, source, place,
                self._sides[number:end].tobytes(),
                {n - number: self._cuts[n] for n in range(number, end) if n in self._cuts},
            )
            for (number, source, place), end in zip(self._starts, ends, strict=True)
        ]  # fmt: skip

    def _choose_rule(self, source: int, characters: np.ndarray) -> None:
        """characters: of each document.  [documents]"""
        own = [number for number, of, _ in self._starts if of == source]
        after = [number for number, of, _ in self._starts if of > source]
        first, last = own[0], after[0] if after else len(self._sides)
        sides = self._sides[first:last]
        kept = sides != LEFT_OUT
        few = kept.sum() < FEWEST_TO_SPLIT or len(np.unique(sides[kept])) < len(SPLITS)
        self.rules.append("cut" if few else "hash")
        if not few:
            return
        total = int(characters[first:last][kept].sum())
        borders = (0, total * 90 // 100, total * 95 // 100, total)
        place = 0
        for number in first + np.flatnonzero(kept):
            length, cuts = int(characters[number]), list[Cut]()
            for split, low, high in zip(SPLITS, borders, borders[1:], strict=False):
                start, stop = max(low - place, 0), min(high - place, length)
                if start < stop:
                    cuts.append((split, start, stop))
            self._sides[number], self._cuts[int(number)] = CUT, cuts
            place += length

    def _read(self, passed: Passed) -> Iterator[tuple[Place, Document | LongDocument]]:
        choice = self.choice
        return read_from(
            Place(), self.data, hidden=choice.hidden, links=choice.links, passed=passed
        )

    def _each(self) -> Iterator[tuple[int, int, Document | LongDocument]]:
        """The side and the number of every document, and itself."""
        for number, (_, document) in enumerate(self._read(Passed())):
            if number >= len(self._sides):
                raise changed(self.data)
            yield int(self._sides[number]), number, document
        self.check()

    def _state(self) -> bytes:
        """A digest of the names, sizes and times of all files."""
        digest = hashlib.sha256()
        for file in data_files(self.data, hidden=self.choice.hidden, links=self.choice.links):
            status = file.stat() if file.exists() else None
            digest.update(
                repr((str(file), status and (status.st_size, status.st_mtime_ns))).encode()
            )
        return digest.digest()

    def check(self) -> None:
        """Raises UserError for files that have changed since they were first read."""
        if self._state() != self._files:
            raise changed(self.data)


class _Starts:
    """Where parts begin: with a source, and wherever enough characters have come since the last
    one.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self._source_of = [at for at, each in enumerate(sources) for _ in each.names]
        self._characters = 0
        self.begun: list[tuple[int, int, Place]] = []
        """Of each part the number of its first document, its source, and where that stands."""
        self._number = 0

    def add(self, place: Place, document: Document | LongDocument, characters: int) -> None:
        """The next document."""
        source = self._source_of[place.name]
        # A compressed file can only be read from its beginning, and a parquet file is.
        file = document.source.rpartition(":")[0].lower()
        inside = place.lines > 0 and file.endswith((".gz", ".zst", ".parquet"))
        full = self._characters >= PART_CHARACTERS and not inside
        if not self.begun or full or source != self.begun[-1][1]:
            self.begun.append((self._number, source, place))
            self._characters = 0
        self._characters += characters
        self._number += 1


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
