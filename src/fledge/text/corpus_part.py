"""A part of a corpus: some documents that follow each other, with the split of each, as one process
can read them alone.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from fledge.errors import UserError
from fledge.splits import SPLITS, Split
from fledge.text.documents import (
    AnyDocument,
    Document,
    DocumentPart,
    LongDocument,
    Place,
    read_from,
)
from fledge.text.folders import Links, Passed

LEFT_OUT, CUT = 3, 4
"""In place of a split: a copy of another document; one of which each split has a piece."""

Cut = tuple[Split, int, int]
"""A split, and from which character on until before which one it has the document."""


@dataclass(frozen=True)
class CorpusPart:
    """source: the number of the one that it is of. start: where its first document stands. sides:
    a byte for each document. cuts: of those that are cut, by their number in the part.
    """

    data: str
    hidden: bool
    links: Links
    source: int
    start: Place
    sides: bytes
    cuts: Mapping[int, Sequence[Cut]]

    def split(self) -> Iterator[tuple[Split, AnyDocument]]:
        """The documents with their splits. Raises UserError where there are fewer than there
        were.
        """
        placed = read_from(
            self.start, self.data, hidden=self.hidden, links=self.links, passed=Passed()
        )
        number = -1
        for number, (_, document) in enumerate(islice(placed, len(self.sides))):
            yield from divide(document, self.sides[number], self.cuts.get(number, []))
        if number + 1 < len(self.sides):
            raise changed(self.data)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` makes the same part of."""
        return asdict(self) | {"sides": base64.b64encode(self.sides).decode("ascii")}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> CorpusPart:
        return cls(
            **{
                **said,
                "start": Place(**said["start"]),
                "sides": base64.b64decode(said["sides"]),
                "cuts": {int(number): cuts for number, cuts in said["cuts"].items()},
            }
        )


def divide(
    document: Document | LongDocument, side: int, cuts: Sequence[Cut]
) -> Iterator[tuple[Split, AnyDocument]]:
    """What each split has of a document with this side."""
    if side < len(SPLITS):
        yield SPLITS[side], document
    for split, start, stop in cuts:
        yield split, DocumentPart(document, start, stop)


def changed(data: str) -> UserError:
    """Of files that are not what they were when they were first read."""
    return UserError(
        f"the files of {data} changed while they were read: begin again when nothing writes to them"
    )
