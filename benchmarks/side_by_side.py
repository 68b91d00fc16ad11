"""What every benchmark here shares: sides timed in turn in one process, medians and ratios, the
machine, a table or one JSON object.

A B A B: what else the machine does meets all sides alike. A ratio is the median over the rounds of
the ratio within a round, so that a machine that slows down half-way bends neither side.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import operator
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

PEERS = (
    "torch", "transformers", "accelerate", "trl", "gymnasium", "mujoco", "stable-baselines3",
    "quantecon", "xllamacpp", "diffusers", "pythae", "open-spiel",
)  # fmt: skip

Times = dict[str, list[float]]  # seconds of each round, by side


def options(
    doc: str | None, arguments: Sequence[str] | None = None, **extra: str
) -> argparse.Namespace:
    """--json, --quick, and `extra` options of text with their help."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--json", action="store_true", help="one JSON object on standard output, nothing else there"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a smoke test: small and few rounds; its figures mean nothing",
    )
    for name, text in extra.items():
        parser.add_argument(f"--{name}", help=text)
    return parser.parse_args(arguments)


def say(text: str) -> None:
    """Progress goes to standard error: standard output is for the result."""
    print(text, file=sys.stderr, flush=True)


def seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def alternate(sides: Mapping[str, Callable[[], Any]], rounds: int, warm: int = 1) -> Times:
    """Every side `warm` times untimed, then all of them once a round. A side that returns a float
    has timed itself.
    """
    times: Times = {name: [] for name in sides}
    for number in range(-warm, rounds):
        for name, work in sides.items():
            began = time.perf_counter()
            own = work()
            taken = own if isinstance(own, float) else time.perf_counter() - began
            if number >= 0:
                times[name].append(taken)
        say(f"round {number + 1} of {rounds}" if number >= 0 else "warm-up")
    return times


def speed_up(times: Times, ours: str, theirs: str) -> float:
    """How many times faster `ours` is: the median over the rounds of their seconds / our
    seconds.
    """
    return statistics.median(b / a for a, b in zip(times[ours], times[theirs], strict=True))


def rates(times: Times, amount: float) -> dict[str, dict[str, float]]:
    """Amount per second of each side: median, lowest and highest round."""
    per_second = {}
    for name, values in times.items():
        each = [amount / value for value in values]
        per_second[name] = {
            "median": statistics.median(each),
            "lowest": min(each),
            "highest": max(each),
        }
    return per_second


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Columns of text, the first to the left and the rest to the right."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in cells
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def rate_table(per_second: Mapping[str, Mapping[str, float]], unit: str) -> str:
    rows = [
        (name, *(f"{r[key]:,.0f}" for key in ("median", "lowest", "highest")))
        for name, r in per_second.items()
    ]
    return table((unit, "median", "lowest", "highest"), rows)


def machine() -> dict[str, Any]:
    """What the figures were measured on, and when."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{name: _version(name) for name in PEERS if _version(name)},
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def judge(name: str, figure: float, aim: str) -> dict[str, Any]:
    """Whether a figure is what it ought to be: "≤ 0.33", "≥ 3" or "< 1"."""
    sign, bound = aim.split()
    compare = {"≤": operator.le, "≥": operator.ge, "<": operator.lt}[sign]
    holds = compare(figure, float(bound))
    return {"name": name, "figure": figure, "aim": aim, "holds": holds}


def finish(
    as_json: bool,
    text: str,
    ratios: Mapping[str, float],
    figures: Mapping[str, Any],
    targets: Mapping[str, str],
    aims: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Print the table, the ratios with what they ought to be, and the machine; or all of it as one
    JSON object.

    targets: of ratios by name, such as "≤ 0.33"; they are aims too. aims: each with `name`,
    `figure`, `aim` and whether it `holds`.
    """
    here = machine()
    judged = [judge(name, ratios[name], aim) for name, aim in targets.items() if name in ratios]
    if as_json:
        print(
            json.dumps(
                {
                    "ratios": dict(ratios),
                    "figures": {**figures, "machine": here},
                    "aims": [*aims, *judged],
                }
            )
        )
        return
    print(text)
    print()
    for each in aims:
        verdict = "holds" if each["holds"] else "does not hold"
        print(f"{each['name']}: {each['figure']:.3g}, aim {each['aim']}: {verdict}")
    held = {each["name"]: "holds" if each["holds"] else "does not hold" for each in judged}
    for name, ratio in ratios.items():
        target = f"   (aim {targets[name]}: {held[name]})" if name in held else ""
        print(f"{name}: {ratio:.3f}{target}")
    print()
    print(", ".join(f"{key} {value}" for key, value in here.items() if value is not None))
