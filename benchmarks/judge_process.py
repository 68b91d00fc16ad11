"""What it costs that a judge of the user's runs in a process of its own: milliseconds a completion
with 64 in flight.

The same file, whose score() does next to nothing, judges the same completions in this process and
in one of its own, in turn. Beside it how long that process takes to begin, which every start and
every restart pays once. There is no peer here: trainers that take a Python reward call it in their
own process.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from fledge.tasks.judge_process import JudgeProcess, Limits
from fledge.tasks.own_judge import OwnJudge
from side_by_side import alternate, finish, options, table

IN_FLIGHT, PROMPT, COMPLETION = 64, 120, 400  # completions in one request; characters
AIM_MS = 1.0
SOURCE = """
def prompts():
    return ['a']
def score(prompt, completion):
    return completion.count('e') / (1 + len(completion))
"""


def main() -> None:
    given = options(__doc__)
    rounds, repeats = (5, 5) if given.quick else (40, 25)
    prompts = [f"{i} ".ljust(PROMPT, "x") for i in range(IN_FLIGHT)]
    completions = [f"{i} ".ljust(COMPLETION, "e") for i in range(IN_FLIGHT)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mine.py"
        path.write_text(SOURCE)
        begun = []
        for _ in range(3 if given.quick else 10):
            began = time.perf_counter()
            judge = JudgeProcess(path, 0, Limits())
            begun.append(1e3 * (time.perf_counter() - began))
            judge.close()
        own, inside = JudgeProcess(path, 0, Limits()), OwnJudge(path, 0)
        assert own.judge(prompts, completions) == inside.judge(prompts, completions)

        def ask(judge: Any) -> None:
            for _ in range(repeats):
                judge.judge(prompts, completions)

        times = alternate({"own process": lambda: ask(own), "inside": lambda: ask(inside)}, rounds)
        own.close()
    each = {
        name: [1e3 * t / (repeats * IN_FLIGHT) for t in values] for name, values in times.items()
    }
    more = statistics.median(
        a - b for a, b in zip(each["own process"], each["inside"], strict=True)
    )
    cost = statistics.median(each["own process"])
    figures = {
        "ms a completion": {name: statistics.median(values) for name, values in each.items()},
        "of these what the process of its own adds": more,
        "ms to begin": statistics.median(begun),
    }
    rows = [
        (name, *(f"{f(values):.3f}" for f in (statistics.median, min, max)))
        for name, values in each.items()
    ]
    rows.append(("to begin", *(f"{f(begun):.0f}" for f in (statistics.median, min, max))))
    aim = {
        "name": f"a judge in a process of its own, {IN_FLIGHT} in flight, ms a completion",
        "figure": cost,
        "aim": f"≤ {AIM_MS:g}",
        "holds": cost <= AIM_MS,
    }
    finish(
        given.json, table(("ms", "median", "lowest", "highest"), rows), {}, figures, {}, aims=[aim]
    )


if __name__ == "__main__":
    main()
