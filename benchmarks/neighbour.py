"""Beside a busy neighbour: what `fledge pretrain`, `fledge control` and the engine keep of their
own quiet speed while one, or two, other processes a core compute without end.

Each works in a process of its own, as a user would start it, and chooses its threads itself; the
neighbours are there before it, and once more they come while `pretrain` is on its way. Fair shares
are 1/2 and 1/3: a process that gets its part of every core. Steps are counted over the last seconds
of each. There is no peer here; --forced N gives `pretrain` and `control` so many threads.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from fledge.engine.engine import Engine
from fledge.engine.request import Request
from fledge.models.language.transformer import Transformer, TransformerConfig
from fledge.pace import SizedPace
from fledge.policy import TokenPolicy
from side_by_side import finish, options, say, table

AIMS = {1: "≥ 0.45", 2: "≥ 0.25"}  # of the quiet speed, by neighbours a core
SLOTS, ANSWER, TRIED_S = 8, 64, 3.0
PRETRAIN = (
    "pretrain data={text} tokenizer=bytes model=mini compile=no steps=100000 evaluation_rows=1 "
    "tokens_per_step=1024 save_every_s=1000 out={out}"
)
CONTROL = (
    "control world=CartPole-v1 algorithm=ppo steps=100000000 evaluate_every=0 pictures=false "
    "evaluation_episodes=1 save_every_s=1000 out={out}"
)


@contextmanager
def neighbours(a_core: int) -> Iterator[None]:
    """So many busy processes for each core, ended afterwards."""
    count = a_core * (os.cpu_count() or 1)
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for each in busy:
            each.kill()
            each.wait()


def read_totals(log: Path) -> list[float]:
    """Seconds of every step so far; the last line may be half written."""
    if not log.exists():
        return []
    lines = log.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line)["total"] for line in lines]


def rate_of(totals: Sequence[float], window: float) -> float:
    """Steps a second over the last so many seconds."""
    taken, steps = 0.0, 0
    for seconds in reversed(totals):
        if taken >= window:
            break
        taken, steps = taken + seconds, steps + 1
    return steps / taken


class Verb:
    """`fledge` at work in a folder, until it is told to stop."""

    def __init__(self, words: str, folder: Path, forced: str | None) -> None:
        self.log = folder / "timings.jsonl"
        given = [*words.split(), *([f"threads={forced}"] if forced else [])]
        self.child = subprocess.Popen(
            [sys.executable, "-m", "fledge", *given],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def wait(self, seconds: float) -> None:
        """Until it has made steps for so long, from now on."""
        before = len(read_totals(self.log))
        while sum(read_totals(self.log)[before:]) < seconds:
            if self.child.poll() is not None:
                assert self.child.stderr is not None
                raise RuntimeError(self.child.stderr.read())
            time.sleep(0.2)

    def stop(self) -> None:
        self.child.send_signal(signal.SIGINT)
        try:
            self.child.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.communicate()

    def measure(self, window: float) -> float:
        """After the seconds in which it may try other threads."""
        self.wait(TRIED_S + window)
        return rate_of(read_totals(self.log), window)


def measure_verb(words: str, folder: Path, window: float, forced: str | None) -> float:
    verb = Verb(words.format(text=folder.parent / "text.txt", out=folder), folder, forced)
    try:
        return verb.measure(window)
    finally:
        verb.stop()


def measure_engine(window: float) -> float:
    """Tokens a second of the engine in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--engine", str(window)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout)


def generate(window: float) -> None:
    """In the child: answers of which one begins where another ends."""
    sizes = TransformerConfig(vocab_size=264, context=256, layers=6, width=256, heads=4, kv_heads=4)
    network = Transformer(sizes, border=258, generator=torch.Generator().manual_seed(0))
    policy = TokenPolicy(network, torch.arange(264) < 256)
    engine, pace = Engine(policy, slots=SLOTS, positions=2 * ANSWER), SizedPace(None)
    totals: list[float] = []
    asked = SLOTS
    for number in range(SLOTS):
        engine.submit(Request(list(range(32)), ANSWER - number * 4, sample=number))
    with torch.inference_mode():
        while sum(totals) < TRIED_S + window:
            pace.begin(SLOTS)
            began = time.perf_counter()
            for _ in engine.advance():
                engine.submit(Request(list(range(32)), ANSWER, sample=asked))
                asked += 1
            totals.append(time.perf_counter() - began)
            pace.end(totals[-1])
    print(SLOTS * rate_of(totals, window))


def measure_late(words: str, folder: Path, window: float, quiet: float) -> float:
    """The share that is kept where the neighbours, one a core, come to a run on its way."""
    verb = Verb(words.format(text=folder.parent / "text.txt", out=folder), folder, None)
    try:
        verb.wait(window)
        with neighbours(1):
            verb.wait(2 * TRIED_S)  # steps until it notices, and tries
            return verb.measure(window) / quiet
    finally:
        verb.stop()


def main() -> None:
    if "--engine" in sys.argv:
        generate(float(sys.argv[-1]))
        return
    given = options(__doc__, forced="threads of pretrain and control, in place of their own choice")
    rounds, window = (1, 2.0) if given.quick else (3, 6.0)
    works = ("pretrain", "control", "engine")
    taken: dict[str, dict[int, list[float]]] = {work: {0: [], 1: [], 2: []} for work in works}
    late: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "text.txt").write_text("the quick brown fox jumps over it\n" * 3000)
        for number in range(rounds):
            for a_core in (0, 1, 2):
                with neighbours(a_core):
                    for work, words in (("pretrain", PRETRAIN), ("control", CONTROL)):
                        out = Path(name) / f"{work}-{number}-{a_core}"
                        taken[work][a_core].append(measure_verb(words, out, window, given.forced))
                    taken["engine"][a_core].append(measure_engine(window))
                say(f"round {number + 1} of {rounds}, {a_core} neighbours a core")
            quiet = taken["pretrain"][0][-1]
            late.append(measure_late(PRETRAIN, Path(name) / f"late-{number}", window, quiet))
    ratios = {
        f"{work}, {a_core} a core": statistics.median(
            busy / quiet for busy, quiet in zip(own[a_core], own[0], strict=True)
        )
        for work, own in taken.items()
        for a_core in AIMS
    }
    targets = {f"{work}, {a_core} a core": aim for work in works for a_core, aim in AIMS.items()}
    ratios["pretrain, 1 a core that come later"] = statistics.median(late)
    targets["pretrain, 1 a core that come later"] = AIMS[1]
    rows = [
        (work, *(f"{statistics.median(own[a_core]):,.2f}" for a_core in (0, 1, 2)))
        for work, own in taken.items()
    ]
    text = table(("steps/s (engine: tokens/s)", "quiet", "1 a core", "2 a core"), rows)
    figures = {work: {str(k): v for k, v in own.items()} for work, own in taken.items()}
    finish(given.json, text, ratios, figures, targets)


if __name__ == "__main__":
    main()
