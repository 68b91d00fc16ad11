"""Counting n-grams in passes over a text, one token longer each: in memory where the text fits,
else a part of it at a time, in several processes where there are cores, and sorted on disk.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from fledge.errors import UserError
from fledge.text import count_child
from fledge.text.ngram_counts import (
    HELD,
    NONE,
    RUN,
    WORD,
    WORD_BITS,
    Counts,
    Grams,
    Ints,
    count_words,
    find,
    hold_text,
    make_key,
    walk,
)
from fledge.text.shards import TokenStream

PIECE = 2**20  # tokens of a text that are read at a time
NOTHING: Ints = np.empty(0, np.int64)
MOST = 8
"""Processes, by default: each holds some 300 MB."""

Run = tuple[Ints, Ints]  # keys in order, each once, and its count


class Pieces:
    """Of a text on disk, in order, as often as they are asked for."""

    def __init__(self, stream: TokenStream) -> None:
        self.stream = stream

    def __iter__(self) -> Iterator[Ints]:
        for begin in range(0, len(self.stream), PIECE):
            yield np.asarray(self.stream[begin : begin + PIECE])

    def count_actions(self) -> int:
        return len(self.stream)


def count_ngrams(
    pieces: Iterable[Ints], order: int, vocab_size: int, border: int | None, run: int = RUN
) -> Counts:
    """Of a text in pieces, which is read once for every length.

    pieces: can be iterated over again and again. Pieces follow each other: an n-gram may begin in
    one and end in the next. run: n-grams that are sorted at a time.
    """
    counts = count_words(pieces, vocab_size, border)
    held = hold_text(pieces, counts, min(run, HELD))
    while counts.order < order:
        counts = count_longer(pieces, counts, run) if held is None else held.count_longer(counts)
    return counts


def count_longer(pieces: Iterable[Ints], counts: Counts, run: int = RUN) -> Counts:
    """With the n-grams of the same text that are one longer; a part of it in memory at a time."""
    tables = [grams.keys for grams in counts.grams]
    with tempfile.TemporaryDirectory() as folder:
        runs = write_runs(list_keys(pieces, tables, counts.border), Path(folder), run)
        return _extend(counts, *_merge(runs, run))


def count_together(
    stream: TokenStream, counts: Counts, processes: int | None = None, run: int = RUN
) -> Counts:
    """As `count_longer`, of a text on disk, a part of it in each process. processes: by default one
    a core. Raises UserError where one ends early.
    """
    number = processes or min(MOST, os.cpu_count() or 1)
    ends = [len(stream) * i // number for i in range(number + 1)]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        tables = [folder / f"table-{n}.npy" for n in range(len(counts.grams))]
        for file, grams in zip(tables, counts.grams, strict=True):
            np.save(file, grams.keys)
        asked = {
            "path": sys.path, "folder": str(stream.folder), "split": stream.split,
            "tables": list(map(str, tables)), "run": max(1, run // number),
            "border": None if counts.border is None else int(counts.border),
        }  # fmt: skip
        parts = [folder / f"{i}" for i in range(number)]
        _ask_processes(
            [{**asked, "begin": ends[i], "end": ends[i + 1], "out": str(out)}
             for i, out in enumerate(parts)]
        )  # fmt: skip
        runs = [run_of for part in parts for run_of in read_runs(part)]
        return _extend(counts, *_merge(runs, run))


def _ask_processes(asked: Sequence[dict[str, object]]) -> None:
    """One process for each."""
    command = [sys.executable, "-P", str(Path(count_child.__file__))]
    children: list[subprocess.Popen[str]] = []
    try:
        for one in asked:
            child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
            )
            children.append(child)
            assert child.stdin is not None
            child.stdin.write(json.dumps(one) + "\n")
            child.stdin.flush()  # and left open: it ends when whoever has asked does
        for child in children:
            assert child.stdout is not None
            said = child.stdout.read()
            if child.wait():
                raise UserError(
                    said
                    or f"a process that counts n-grams ended with code {child.returncode}, out of "
                    "memory perhaps: free some, then `fledge resume` the run."
                )
    finally:
        for child in children:
            child.kill()
            child.communicate()


def _extend(counts: Counts, keys: Ints, number: Ints) -> Counts:
    longest = Grams(keys, number, _find_suffixes(keys, counts.grams))
    return Counts(counts.words, (*counts.grams, longest), counts.border)


def _find_suffixes(keys: Ints, shorter: Sequence[Grams]) -> Ints:
    begins, words = keys >> WORD_BITS, keys & WORD
    if not shorter:
        return words
    return find(shorter[-1].keys, make_key(shorter[-1].suffix[begins], words))


def list_keys(
    pieces: Iterable[Ints], tables: Sequence[Ints], border: int | None, tail: Ints = NOTHING
) -> Iterator[Ints]:
    """The key of every n-gram of the text that is one longer than the tables'. tail: what stands
    before the pieces, as many tokens as there are tables and one more.
    """
    reach = len(tables) + 1  # tokens before the last one
    for piece in pieces:
        tokens = np.concatenate([tail, piece])
        numbers = walk(tokens, tables, border)[-1]
        before = np.concatenate([[NONE], numbers[:-1]])
        if border is not None:
            before[tokens == border] = NONE
        before[: len(tail)] = NONE  # which the piece before has counted
        known = before >= 0
        yield make_key(before[known], tokens[known])
        tail = tokens[-reach:]


def write_runs(keys: Iterable[Ints], folder: Path, run: int, *, whole: bool = False) -> list[Run]:
    """Sorted, each key once with its count; on disk but for the last, or whole."""
    runs: list[Run] = []
    held: list[Ints] = []
    size = 0

    def close(keep: bool) -> None:
        unique, counts = np.unique(np.concatenate(held), return_counts=True)
        parts = unique, counts.astype(np.int64)
        if not keep:
            for file, part in zip(_name_run(folder, len(runs)), parts, strict=True):
                np.save(file, part)
            parts = _open_run(folder, len(runs))
        runs.append((parts[0], parts[1]))
        held.clear()

    for some in keys:
        held.append(some)
        size += len(some)
        if size >= run:
            close(keep=False)
            size = 0
    if held:
        close(keep=not whole)
    return runs


def read_runs(folder: Path) -> list[Run]:
    """Those that were written whole."""
    return [_open_run(folder, i) for i in range(len(list(folder.glob("*-keys.npy"))))]


def _open_run(folder: Path, number: int) -> Run:
    keys, counts = (np.load(file, mmap_mode="r") for file in _name_run(folder, number))
    return keys, counts


def _name_run(folder: Path, number: int) -> tuple[Path, Path]:
    return folder / f"{number}-keys.npy", folder / f"{number}-counts.npy"


def _merge(runs: Sequence[Run], size: int) -> Run:
    """One sorted run out of several, a range of keys at a time."""
    runs = [run for run in runs if len(run[0])]
    if not runs:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    if len(runs) == 1:
        return np.array(runs[0][0]), np.array(runs[0][1])
    longest = max(runs, key=lambda run: len(run[0]))[0]
    step = max(1, size // len(runs))
    cuts = [*longest[step::step], np.iinfo(np.int64).max]
    begins = [0] * len(runs)
    merged: list[Run] = []
    for cut in cuts:
        ends = [int(np.searchsorted(keys, cut)) for keys, _ in runs]
        some = [
            (keys[b:e], counts[b:e])
            for (keys, counts), b, e in zip(runs, begins, ends, strict=True)
        ]
        begins = ends
        keys = np.concatenate([k for k, _ in some])
        order = np.argsort(keys)
        keys = keys[order]
        firsts = np.flatnonzero(np.diff(keys, prepend=NONE))  # no key is below 0
        if len(firsts):  # a range may be empty
            counts = np.concatenate([c for _, c in some])[order]
            merged.append((keys[firsts], np.add.reduceat(counts, firsts)))
    keys, counts = zip(*merged, strict=True)
    return np.concatenate(keys), np.concatenate(counts)
