"""How long each family of `fledge imagine` takes with its own settings on the package's digits, one
thread, where three minutes are the most.

A few optimizer steps are timed by the processor's clock, which other work beside does not count in,
and counted up to the family's own number of steps; what comes before and after (reading, judging,
512 judged samples, sheets) is not in it. `--whole` makes every run to its end in place of that, by
the clock on the wall, and says what it came to.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

import fledge
from fledge.recipes.images.building import build_model
from fledge.recipes.images.data import read_parts
from fledge.recipes.images.imagine import ImagineConfig
from fledge.sample.pictures import PictureBatches
from fledge.stopwatch import Stopwatch
from side_by_side import finish, judge, options, say, table

FAMILIES = (
    "nade", "made", "wavenet", "pixel_lstm", "pixelcnn", "pixel_transformer", "vae", "vq", "gan",
    "ebgan", "diffusion", "flow",
)  # fmt: skip
COMMON = {"precision": "fp32", "compile": "no"}
STEPS, QUICK_STEPS, WARM = 12, 2, 2
LONGEST_S = 180


def main() -> None:
    given = options(
        __doc__,
        families=f"with commas between, of {', '.join(FAMILIES)}; else all",
        whole="yes: every run to its end",
    )
    torch.set_num_threads(1)
    names = given.families.split(",") if given.families else FAMILIES
    if unknown := set(names) - set(FAMILIES):
        raise SystemExit(f"--families names {', '.join(sorted(unknown))}, which there is not")
    measured: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            say(name)
            if given.whole == "yes":
                measured[name] = run_whole(name, Path(folder) / name, given.quick)
            else:
                measured[name] = time_steps(name, QUICK_STEPS if given.quick else STEPS)
    rows = [
        (name, f"{one['steps']:,}", f"{one['seconds']:.0f}", one["came to"])
        for name, one in measured.items()
    ]
    text = table(("family", "steps", "s", "nats of the test part"), rows)
    aims = [
        judge(f"{name}: seconds on the digits", one["seconds"], f"≤ {LONGEST_S}")
        for name, one in measured.items()
    ]
    finish(given.json, text, {}, {"families": measured}, {}, aims)


def time_steps(name: str, steps: int) -> dict[str, Any]:
    """The middle of so many steps, times all."""
    config = ImagineConfig.read({**COMMON, "model": name})
    kind: Any = config.entry.algorithm
    train = read_parts(config)["train"]
    model = build_model(config, kind, train)
    learner = partial(config.learner, precision="fp32")
    algorithm = kind(config.settings, model, learner, 0, Stopwatch())
    batches = PictureBatches(train, config.rows_per_step, 0, config.augment)
    times: list[float] = []
    for _ in range(WARM + steps):
        began = time.process_time()
        algorithm.update(next(batches))
        times.append(time.process_time() - began)
    each = statistics.median(times[WARM:])
    return {
        "steps": config.steps, "seconds": each * config.steps, "seconds_each": times[WARM:],
        "parameters": model.count_parameters(), "came to": "",
    }  # fmt: skip


def run_whole(name: str, out: Path, quick: bool) -> dict[str, Any]:
    """As `fledge imagine model=NAME` does it."""
    fewer = {"steps": 5, "warmup_steps": 1, "judged_samples": 40, "samples": 8} if quick else {}
    summary = fledge.imagine(model=name, out=out, **COMMON, **fewer).summary
    nats = summary["test"].get("nats")
    said = "none" if nats is None else f"{nats:.2f}, {summary['measure']}"
    return {
        "steps": summary["steps"], "seconds": summary["seconds"], "came to": said,
        "parameters": summary["parameters"], "quality": summary.get("quality"),
    }  # fmt: skip


if __name__ == "__main__":
    main()
