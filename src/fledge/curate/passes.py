"""Two readings of a corpus that decide about every document: each alone and as a copy, then what of
those kept stood in others. Held of a document are its digest, its bands and a verdict: 260 bytes.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fledge.curate.filtering import KEPT, Filters, digest
from fledge.curate.near_copies import AT_A_TIME, BANDS, find_clusters, hash_bands
from fledge.curate.spans import RepeatedSpans
from fledge.errors import UserError
from fledge.text.documents import Document, LongDocument

LONGEST = 1 << 26  # characters of a document, which is judged whole
Copies = Literal["none", "exact", "near"]
EXACT, NEAR = "exact", "near"


Told = Callable[[int], None]
"""Is told how many documents have been read."""


@dataclass(frozen=True)
class Verdicts:
    """steps: the names that `code` numbers. code: of each document.  [N] uint8. copy_of: the number
    of the document that it is a copy of, itself for none.  [N]
    """

    steps: tuple[str, ...]
    code: NDArray[np.uint8]
    copy_of: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.code)

    def step(self, number: int) -> str:
        return self.steps[self.code[number]]

    def save(self, path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, steps=np.array(self.steps), code=self.code, copy_of=self.copy_of)

    @classmethod
    def load(cls, path: Path) -> Verdicts:
        with np.load(path, allow_pickle=False) as kept:
            return cls(tuple(map(str, kept["steps"])), kept["code"], kept["copy_of"])


def read_whole(document: Document | LongDocument) -> str:
    """Raises UserError for one that is too long to be judged."""
    parts, size = [], 0
    for chunk in document.chunks():
        size += len(chunk)
        if size > LONGEST:
            raise UserError(
                f"{document.source} is one document of more than {LONGEST:,} characters: divide it "
                "into rows of a .jsonl file."
            )
        parts.append(chunk)
    return "".join(parts)


def find_least_quality(
    documents: Iterable[Document | LongDocument], filters: Filters, share: float, told: Told
) -> float:
    """The quality that this share of the documents has which all other filters keep; copies among
    them count. Eight bytes a document are held.
    """
    if filters.quality is None:
        raise ValueError("filters without a model of quality have no least quality: give one.")
    scores, others = array("d"), replace(filters, least_quality=0.0)
    for number, document in enumerate(documents):
        told(number)
        text = read_whole(document)
        if others.judge(text).step == KEPT:
            scores.append(filters.quality.score(text))
    if not scores:
        return 0.0
    ordered = np.sort(np.frombuffer(scores))[::-1]
    return float(ordered[max(int(np.ceil(share * len(ordered))), 1) - 1])


def judge_all(
    documents: Iterable[Document | LongDocument], filters: Filters, copies: Copies, told: Told
) -> Verdicts:
    """The first reading."""
    steps = (KEPT, *filters.steps, EXACT, NEAR)
    number_of = {step: number for number, step in enumerate(steps)}
    codes, copy_of, seen = bytearray(), array("q"), dict[bytes, int]()
    places = array("q")  # of those whose bands are known
    bands: list[NDArray[np.uint64]] = []
    waiting: list[str] = []

    def flush() -> None:
        if waiting:
            bands.append(hash_bands(waiting))
            waiting.clear()

    for number, document in enumerate(documents):
        told(number)
        judged = filters.judge(read_whole(document))
        step, first = judged.step, number
        if step == KEPT and copies != "none":
            first = seen.setdefault(digest(judged.text), number)
            step = KEPT if first == number else EXACT
        if step == KEPT and copies == "near":
            places.append(number)
            waiting.append(judged.text)
            if len(waiting) == AT_A_TIME:
                flush()
        codes.append(number_of[step])
        copy_of.append(first)
    flush()
    seen.clear()
    code, of = np.frombuffer(codes, dtype=np.uint8).copy(), np.array(copy_of, dtype=np.int64)
    if places:
        where = np.array(places, dtype=np.int64)
        empty = np.zeros((0, BANDS), dtype=np.uint64)
        first = find_clusters(np.concatenate([empty, *bands]))
        again = first != np.arange(len(first))
        code[where[again]] = number_of[NEAR]
        of[where[again]] = where[first[again]]
    return Verdicts(steps, code, of)


def find_spans(
    documents: Iterable[Document | LongDocument],
    filters: Filters,
    verdicts: Verdicts,
    folder: Path,
    span: int,
    told: Told,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The second reading, of what is kept: at which word of which document a run begins that stood
    before, and the documents of which a run stands again later.  [R], [R], [D]

    span: words of a run. folder: where hashes lie meanwhile.
    """
    with RepeatedSpans(span, folder) as spans:
        numbers = np.flatnonzero(verdicts.code == 0)
        kept = each_kept(documents, filters, verdicts, told)
        while batch := list(islice(kept, AT_A_TIME)):
            spans.add([text for _, text in batch])
        again, before = (words.astype(np.int64) for words in spans.find())
        first = np.array(spans.first, dtype=np.int64)
    inside = np.searchsorted(first, again, side="right") - 1
    copied = np.unique(np.searchsorted(first, before, side="right") - 1)
    return numbers[inside], again - first[inside], numbers[copied]


def each_kept(
    documents: Iterable[Document | LongDocument], filters: Filters, verdicts: Verdicts,
    told: Told,
) -> Iterator[tuple[int, str]]:  # fmt: skip
    """Number and text of those that are kept, as they are kept."""
    for number, document in enumerate(documents):
        told(number)
        if number >= len(verdicts):
            break
        if verdicts.code[number] == 0:
            yield number, filters.keep(read_whole(document)).text
