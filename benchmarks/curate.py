"""Curation beside `datasketch`: MinHash and its bands in documents a second, in one thread, in
turn; repeated passages of 50 words in seconds for 100 MB; the rules and the search for private data
in MB/s; the peak memory of `fledge data clean` on 20 MB and on five times as much.

The text is words drawn by lot as often as English ones are (a Zipf distribution over 50,000), in
documents of 500 words: nothing has to be fetched. datasketch is given the same runs of five words,
112 permutations and 14 bands of 8, each document's runs at once (`update_batch`).
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
from fledge.curate.rules import COMMON, RULES
from fledge.curate.spans import RepeatedSpans
from side_by_side import finish, options, table

WORDS = 500  # of a document
AT_A_TIME = 64
MEGABYTE = 10**6


def write_documents(number: int, seed: int = 0) -> list[str]:
    random = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlucmfw"))
    vocabulary = np.array([
        "".join(random.choice(letters, size)) for size in random.integers(2, 9, size=50_000)
    ])  # fmt: skip
    vocabulary[:8] = sorted(COMMON)  # or Gopher's rules would stop at their absence
    drawn = np.minimum(random.zipf(1.3, size=(number, WORDS)), len(vocabulary)) - 1
    return [".\n".join(" ".join(line) for line in np.split(row, 25)) for row in vocabulary[drawn]]


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
    given = options(__doc__)
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
    judges: dict[str, Callable[[str], Any]] = {**RULES, "private": hide_private}
    for name, judge in judges.items():
        took = seconds(lambda judge=judge: [judge(text) for text in texts])
        figures[f"{name}_megabytes_per_second"] = size / took
    low = measure_memory(20)
    high = measure_memory(40 if given.quick else 100)
    figures |= {"memory_at_20_megabytes": low, "memory_at_most_megabytes": high}
    aims = [
        ("copies: times datasketch", ratios.get("copies_over_datasketch", 0.0), 2.0, True),
        ("spans of 100 MB: seconds", spans, 60.0, False),
        *(
            (f"{name}: MB/s", figures[f"{name}_megabytes_per_second"], 20.0, True)
            for name in judges
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
