"""The page of `make mutants`: by module how many faults were planted and noticed, and every
survivor with the reason it may live.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.mutants.judge import MISSED

# name -> why it is no fault, or none that a test should see
REASONS = Path(__file__).with_name("survivors.json")


def write_table(
    path: Path,
    results: Sequence[Mapping[str, Any]],
    population: Mapping[str, int],
    sample: int,
    seed: int,
) -> None:
    reasons: dict[str, str] = json.loads(REASONS.read_text()) if REASONS.exists() else {}
    drawn = f"{len(results)} of them, drawn with seed {seed}" if sample else "all of them"
    lines = [
        "# Planted faults",
        "",
        (
            "What `make mutants` makes of the mathematics: one small fault at a time (a sign, a "
            "direction, a bound, a condition, one of two"
        ),
        (
            "things alike for the other), and whether a row of `fledge verify` does not hold, or "
            "else an ordinary test fails. Tests of commands,"
        ),
        (
            "recipes and files are not asked, nor tests of more than 2 seconds. A fault that ends "
            "in an exception, or never, counts as noticed."
        ),
        "",
        (
            f"{datetime.now(UTC):%d %B %Y}, {processor()}: {sum(population.values()):,} faults, "
            f"{drawn}."
        ),
        "",
        (
            "| module | faults | planted | noticed by verify alone | noticed by verify or tests | "
            "harmless | survived | not asked of all tests |"
        ),
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for module in (*population, "all"):
        own = [each for each in results if module in ("all", each["module"])]
        lines.append(
            row(
                module,
                sum(population.values()) if module == "all" else population[module],
                own,
                reasons,
            )
        )
    lines += ["", "## Survivors", ""]
    for each in results:
        if each.get("tests") == MISSED:
            lines.append(f"- `{each['name']}`: {reasons.get(each['name'], '**not justified**')}")
    path.write_text("\n".join(lines) + "\n")


def row(
    module: str, faults: int, own: Sequence[Mapping[str, Any]], reasons: Mapping[str, str]
) -> str:
    missed = [each for each in own if each.get("tests") == MISSED]
    known = sum(each["name"] in reasons for each in missed)
    by_verify = sum(each["verify"] != MISSED for each in own)
    noticed = sum(each.get("tests", MISSED) != MISSED for each in own)
    open_ = sum("tests" not in each for each in own)
    shares = f"{_share(by_verify, len(own))} | {_share(noticed, len(own))}"
    return (
        f"| {module} | {faults} | {len(own)} | {shares} | {known} | {len(missed) - known} | "
        f"{open_} |"
    )


def _share(part: int, whole: int) -> str:
    return f"{part} ({part / whole:.0%})" if whole else ""


def processor() -> str:
    """As the machine calls it."""
    try:
        told = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in told if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, Python {platform.python_version()}"
