"""Memory of `fledge pretrain` on a mixture of two sources, at 20 MB and at 2 GB of text: tokenised
by several processes, then trained on for a few steps, in a fresh process tree.

Three quarters of the text are the rows of one .jsonl file, some 2,000 characters each; the rest are
files of 1 MB in a folder. The words are those of memory.py; 5 MB of them are said again and again,
each document begun by its own number. Two figures of each size: the peak of the first process
(`ru_maxrss` of wait4), and the peak of all processes together, the sum of their proportional set
sizes (Pss of smaps_rollup: a page that several share is counted once), looked at ten times a
second. Shards are read and not mapped, so that no page of theirs is in either figure.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from memory import MEGABYTE, write_text
from side_by_side import finish, options, say, table

AIM_MB = 300
DRAWN_MB = 5
ROW = 2000  # characters
LOOK_S = 0.1
TINY = (
    "layers=1", "width=16", "heads=1", "context=256", "steps=5", "evaluation_rows=8",
    "precision=fp32", "compile=no",
)  # fmt: skip


def write_sources(folder: Path, megabytes: float) -> str:
    """The `data` of a mixture of so many megabytes."""
    drawn, rows, files = folder / "drawn.txt", folder / "rows.jsonl", folder / "files"
    files.mkdir()
    write_text(drawn, DRAWN_MB)
    text = drawn.read_text(encoding="ascii")
    with rows.open("w", encoding="ascii") as out:
        for number in range(int(0.75 * megabytes * MEGABYTE / ROW)):
            at = number * ROW % (len(text) - ROW)
            out.write(json.dumps({"text": f"{number} {text[at : at + ROW]}"}) + "\n")
    for number in range(int(0.25 * megabytes)):
        at = number * MEGABYTE % (len(text) - MEGABYTE)
        piece = f"{number} {text[at : at + MEGABYTE]}"
        (files / f"{number:05}.txt").write_text(piece, encoding="ascii")
    drawn.unlink()
    return f"{rows}:3,{files}:1"


def list_tree(first: int) -> list[int]:
    """A process and all that it has begun, directly or not."""
    tree, waiting = [], [first]
    while waiting:
        process = waiting.pop()
        tree.append(process)
        try:
            for task in Path(f"/proc/{process}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except OSError:  # it has ended meanwhile
            continue
    return tree


def read_pss_mb(process: int) -> float:
    """The proportional set size; 0 of a process that has ended."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    (kilobytes,) = (int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kilobytes * 1024 / MEGABYTE


def measure(megabytes: float, tokenizer: str, folder: Path) -> dict[str, float]:
    """Peaks in MB, the most processes at once, seconds to the shards and in all."""
    say(f"writing {megabytes:g} MB of text …")
    data = write_sources(folder, megabytes)
    command = [sys.executable, "-m", "fledge", "pretrain", f"data={data}",
               f"tokenizer={tokenizer}", *TINY, f"out={folder / 'run'}"]  # fmt: skip
    began, tokenised, together, most = time.perf_counter(), 0.0, 0.0, 1
    with (folder / "said.txt").open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
    while True:
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        tree = list_tree(process.pid)
        together, most = max(together, sum(map(read_pss_mb, tree))), max(most, len(tree))
        if not tokenised and (folder / "run" / "shards" / "index.json").exists():
            tokenised = time.perf_counter() - began
        time.sleep(LOOK_S)
    if status:
        raise RuntimeError((folder / "said.txt").read_text()[-1000:])
    seconds = time.perf_counter() - began
    peak = usage.ru_maxrss * 1024 / MEGABYTE
    say(f"{megabytes:g} MB: {peak:.0f} MB, {together:.0f} MB together, {seconds:.0f} s")
    return {
        "text_mb": megabytes, "peak_mb": peak, "together_mb": together, "processes": most,
        "tokenised_s": tokenised, "seconds": seconds,
    }  # fmt: skip


def main() -> None:
    given = options(
        __doc__,
        megabytes="of the large text (2000)",
        tokenizer="bytes, bpe or a folder with one (bytes)",
    )
    small, large = (4.0, 90.0) if given.quick else (20.0, float(given.megabytes or 2000))
    measured: dict[str, dict[str, float]] = {}
    for which, megabytes in (("small", small), ("large", large)):
        folder = Path(tempfile.mkdtemp())
        try:
            measured[which] = measure(megabytes, given.tokenizer or "bytes", folder)
        finally:
            shutil.rmtree(folder)
    growth = {
        name: measured["large"][f"{name}_mb"] - measured["small"][f"{name}_mb"]
        for name in ("peak", "together")
    }
    aims: list[dict[str, Any]] = [
        {"name": f"{name} memory, MB above that of {small:g} MB", "figure": grown,
         "aim": f"≤ {AIM_MB}", "holds": grown <= AIM_MB}
        for name, grown in growth.items()
    ]  # fmt: skip
    rows = [
        (name, *(f"{each[name]:,.0f}" for each in measured.values())) for name in measured["small"]
    ]
    finish(given.json, table(("", "small", "large"), rows), {}, measured, {}, aims)


if __name__ == "__main__":
    main()
