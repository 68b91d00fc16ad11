"""Memory of the commands that read text, on 20 MB and on 2 GB of it, and the speed of tokenising
beside the last version that held the whole corpus in memory.

The text is one file, one document: the hardest case for a reader in pieces. It is drawn from 20,000
made-up words by Zipf's law, one in twenty a number below 10^6, in sentences and lines. Peak memory
is the kernel's figure of a process of its own for each command (`ru_maxrss` of wait4). Seconds of
tokenising are from the file to finished shards, each side in a process of its own, in turn.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from side_by_side import finish, options, say, table

OLD = "ab97e07"  # the last commit that read a corpus whole
MEGABYTE = 10**6
AIM_MB, AIM_SPEED = 300, 0.9

TINY = ("layers=1", "width=16", "heads=1", "context=256", "steps=1", "precision=fp32", "compile=no")
COMMANDS = {
    "pretrain, bytes": ("pretrain", "tokenizer=bytes", *TINY),
    "pretrain, bpe of 400": ("pretrain", "tokenizer=bpe", "vocab_size=400", *TINY),
    "tokenizer train, bpe of 400": ("tokenizer", "train", "vocab_size=400"),
    "evaluate": ("evaluate",),
}
TOKENISE = """
import sys, time
from pathlib import Path
from fledge.text.tokenizer import load_tokenizer
data, tokenizer, out = sys.argv[1], load_tokenizer(sys.argv[2]), sys.argv[3]
try:
    from fledge.text.corpus import Corpus
    from fledge.text.shard_writer import write_shards
    def work():
        write_shards(out, Corpus(data).split(), tokenizer)
except ImportError:
    from fledge.recipes.language.text_data import read_corpus
    from fledge.text.shards import write_shards
    def work():
        write_shards(out, read_corpus(data), tokenizer)
began = time.perf_counter()
work()
print(time.perf_counter() - began)
"""


def write_text(path: Path, megabytes: float) -> None:
    """So many megabytes of text, equal for equal sizes."""
    random = np.random.default_rng(0)
    letters = np.frombuffer(b"etaoinshrdlucmfwypvbgkjqxz", dtype=np.uint8)
    lengths = 1 + random.poisson(5, 20_000)
    words = [letters[np.minimum(random.geometric(0.12, n) - 1, 25)].tobytes() for n in lengths]
    share = 1 / np.arange(1, len(words) + 1)
    border = np.cumsum(share / share.sum())
    with path.open("wb") as file:
        while file.tell() < megabytes * MEGABYTE:
            drawn = [
                words[i]
                for i in np.minimum(np.searchsorted(border, random.random(50_000)), len(words) - 1)
            ]
            for place, number in zip(
                random.integers(0, 50_000, 2_500), random.integers(0, 10**6, 2_500), strict=True
            ):
                drawn[place] = str(number).encode()
            for place in range(11, 50_000, 12):
                drawn[place] += b".\n" if place % 60 == 59 else b"."
            file.write(b" ".join(drawn))
        file.truncate(int(megabytes * MEGABYTE))


def peak_mb(arguments: Sequence[str], folder: Path) -> tuple[float, float]:
    """(peak memory in MB, seconds) of a fledge command that ends well."""
    began = time.perf_counter()
    with (folder / "said.txt").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "fledge", *arguments], cwd=folder, stdout=said, stderr=said
        )
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(
            f"fledge {' '.join(arguments)}: {(folder / 'said.txt').read_text()[-500:]}"
        )
    return usage.ru_maxrss * 1024 / MEGABYTE, time.perf_counter() - began


def measure_memory(
    sizes: dict[str, dict[str, float]], folder: Path
) -> dict[str, dict[str, dict[str, float]]]:
    """command -> "small" or "large" -> megabytes of text, peak megabytes, seconds."""
    measured: dict[str, dict[str, dict[str, float]]] = {}
    for which in ("small", "large"):
        for name, command in COMMANDS.items():
            megabytes = sizes[name][which]
            text = folder / f"{megabytes:g}.txt"
            if not text.exists():
                say(f"writing {megabytes:g} MB of text …")
                write_text(text, megabytes)
            out = "out=model" if name == "pretrain, bytes" else "out=out"
            more = ("base=model",) if command[0] == "evaluate" else (out,)
            if command[0] != "evaluate":
                shutil.rmtree(folder / out.removeprefix("out="), ignore_errors=True)
            peak, seconds = peak_mb((*command, f"data={text.name}", *more), folder)
            say(f"{name} on {megabytes:g} MB: {peak:.0f} MB, {seconds:.0f} s")
            measured.setdefault(name, {})[which] = {
                "text_mb": megabytes,
                "peak_mb": peak,
                "seconds": seconds,
            }
    return measured


def measure_packed(megabytes: float, folder: Path) -> dict[str, float]:
    """A small .gz that unpacks to a lot of text."""
    line = b"One line that stands in it again and again, so that it packs well.\n"
    path = folder / "packed.txt.gz"
    with gzip.open(path, "wb") as file:
        for _ in range(int(megabytes)):
            file.write(line * (MEGABYTE // len(line)))
    shutil.rmtree(folder / "out", ignore_errors=True)
    peak, seconds = peak_mb((*COMMANDS["pretrain, bytes"], f"data={path.name}", "out=out"), folder)
    say(
        f"a .gz of {path.stat().st_size / MEGABYTE:.1f} MB with {megabytes:g} MB in it: {peak:.0f} "
        "MB"
    )
    return {
        "packed_mb": path.stat().st_size / MEGABYTE,
        "text_mb": megabytes,
        "peak_mb": peak,
        "seconds": seconds,
    }


def old_source(folder: Path) -> Path | None:
    """The package as it was at `OLD`, if the repository around this file knows that commit."""
    command = ["git", "archive", OLD, "src"]
    packed = subprocess.run(
        command, cwd=Path(__file__).parent.parent, capture_output=True, check=False
    )
    if packed.returncode:
        return None
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder / "old", filter="data")
    return folder / "old" / "src"


def tokens_per_second(
    text: Path, kind: str, rounds: int, old: Path, folder: Path
) -> dict[str, list[float]]:
    """Side -> tokens a second of each round, from the text file to shards."""
    tokenizer = folder / f"tokenizer-{kind}"
    train = ("tokenizer", "train", f"data={text.name}", f"kind={kind}", f"out={tokenizer.name}")
    peak_mb((*train, "vocab_size=400") if kind == "bpe" else train, folder)
    sources = {"now": Path(__file__).parent.parent / "src", "before": old}
    speeds: dict[str, list[float]] = {name: [] for name in sources}
    for number in range(rounds):
        for side, source in sources.items():
            out = folder / "shards"
            shutil.rmtree(out, ignore_errors=True)
            command = [sys.executable, "-c", TOKENISE, str(text), str(tokenizer), str(out)]
            environment = {**os.environ, "PYTHONPATH": str(source)}
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=True
            )
            index = json.loads((out / "index.json").read_text())
            speeds[side].append(
                sum(split["tokens"] for split in index["splits"].values()) / float(done.stdout)
            )
        say(f"tokenising, {kind}: round {number + 1} of {rounds}")
    return speeds


def main() -> None:
    given = options(
        __doc__,
        large="megabytes of the large text (2000)",
        bpe="the same for bpe (that of `large`)",
    )
    small, large = (1.0, 20.0) if given.quick else (20.0, float(given.large or 2000))
    large_bpe = float(given.bpe or large)
    sizes = {
        name: {"small": small, "large": large_bpe if "bpe" in name else large} for name in COMMANDS
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        memory = measure_memory(sizes, folder)
        packed = measure_packed(30 if given.quick else 300, folder)
        old = old_source(folder)
        rounds = 1 if given.quick else 3
        text = folder / f"{small / 2:g}.txt"
        write_text(text, small / 2)
        speed = (
            {}
            if old is None
            else {k: tokens_per_second(text, k, rounds, old, folder) for k in ("bytes", "bpe")}
        )
    growth = {
        name: each["large"]["peak_mb"] - each["small"]["peak_mb"] for name, each in memory.items()
    }
    growth["a small .gz"] = packed["peak_mb"] - memory["pretrain, bytes"]["small"]["peak_mb"]
    ratios = {
        f"tokens/s of tokenising, {kind}: now / {OLD}": statistics.median(
            now / before for now, before in zip(sides["now"], sides["before"], strict=True)
        )
        for kind, sides in speed.items()
    }
    aims = [
        {
            "name": f"growth of peak memory, {name}",
            "figure": mb,
            "aim": f"≤ {AIM_MB} MB",
            "holds": mb <= AIM_MB,
        }
        for name, mb in growth.items()
    ]
    aims += [
        {"name": name, "figure": ratio, "aim": f"≥ {AIM_SPEED}", "holds": ratio >= AIM_SPEED}
        for name, ratio in ratios.items()
    ]
    if old is None:
        reason = f"git does not know {OLD} here, so there is nothing to compare with"
        aims.append(
            {
                "name": "tokens/s of tokenising",
                "figure": 0.0,
                "aim": f"≥ {AIM_SPEED}",
                "holds": False,
                "reason": reason,
            }
        )
    rows = [
        (
            name,
            *(
                f"{each[which]['text_mb']:g} → {each[which]['peak_mb']:,.0f}"
                for which in ("small", "large")
            ),
            f"{growth[name]:+,.0f}",
            f"{each['large']['seconds']:,.0f}",
        )
        for name, each in memory.items()
    ]
    rows.append(
        (
            "a small .gz",
            f"{packed['packed_mb']:.1f}",
            f"{packed['text_mb']:g} → {packed['peak_mb']:,.0f}",
            f"{growth['a small .gz']:+,.0f}",
            f"{packed['seconds']:,.0f}",
        )
    )
    text_table = table(("MB of text → MB of memory", "small", "large", "growth", "seconds"), rows)
    figures: dict[str, Any] = {"memory": memory, "packed": packed, "tokens_per_second": speed}
    finish(given.json, text_table, ratios, figures, dict.fromkeys(ratios, f"≥ {AIM_SPEED}"), aims)


if __name__ == "__main__":
    main()
