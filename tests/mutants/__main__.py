"""`make mutants`: plants small faults in the mathematics, one at a time, and counts whom they
escape.

mutmut 3.8.1 forks from a warm process too, but leaves alone what is decorated (`@torch.no_grad()`:
nearly every score, weigh and target), partials and swapped arguments, and can ask nothing but
pytest; cosmic-ray starts torch anew for each fault, in the work tree.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import sys
import time
from dataclasses import replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import hypothesis  # noqa: F401  here, so that every fork has it already
import numpy as np  # noqa: F401
import pydantic  # noqa: F401
import pytest  # noqa: F401
import torch

from tests.mutants import judge, reach
from tests.mutants.mutations import Mutant, mutants
from tests.mutants.table import write_table

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src"
MODULES = (
    "weigh.py",
    "fit.py",
    "log_prob.py",
    "policy.py",
    "divergence.py",
    "learner.py",
    "score",
    "algorithms",
    "sample",
)
# The ordinary tests of these; those of commands, recipes and files take ten minutes and are there
# for other things, and the rows of verify, which an ordinary test runs too, are asked first.
TESTS = (
    "tests/algorithms/**/test_*.py", "tests/sample/test_*.py", "tests/score/test_*.py",
    "tests/test_[!l]*.py",
    "tests/test_learner.py", "tests/test_log_prob.py",
)  # fmt: skip
# of the processor, for a test while its lines are noted: what learns for longer is not asked
LONGEST_S = 2.0
MOST_S = 60.0  # of tests, for one fault: a line that everything runs would ask everything
MOST_ROWS_S = (
    5.0  # of rows of verify, likewise, but for faults in algorithms: of those the share is told
)


def files() -> list[str]:
    package = SOURCES / "fledge"
    paths: list[Path] = []
    for module in MODULES:
        path = package / module
        paths += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return [str(path.relative_to(package)) for path in paths]


def every_mutant() -> dict[str, list[Mutant]]:
    """By module."""
    made: dict[str, list[Mutant]] = {}
    for file in files():
        for mutant in mutants(file, (SOURCES / "fledge" / file).read_text()):
            made.setdefault(mutant.module, []).append(mutant)
    return made


def drawn(population: dict[str, list[Mutant]], size: int, seed: int) -> list[Mutant]:
    """Of every module its share of the sample, and 8 at the least; all where size is 0. In no
    order: a run may be broken off.
    """
    whole = sum(map(len, population.values()))
    chosen: list[Mutant] = []
    for module, own in population.items():
        share = min(len(own), max(8, round(size * len(own) / whole))) if size else len(own)
        chosen += random.Random(f"{seed} {module}").sample(own, share)
    random.Random(seed).shuffle(chosen)
    return chosen


def in_a_process(make: Any, *arguments: Any) -> Any:
    """Its answer, from a fork: what it imports stays there."""
    here, there = os.pipe()
    if os.fork() == 0:
        sys.path.insert(0, str(SOURCES))
        with os.fdopen(there, "w") as pipe:
            json.dump(make(*arguments), pipe)
        os._exit(0)
    os.close(there)
    with os.fdopen(here) as pipe:
        text = pipe.read()
    os.wait()
    if not text:
        raise SystemExit(f"{make.__name__} ended without an answer.")
    return json.loads(text)


class Maps:
    """Who runs which line: kept in a folder from one call to the next, for as long as neither the
    sources nor the tests change.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sources = "".join((SOURCES / "fledge" / file).read_text() for file in files())
        rows = "".join(
            path.read_text()
            for path in sorted(
                [
                    *(SOURCES / "fledge" / "exact").glob("*.py"),
                    *(SOURCES / "fledge" / "verify").glob("*.py"),
                ]
            )
        )
        self.verify = self._of("verify", rows, reach.of_verify, SOURCES / "fledge", files())
        self.tests = sorted(
            {str(path.relative_to(ROOT)) for pattern in TESTS for path in ROOT.glob(pattern)}
        )
        self.asked = _hash(
            self.sources, *(path.read_text() for path in sorted((ROOT / "tests").rglob("*.py")))
        )
        self.sources_key = _hash(self.sources)
        self.trusted: dict[str, bool] = {}

    def of(self, test_file: str) -> dict[str, Any]:
        text = (ROOT / test_file).read_text()
        return self._of(
            test_file, text, reach.of_tests, SOURCES / "fledge", files(), test_file, LONGEST_S
        )

    def passes(self, test_file: str, copy: judge.Copy) -> bool:
        """Whether its tests pass in a fork as they should, without a fault: asked once."""
        if test_file not in self.trusted:
            source = (SOURCES / "fledge" / "fit.py").read_text()
            sound = replace(mutants("fit.py", source)[0], source=source)
            tests = list(self.of(test_file)["seconds"])
            self.trusted[test_file] = (
                copy.judge(sound, partial(judge.ask_tests, tests), 600) == judge.MISSED
            )
            if not self.trusted[test_file]:
                print(f"not asked, for it fails without a fault: {test_file}", flush=True)
        return self.trusted[test_file]

    def nearest(self, file: str) -> list[str]:
        """The test files, those first that are named after a source file, then those of its
        folder.
        """
        stem, room = Path(file).stem, f"tests/{Path(file).parent}/".replace("./", "")
        return sorted(
            self.tests,
            key=lambda name: (f"test_{stem}" not in name, not name.startswith(room), name),
        )

    def _of(self, name: str, text: str, make: Any, *arguments: Any) -> dict[str, Any]:
        path = self.folder / f"{_hash(name, text, self.sources)}.json"
        if not path.exists():
            path.write_text(json.dumps(in_a_process(make, *arguments)))
        return json.loads(path.read_text())


def _hash(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


class Results:
    """One line for each answer. What was noticed stays noticed while the sources are the same; what
    was missed is asked of new tests.
    """

    def __init__(self, path: Path, maps: Maps) -> None:
        self.path, self.maps = path, maps
        self.known: dict[str, dict[str, Any]] = {}
        for line in path.read_text().splitlines() if path.exists() else ():
            told = json.loads(line)
            if (
                told["sources"] == maps.sources_key
                and told["asked"] != maps.asked
                and told.get("tests") == judge.MISSED
            ):
                told = {name: each for name, each in told.items() if name not in ("near", "tests")}
            if told["sources"] == maps.sources_key:
                self.known[told["name"]] = told

    def add(self, mutant: Mutant, **answers: str) -> None:
        told = {
            "module": mutant.module,
            "name": mutant.name,
            **self.known.get(mutant.name, {}),
            **answers,
        }
        self.known[mutant.name] = told | {
            "sources": self.maps.sources_key,
            "asked": self.maps.asked,
        }
        with self.path.open("a") as log:
            log.write(json.dumps(self.known[mutant.name]) + "\n")


def by_verify(mutant: Mutant, maps: Maps, copy: judge.Copy) -> str:
    rows = reach.who_reaches(maps.verify, mutant.file, mutant.reach)
    seconds = [maps.verify["seconds"][row] for row in rows]
    if mutant.module != "algorithms":
        rows = [
            row for row, spent in zip(rows, accumulate(seconds), strict=True) if spent < MOST_ROWS_S
        ]
    return (
        copy.judge(mutant, partial(judge.ask_verify, rows), 30 + 4 * sum(seconds))
        if rows
        else judge.MISSED
    )


def by_tests(mutant: Mutant, maps: Maps, copy: judge.Copy, near: bool) -> str:
    """near: only of the test files that are named after the source file; else of the others."""
    spent = 0.0
    for file in maps.nearest(mutant.file):
        if near is not (f"test_{Path(mutant.file).stem}" in file):
            continue
        of_file = maps.of(file)
        tests = reach.who_reaches(of_file, mutant.file, mutant.reach)
        seconds = sum(of_file["seconds"][test] for test in tests)
        if not tests or spent + seconds > MOST_S or not maps.passes(file, copy):
            continue
        spent += seconds
        answer = copy.judge(mutant, partial(judge.ask_tests, tests), 30 + 4 * seconds)
        if answer != judge.MISSED:
            return answer
    return judge.MISSED


def ask_all(
    chosen: list[Mutant], maps: Maps, results: Results, copy: judge.Copy, minutes: float
) -> None:
    """First of verify, whose rows the command's own test would fail on; of what it missed, of the
    tests near by, then of all others.
    """
    ends = time.monotonic() + 60 * minutes
    phases = {
        "verify": by_verify,
        "near": partial(by_tests, near=True),
        "tests": partial(by_tests, near=False),
    }
    for phase, ask in phases.items():
        for number, mutant in enumerate(chosen, 1):
            if time.monotonic() > ends:
                return
            known = results.known.get(mutant.name, {})
            if phase in known or "tests" in known:
                continue
            answer = ask(mutant, maps, copy)
            results.add(
                mutant, **{phase: answer} | ({"tests": answer} if answer != judge.MISSED else {})
            )
            print(f"{number}/{len(chosen)} {phase}: {answer:9} {mutant.name}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sample", type=int, default=0, help="how many, over all modules; 0 for all"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--minutes", type=float, default=1e9, help="after which no more are judged")
    parser.add_argument("--only", default="", help="a part of the names of those that are judged")
    parser.add_argument(
        "--out",
        type=Path,
        default=None,
        help="the table to write; docs/mutants.md unless --only was given",
    )
    given = parser.parse_args()
    os.chdir(ROOT)
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    sys.path = [path for path in sys.path if Path(path) != SOURCES]
    weight = torch.nn.Parameter(torch.zeros(1))
    torch.optim.AdamW(
        [weight], fused=True
    ).step()  # half of torch is only loaded here: once, and not in every fork
    folder = ROOT / "mutants"
    folder.mkdir(exist_ok=True)
    population = every_mutant()
    chosen = [
        mutant
        for mutant in drawn(population, given.sample, given.seed)
        if given.only in mutant.name
    ]
    maps = Maps(folder)
    results = Results(folder / "results.jsonl", maps)
    with judge.Copy(SOURCES) as copy:
        copy.compile_all()
        ask_all(chosen, maps, results, copy, given.minutes)
    judged = [results.known[mutant.name] for mutant in chosen if mutant.name in results.known]
    out = given.out or (None if given.only else ROOT / "docs" / "mutants.md")
    if out:
        write_table(
            out,
            judged,
            {module: len(own) for module, own in population.items()},
            given.sample,
            given.seed,
        )


if __name__ == "__main__":
    main()
