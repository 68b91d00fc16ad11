"""Stretches of 50 words that stood before, anywhere in the corpus (Lee et al. 2022, "Deduplicating
Training Data Makes Language Models Better", section 4.1).

They find them with a suffix array. What is wanted of it is only which runs of 50 words stand there
more than once, and equal runs lie side by side as well when their hashes are sorted: a number a
word, in place of a suffix array's eight. The hashes lie on disk in 64 buckets, of which one at a
time is in memory: a quarter of a byte a word of the corpus. Two different runs share one of 64 bits
with probability n² / 2⁶⁵.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np

from fledge.curate.word_hashes import Hashes, WordHashes, hash_runs, hash_words, lower

SPAN = 50  # words
BUCKETS = 64
AT_A_TIME = 256  # documents whose words are hashed together
_RECORD = np.dtype([("run", "<u8"), ("word", "<u8")])


class RepeatedSpans:
    """Fed every document in order; then knows which runs are copies of earlier ones."""

    def __init__(self, span: int = SPAN, folder: Path | None = None) -> None:
        """folder: where the hashes lie meanwhile, 16 bytes a word; by default the system's."""
        self.span = span
        self._folder = tempfile.TemporaryDirectory(dir=folder)
        self._paths = [Path(self._folder.name, f"{number:02}") for number in range(BUCKETS)]
        self._files: list[BinaryIO] = [path.open("wb") for path in self._paths]
        self._words = 0
        self.first: list[int] = []
        """The number of words before each document."""

    def __enter__(self) -> RepeatedSpans:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        for file in self._files:
            file.close()
        self._folder.cleanup()

    def add(self, texts: Sequence[str]) -> None:
        """Some documents more; a run does not go over their borders."""
        hashed = hash_words(texts)
        runs, words = [], []
        for begin, end in zip(hashed.first, hashed.first[1:], strict=False):
            self.first.append(self._words)
            own = hash_runs(hashed.words[begin:end], self.span)
            runs.append(own)
            words.append(self._words + np.arange(len(own), dtype=np.uint64))
            self._words += int(end - begin)
        self._write(np.concatenate(runs), np.concatenate(words))

    def _write(self, runs: Hashes, words: Hashes) -> None:
        records = np.empty(len(runs), dtype=_RECORD)
        records["run"], records["word"] = runs, words
        bucket = (runs >> np.uint64(58)).astype(np.uint8)
        order = np.argsort(bucket, kind="stable")
        borders = np.searchsorted(bucket[order], np.arange(BUCKETS + 1))
        for number, file in enumerate(self._files):
            records[order[borders[number] : borders[number + 1]]].tofile(file)

    def find(self) -> tuple[Hashes, Hashes]:
        """The words at which runs begin that stood before, and at which those that stand again
        later; ascending.
        """
        again, first = [], []
        for file, path in zip(self._files, self._paths, strict=True):
            file.close()
            records = np.fromfile(path, dtype=_RECORD)
            # stable: the first of equal ones is the one that came first
            order = np.argsort(records["run"], kind="stable")
            ordered = records["run"][order]
            same = ordered[1:] == ordered[:-1]
            again.append(records["word"][order[1:]][same])
            first.append(records["word"][order[:-1]][same])
        return np.sort(np.concatenate(again)), np.sort(np.concatenate(first))


def cut_spans(text: str, starts: Sequence[int], span: int = SPAN) -> tuple[str, int]:
    """The text without the runs of words that begin at these words of it, and how many characters
    that took. What stands between the last of a run and the next word goes with it.
    """
    hashed, begins = hash_words([text]), np.asarray(starts, dtype=np.int64)
    covered = np.zeros(len(hashed.words) + 1, dtype=np.int64)
    np.add.at(covered, begins, 1)
    np.add.at(covered, np.minimum(begins + span, len(hashed.words)), -1)
    inside = np.concatenate([[False], np.cumsum(covered[:-1]) > 0, [False]])
    edges = np.flatnonzero(inside[1:] != inside[:-1])
    kept, place = [], 0
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        begin, end = _find_characters(text, hashed, int(first), int(last))
        kept.append(text[place:begin])
        place = end
    left = "".join([*kept, text[place:]])
    return left, len(text) - len(left)


def _find_characters(text: str, hashed: WordHashes, first: int, last: int) -> tuple[int, int]:
    """Where the words from `first` until before `last` stand."""
    small = lower(text).encode("utf-8", "surrogatepass")
    begin = int(hashed.starts[first]) - 1  # a line feed stands before the text
    end = int(hashed.starts[last]) - 1 if last < len(hashed.words) else len(small)
    count = lambda stop: len(small[:stop].decode("utf-8", "surrogatepass"))  # noqa: E731
    return count(begin), count(end)
