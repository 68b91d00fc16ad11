"""`make mutants`: plants small faults in the mathematics, one at a time, and counts whom they escape.

mutmut 3.8.1 forks from a warm process too, but leaves alone what is decorated (`@torch.no_grad()`: nearly every score, weigh and
target), partials and swapped arguments, and can ask nothing but pytest; cosmic-ray starts torch anew for each fault, in the work tree.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from collections.abc import Iterator
from functools import partial
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
    "decoding.py",
    "policy.py",
    "divergence.py",
    "learner.py",
    "score",
    "algorithms",
    "sample",
)
# The ordinary tests, but for those of commands, recipes and files, which take ten minutes and are there for other things.
TESTS = ("tests/algorithms", "tests/exact", "tests/sample", "tests/score", "tests/engine", "tests/models")
SLOWEST_S = 90.0  # of tests, for one fault: a line that everything runs would ask everything


def files() -> list[str]:
    package = SOURCES / "fledge"
    found: list[Path] = []
    for module in MODULES:
        path = package / module
        found += sorted(path.glob("*.py")) if path.is_dir() else [path]
    return [str(path.relative_to(package)) for path in found]


def every_mutant() -> dict[str, list[Mutant]]:
    """By module."""
    made: dict[str, list[Mutant]] = {}
    for file in files():
        for mutant in mutants(file, (SOURCES / "fledge" / file).read_text()):
            made.setdefault(mutant.module, []).append(mutant)
    return made


def drawn(population: dict[str, list[Mutant]], size: int, seed: int) -> list[Mutant]:
    """Of every module its share of the sample, and 8 at the least; all where size is 0."""
    whole = sum(map(len, population.values()))
    chosen: list[Mutant] = []
    for module, own in population.items():
        share = min(len(own), max(8, round(size * len(own) / whole))) if size else len(own)
        chosen += random.Random(f"{seed} {module}").sample(own, share)
    return chosen


def in_a_process(make: Any, *arguments: Any) -> Any:
    """Its answer, from a fork: what it imports stays there."""
    here, there = os.pipe()
    if os.fork() == 0:
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


def maps(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of tests and of verify: read where they were made of the same sources and tests, else made."""
    tests = [*TESTS, *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests").glob("test_*.py"))]
    path = folder / "reach.json"
    state = sorted(
        f"{path.relative_to(ROOT)} {path.stat().st_size} {path.stat().st_mtime_ns}"
        for place in ("src", "tests")
        for path in (ROOT / place).rglob("*.py")
    )
    if path.exists():
        known = json.loads(path.read_text())
        if known["state"] == state:
            return known["tests"], known["verify"]
    sys.path.insert(0, str(SOURCES))
    verify = in_a_process(reach.of_verify, SOURCES / "fledge", files())
    ordinary = in_a_process(reach.of_tests, SOURCES / "fledge", files(), tests)
    sys.path.pop(0)
    path.write_text(json.dumps({"state": state, "tests": ordinary, "verify": verify}))
    return ordinary, verify


def judged(
    chosen: list[Mutant], ordinary: dict[str, Any], verify: dict[str, Any], copy: judge.Copy
) -> Iterator[dict[str, Any]]:
    for number, mutant in enumerate(chosen, 1):
        stem = Path(mutant.file).stem
        tests = reach.who_reaches(ordinary, mutant.file, mutant.reach, f"/test_{stem}")
        seconds, asked = 0.0, []
        for test in tests:
            seconds += ordinary["seconds"][test]
            if seconds > SLOWEST_S and asked:
                break
            asked.append(test)
        by_tests = copy.judge(mutant, partial(judge.ask_tests, asked), 30 + 4 * seconds) if asked else judge.MISSED
        result = {"module": mutant.module, "name": mutant.name, "line": mutant.line, "tests": by_tests, "asked": len(asked), "of": len(tests)}  # fmt: skip
        if mutant.module == "algorithms":
            rows = reach.who_reaches(verify, mutant.file, mutant.reach, stem)
            limit = 30 + 4 * sum(verify["seconds"][row] for row in rows)
            result["verify"] = copy.judge(mutant, partial(judge.ask_verify, rows), limit) if rows else judge.MISSED
        print(f"{number}/{len(chosen)} {by_tests:9} {result.get('verify', ''):9} {mutant.name}", flush=True)
        yield result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=0, help="how many, over all modules; 0 for all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--only", default="", help="a part of the names of those that are judged")
    parser.add_argument(
        "--out", type=Path, default=None, help="the table to write; docs/mutants.md unless --only was given"
    )
    given = parser.parse_args()
    os.chdir(ROOT)
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    sys.path = [path for path in sys.path if Path(path) != SOURCES]
    folder = ROOT / "mutants"
    folder.mkdir(exist_ok=True)
    population = every_mutant()
    chosen = [mutant for mutant in drawn(population, given.sample, given.seed) if given.only in mutant.name]
    ordinary, verify = maps(folder)
    results: list[dict[str, Any]] = []
    with judge.Copy(SOURCES) as copy, (folder / "results.jsonl").open("w") as log:
        copy.compile_all()
        for result in judged(chosen, ordinary, verify, copy):
            results.append(result)
            log.write(json.dumps(result) + "\n")
            log.flush()
    out = given.out or (None if given.only else ROOT / "docs" / "mutants.md")
    if out:
        write_table(out, results, {module: len(own) for module, own in population.items()}, given.sample, given.seed)


if __name__ == "__main__":
    main()
