"""What curation costs: repeated passages of 50 words in seconds for 100 MB; the rules, the search
for private data, language and quality in MB/s; the peak memory of `fledge data clean` on 20 MB and
on five times as much, or on 2 GB by --gigabytes 2. Near copies beside others: curate_peers.py.

The text is words drawn by lot about as often as English ones are (after Zipf and Mandelbrot, over
50,000), with turns of phrase that come again, a year now and then, and one sentence of twelve words
twice: no rule refuses a document, and Gopher's look for runs of every length. Nothing has to be
fetched; --data measures the rules on a text of yours as well, in pieces of 3,000 characters.

--gigabytes measures nothing but that: lines drawn from 100,000 drawn ones, 50 a document, which are
quick to write and of which next to no two in a row come again; rules, exact and near copies,
without passages and private data.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fledge.curate.languages import Languages
from fledge.curate.private import hide_private
from fledge.curate.quality import QualityModel
from fledge.curate.rules import RULES
from fledge.curate.spans import RepeatedSpans
from fledge.curate.word_counts import COMMON
from fledge.text.documents import read_documents
from side_by_side import finish, options, table

WORDS = 500  # of a document
AT_A_TIME = 64
PIECE = 3000  # characters of a text that is given
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
    languages, quality = Languages.load(), QualityModel()
    others: dict[str, Callable[[str], Any]] = {
        "private": hide_private, "language": languages.tell, "quality": quality.score,
    }  # fmt: skip
    for name, judge in others.items():
        took = seconds(lambda judge=judge: [judge(text) for text in texts])
        figures[f"{name}{of}_megabytes_per_second"] = size / took
    return figures


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
        return clean(folder, path, ["rules=fineweb"])[0]


def clean(folder: str, path: Path, fields: Sequence[str]) -> tuple[float, float]:
    """Peak MB of the process that does it, and its seconds."""
    words = ("data", "clean", str(path), *fields, f"out={folder}/clean")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", TELL_PEAK, *words], check=True, capture_output=True, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return int(done.stderr.rpartition("VmHWM:")[2].split()[0]) / 1024, took


def measure_large(gigabytes: float, quick: bool) -> dict[str, float]:
    """Peak MB of a cleaning of 20 MB and of so many GB, and MB/s of the second, its own time."""
    lines = [line for text in write_documents(4000) for line in text.split("\n")]
    figures: dict[str, float] = {}
    for name, megabytes in (("20_megabytes", 20), ("large", 40 if quick else 1000 * gigabytes)):
        lot = random.Random(name)
        with tempfile.TemporaryDirectory() as folder:
            path, written = Path(folder, "text.jsonl"), 0
            with path.open("w") as out:
                while written < megabytes * MEGABYTE:
                    row = {"text": "\n".join(lot.choices(lines, k=50))}
                    written += out.write(json.dumps(row) + "\n")
            words = ("rules=fineweb", "spans=0", "private=false")
            peak, took = clean(folder, path, words)
        figures |= {f"peak_{name}": peak, f"megabytes_per_second_{name}": written / took / MEGABYTE}
    return figures


def main() -> None:
    help_data = "text on which the rules are measured too, as `data clean` takes"
    help_large = "measure nothing but the memory of a cleaning of so much text"
    given = options(__doc__, data=help_data, gigabytes=help_large)
    if given.gigabytes:
        figures = measure_large(float(given.gigabytes), given.quick)
        more = figures["peak_large"] - figures["peak_20_megabytes"]
        rows = [(name, f"{figure:,.1f}", "") for name, figure in figures.items()]
        aim: dict[str, Any] = {"name": "memory above that of 20 MB: MB", "figure": more,
                               "aim": "≤ 300", "holds": more <= 300}  # fmt: skip
        finish(given.json, table(("", "measured", ""), rows), {}, figures, {}, [aim])
        return
    texts = write_documents(1000 if given.quick else 4000)
    figures: dict[str, float] = {}
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
        ("spans of 100 MB: seconds", spans, 60.0, False),
        *(
            (
                f"{name}{of.replace('_', ' ')}: MB/s",
                figures[f"{name}{of}_megabytes_per_second"],
                20.0,
                True,
            )
            for of in ("", *(["_on_data"] if given.data else []))
            for name in (*RULES, "private", "language", "quality")
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
    finish(given.json, table(("", "measured", "aim"), rows), {}, figures, {}, said)


if __name__ == "__main__":
    main()
