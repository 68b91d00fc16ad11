"""Curation beside `datasketch`: MinHash and its bands in documents a second, in one thread, in
turn; repeated passages of 50 words in seconds for 100 MB; the rules and the search for private data
in MB/s; the peak memory of `fledge data clean` on 20 MB and on five times as much.

The text is words drawn by lot about as often as English ones are (after Zipf and Mandelbrot, over
50,000), with turns of phrase that come again, a year now and then, and one sentence of twelve words
twice: no rule refuses a document, and Gopher's look for runs of every length. Nothing has to be
fetched; --data measures the rules on a text of yours as well, in pieces of 3,000 characters.
datasketch is given the same runs of five words, 112 permutations and 14 bands of 8, all documents
at once (`MinHash.bulk`, which draws its permutations once), and is imported beforehand.
"""

from __future__ import annotations

import importlib
import json
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
TELL_PEAK = """
import pathlib, sys
from fledge.cli.main import main
try:
    main()
finally:
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    print(*(line for line in lines if line.startswith("VmHWM")), file=sys.stderr)
"""


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


def hash_theirs(datasketch: Any, texts: list[str]) -> list[Any]:
    index = datasketch.MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
    runs, copies = [], []
    for text in texts:
        words = text.lower().split()
        own = {" ".join(words[i : i + SHINGLE]) for i in range(len(words) - SHINGLE + 1)}
        runs.append([run.encode() for run in own])
    sketches = datasketch.MinHash.bulk(runs, num_perm=BANDS * ROWS)
    for number, sketch in enumerate(sketches):
        copies.append(index.query(sketch))
        index.insert(str(number), sketch, check_duplication=False)
    return copies


def measure_copies(texts: list[str], rounds: int) -> tuple[float, float | None]:
    """Documents a second, medians of rounds in turn; theirs None where it is not installed."""
    try:
        datasketch: Any = importlib.import_module("datasketch")
    except ImportError:
        datasketch = None
    sides: dict[str, Callable[[list[str]], Any]] = {"ours": hash_ours}
    if datasketch is not None:
        sides["theirs"] = lambda some: hash_theirs(datasketch, some)
    for work in sides.values():
        work(texts[:AT_A_TIME])
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, work in sides.items():
            rates[name].append(len(texts) / seconds(lambda work=work: work(texts)))
    medians = {name: float(np.median(each)) for name, each in rates.items()}
    return medians["ours"], medians.get("theirs")


def measure_spans(megabytes: float) -> float:
    """Seconds for so much text, no document of which stands twice."""
    taken, size, seed = 0.0, 0, 0
    with RepeatedSpans() as spans:
        while size < megabytes * MEGABYTE:
            texts = write_documents(2000, seed)
            size, seed = size + sum(map(len, texts)), seed + 1
            for a in range(0, len(texts), AT_A_TIME):
                taken += seconds(lambda a=a, texts=texts: spans.add(texts[a : a + AT_A_TIME]))
        taken += seconds(spans.find)
    return taken * megabytes * MEGABYTE / size


def measure_memory(megabytes: int) -> float:
    """Peak MB of `fledge data clean`, which its own process says of itself: what the system says of
    a child begins with its parent's peak.
    """
    with tempfile.TemporaryDirectory() as folder:
        path, written, seed = Path(folder, "text.jsonl"), 0, 0
        with path.open("w") as out:
            while written < megabytes * MEGABYTE:
                for text in write_documents(500, seed):
                    written += out.write(json.dumps({"text": text}) + "\n")
                seed += 1
        words = ("data", "clean", str(path), "rules=fineweb", f"out={folder}/clean")
        done = subprocess.run(
            [sys.executable, "-c", TELL_PEAK, *words], check=True, capture_output=True, text=True
        )
        return int(done.stderr.rpartition("VmHWM:")[2].split()[0]) / 1024


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
