"""Curation beside `datasketch`: MinHash and its bands in documents a second, in one thread, in
turn; repeated passages of 50 words in seconds for 100 MB; the rules and the search for private data
in MB/s; the peak memory of `fledge data clean` on 20 MB and on five times as much.

The text is words drawn by lot about as often as English ones are (after Zipf and Mandelbrot, over
50,000), with turns of phrase that come again, a year now and then, and one sentence of twelve words
twice: no rule refuses a document, and Gopher's look for runs of every length. Nothing has to be
fetched; --data measures the rules on a text of yours as well, in pieces of 3,000 characters.
datasketch is given the same runs of five words, 112 permutations and 14 bands of 8, each document's
runs at once (`update_batch`).
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fledge.curate.near_copies import BANDS, ROWS, SHINGLE, find_clusters, hash_bands
from fledge.curate.private import hide_private
from fledge.curate.rules import RULES
from fledge.curate.spans import RepeatedSpans
from fledge.curate.word_counts import COMMON
from fledge.text.documents import read_documents
from side_by_side import finish, options, table

WORDS = 500  # of a document
PIECE = 3000  # characters of a text that is given
AT_A_TIME = 64
MEGABYTE = 10**6


def write_documents(number: int, seed: int = 0) -> list[str]:
    random = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlucmfw"))
    vocabulary = np.array([
        "".join(random.choice(letters, size)) for size in random.integers(2, 10, size=50_000)
    ])  # fmt: skip
    vocabulary[:8] = sorted(COMMON)  # or Gopher's rules would stop at their absence
    often = 1 / (np.arange(len(vocabulary)) + 2.7)
    often /= often.sum()
    drawn = random.choice(len(vocabulary), size=(number, WORDS), p=often)
    phrases = random.choice(len(vocabulary), size=(200, 4), p=often)
    for at in range(10, WORDS - 10, 50):
        drawn[:, at : at + 4] = phrases[np.minimum(random.zipf(1.5, size=number), 200) - 1]
    drawn[:, 440:452] = drawn[:, 240:252]
    rows = vocabulary[drawn].astype(object)
    rows[:, 125::250] = random.integers(1800, 2000, size=(number, 2)).astype(str)
    return [
        ".\n".join(" ".join(line).capitalize() for line in np.split(row, 25)) + "." for row in rows
    ]


def measure_judges(texts: list[str], of: str = "") -> dict[str, float]:
    """MB of UTF-8 a second, and which share of the texts a rule lets pass: one that stops early is
    quick.
    """
    size = sum(len(text.encode()) for text in texts) / MEGABYTE
    figures: dict[str, float] = {}
    for name, judge in RULES.items():
        refused = [text for text in texts if judge(text) is not None]
        figures[f"{name}{of}_passed"] = 1 - len(refused) / len(texts)
        took = seconds(lambda judge=judge: [judge(text) for text in texts])
        figures[f"{name}{of}_megabytes_per_second"] = size / took
    took = seconds(lambda: [hide_private(text) for text in texts])
    return figures | {f"private{of}_megabytes_per_second": size / took}


def read_pieces(data: str, most: int) -> list[str]:
    """Whole pieces of the text, at most so many characters in all."""
    texts: list[str] = []
    for document in read_documents(data):
        for chunk in document.chunks():
            texts += [chunk[a : a + PIECE] for a in range(0, len(chunk) - PIECE + 1, PIECE)]
        if len(texts) * PIECE > most:
            break
    return texts


def seconds(work: Callable[[], Any]) -> float:
    """Of this process's own time: the machine may be shared."""
    began = time.process_time()
    work()
    return time.process_time() - began


def hash_ours(texts: list[str]) -> np.ndarray:
    parts = [hash_bands(texts[a : a + AT_A_TIME]) for a in range(0, len(texts), AT_A_TIME)]
    bands = np.concatenate(parts)
    return find_clusters(bands)


def hash_theirs(texts: list[str]) -> list[Any]:
    from datasketch import MinHash, MinHashLSH  # type: ignore[import-not-found]

    index = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
    copies = []
    for number, text in enumerate(texts):
        words = text.lower().split()
        runs = {" ".join(words[i : i + SHINGLE]) for i in range(len(words) - SHINGLE + 1)}
        sketch = MinHash(num_perm=BANDS * ROWS)
        sketch.update_batch([run.encode() for run in runs])
        copies.append(index.query(sketch))
        index.insert(str(number), sketch)
    return copies


def measure_copies(texts: list[str], rounds: int) -> tuple[float, float | None]:
    """Documents a second, medians of rounds in turn; theirs None where it is not installed."""
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(len(texts) / seconds(lambda: hash_ours(texts)))
        try:
            theirs.append(len(texts) / seconds(lambda: hash_theirs(texts)))
        except ImportError:
            continue
    return float(np.median(ours)), float(np.median(theirs)) if theirs else None


def measure_spans(megabytes: float) -> float:
    """Seconds for so much text."""
    texts = write_documents(2000)
    size = sum(map(len, texts))

    def work() -> None:
        with RepeatedSpans() as spans:
            for _ in range(max(1, round(megabytes * MEGABYTE / size))):
                for a in range(0, len(texts), AT_A_TIME):
                    spans.add(texts[a : a + AT_A_TIME])
            spans.find()

    return (
        seconds(work) * megabytes * MEGABYTE / (size * max(1, round(megabytes * MEGABYTE / size)))
    )


def measure_memory(megabytes: int) -> float:
    """Peak MB of `fledge data clean` in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path, written, seed = Path(folder, "text.jsonl"), 0, 0
        with path.open("w") as out:
            while written < megabytes * MEGABYTE:
                for text in write_documents(500, seed):
                    written += out.write(json.dumps({"text": text}) + "\n")
                seed += 1
        words = ("data", "clean", str(path), "rules=fineweb", f"out={folder}/clean")
        subprocess.run([sys.executable, "-m", "fledge", *words], check=False, capture_output=True,
                       env=os.environ)  # fmt: skip
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def main() -> None:
    given = options(__doc__, data="text on which the rules are measured too, as `data clean` takes")
    number = 1000 if given.quick else 4000
    texts = write_documents(number)
    size = sum(map(len, texts)) / MEGABYTE
    ours, theirs = measure_copies(texts, 1 if given.quick else 3)
    figures = {"documents_per_second": ours, "megabytes_per_second": ours * size / number}
    ratios: dict[str, float] = {}
    if theirs is not None:
        figures["datasketch_documents_per_second"] = theirs
        ratios["copies_over_datasketch"] = ours / theirs
    spans = measure_spans(20 if given.quick else 100) * (5 if given.quick else 1)
    figures["spans_seconds_for_100_megabytes"] = spans
    figures |= measure_judges(texts)
    refused = [name for name in RULES if figures[f"{name}_passed"] < 1]
    assert not refused, f"{refused} stop before their end: the figures would mean nothing"
    if given.data:
        figures |= measure_judges(read_pieces(given.data, 4 * MEGABYTE), "_on_data")
    low = measure_memory(20)
    high = measure_memory(40 if given.quick else 100)
    figures |= {"memory_at_20_megabytes": low, "memory_at_most_megabytes": high}
    aims = [
        ("copies: times datasketch", ratios.get("copies_over_datasketch", 0.0), 2.0, True),
        ("spans of 100 MB: seconds", spans, 60.0, False),
        *(
            (
                f"{name}{of.replace('_', ' ')}: MB/s",
                figures[f"{name}{of}_megabytes_per_second"],
                20.0,
                True,
            )
            for of in ("", *(["_on_data"] if given.data else []))
            for name in (*RULES, "private")
        ),
        ("memory above that of 20 MB: MB", high - low, 300.0, False),
    ]
    rows = [
        (name, f"{figure:,.1f}", f"{'≥' if more else '≤'} {aim:g}")
        for name, figure, aim, more in aims
    ]
    said: list[dict[str, Any]] = [
        {"name": name, "figure": figure, "aim": f"{'≥' if more else '≤'} {aim:g}",
         "holds": figure >= aim if more else figure <= aim}
        for name, figure, aim, more in aims
    ]  # fmt: skip
    finish(given.json, table(("", "measured", "aim"), rows), ratios, figures, {}, said)


if __name__ == "__main__":
    main()
