"""A million memories: how fast they are added and searched, what the process takes, and how often
the search finds what exhaustive BM25 finds.

Texts of 12 words with the frequencies of a natural language (Zipf and Mandelbrot: p ∝ 1 / (r + 2.7)
over 200,000 words); a question is six words of one of them. With vectors too: 384
dimensions, as MiniLM gives, made up, so that what is measured is the store and not the encoder.
There is no peer: a vector database is a server of its own. Each kind is a process of its own, in
which torch is not imported.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fledge.retrieval.store import MemoryStore

WORDS, LENGTH, ASKED, DIMS = 200_000, 12, 6, 384
SEARCH_MS, ADDED_S, RSS_MB = 20.0, 5_000.0, 200.0


class Texts:
    """Text i is always the same."""

    def __init__(self) -> None:
        shares = 1 / (np.arange(WORDS) + 2.7)
        self.below = np.cumsum(shares / shares.sum())

    def block(self, number: int, size: int = 10_000) -> list[str]:
        draws = np.random.default_rng(number).random((size, LENGTH))
        words = np.searchsorted(self.below, draws)
        return [" ".join(f"w{word}" for word in row) for row in words.tolist()]

    def all(self, count: int) -> Iterator[str]:
        for block in range(-(-count // 10_000)):
            yield from self.block(block)


class MadeVectors:
    """A text's vector is the sum of its words', so that texts with words in common are near."""

    name, dims = "made", DIMS

    def __init__(self) -> None:
        self.of = np.random.default_rng(0).standard_normal((4096, DIMS), dtype=np.float32)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        rows = [[hash_word(word) for word in text.split()] for text in texts]
        return np.stack([self.of[row].sum(0) for row in rows])


def hash_word(word: str) -> int:
    return int(word[1:]) * 2_654_435_761 % 4096


def measure(count: int, vectors: bool) -> dict[str, float]:
    texts, random = Texts(), np.random.default_rng(7)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "memory.db")
        store = MemoryStore(path, MadeVectors() if vectors else None)
        began = time.perf_counter()
        made = sum(1 for _ in texts.all(count))  # what making the texts takes, without the store
        making = time.perf_counter() - began
        began = time.perf_counter()
        store.add_all(texts.all(count), "benchmark")
        adding = time.perf_counter() - began - making
        questions, wanted = [], []
        for _ in range(200):
            block, row = int(random.integers(count // 10_000 or 1)), int(random.integers(10_000))
            text = texts.block(block)[row]
            words = random.choice(text.split(), ASKED, replace=False)
            questions.append(" ".join(words))
            wanted.append(text)
        store.search(questions[0])  # the signs are read once
        times, hits = [], 0
        for question, text in zip(questions, wanted, strict=True):
            began = time.perf_counter()
            shown = store.search(question)
            times.append(1e3 * (time.perf_counter() - began))
            hits += any(memory.text == text for memory in shown)
        size = read_peak()
        same = [compare_exhaustive(store, question) for question in questions[:20]]
        return {
            "memories": float(made),
            "added a second": count / adding,
            "search ms, median": float(np.median(times)),
            "search ms, 95th of 100": float(np.quantile(times, 0.95)),
            "search ms, longest": max(times),
            "found the text asked for": hits / len(questions),
            "of the five best by exhaustive BM25": float(np.mean(same)) if not vectors else -1.0,
            "process MB": size,
            "file MB": path.stat().st_size / 1e6,
        }


def read_peak() -> float:
    """MB that this process has had at most. Not `ru_maxrss`: Linux keeps that across exec, so that
    a child of a process with torch in it begins with torch's.
    """
    status = Path("/proc/self/status").read_text()
    return float(status.partition("VmHWM:")[2].split()[0]) / 1024


def compare_exhaustive(store: MemoryStore, question: str) -> float:
    """The share of the five best by BM25 of all words, however common, that a search gives."""
    match = " OR ".join(f'"{word}"' for word in question.split())
    rows = store._ask(
        "SELECT rowid FROM words WHERE words MATCH ? ORDER BY rank, rowid DESC LIMIT 5", match
    )
    best = {row[0] for row in rows}
    return len(best & {memory.id for memory in store.search(question)}) / max(1, len(best))


def main() -> None:
    if "--child" in sys.argv:
        count, vectors = int(sys.argv[-2]), sys.argv[-1] == "vectors"
        print(json.dumps(measure(count, vectors)))
        return
    from side_by_side import finish, options, say, table

    given = options(__doc__)
    count = 20_000 if given.quick else 1_000_000
    figures: dict[str, Any] = {}
    for name in ("words", "vectors"):
        command = [sys.executable, __file__, "--child", str(count), name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        figures[name] = json.loads(done.stdout)
        say(f"{name}: {figures[name]}")
    aims = []
    for name, what, aim, within in (
        ("search ms, 95th of 100", "search of a million, ms", SEARCH_MS, True),
        ("added a second", "added a second", ADDED_S, False),
        ("process MB", "the process, MB", RSS_MB, True),
    ):
        for kind, told in figures.items():
            figure = told[name]
            holds = figure <= aim if within else figure >= aim
            sign = "≤" if within else "≥"
            aims.append(
                {"name": f"{what} ({kind})", "figure": figure, "aim": f"{sign} {aim:g}",
                 "holds": holds}
            )  # fmt: skip
    rows = [
        (what, *(f"{figures[kind][what]:,.3g}" for kind in figures)) for what in figures["words"]
    ]
    finish(given.json, table(("", "words", "words and vectors"), rows), {}, figures, {}, aims=aims)


if __name__ == "__main__":
    main()
