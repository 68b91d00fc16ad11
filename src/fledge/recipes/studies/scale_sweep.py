"""The runs of `fledge scale` on text: planned once, each a run of `pretrain` inside the study's
folder, and the one that their law foretells before it is trained.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from fledge.errors import UserError
from fledge.evaluate.scaling.bootstrap import Interval, UncertainLaw
from fledge.evaluate.scaling.law import Points
from fledge.evaluate.scaling.point_file import write_points
from fledge.json_file import read_json
from fledge.recipes.carry_on import run_inside
from fledge.recipes.language.pretrain import PretrainConfig, pretrain
from fledge.recipes.studies.scale_fields import ScaleConfig
from fledge.recipes.studies.scale_plan import (
    PlannedRun,
    Sweep,
    describe_size,
    load_sweep,
    measure_step,
    plan_sweep,
    save_sweep,
)
from fledge.report.scaling_page import Held, write_number
from fledge.runs.atomic import write_json
from fledge.runs.folder import Run
from fledge.runs.lineage import verb_of
from fledge.runs.show import Show
from fledge.text.tokenizer import load_tokenizer, train_tokenizer


def make_sweep(run: Run, config: ScaleConfig, show: Show) -> Points:
    """All runs of the plan but the foretold one; what is finished is read, not repeated."""
    plan = find_plan(run, config, show)
    points = Points(*np.zeros((3, len(plan.runs))))
    for number, one in enumerate(plan.runs):
        show.line(f"\nrun {number + 1} of {len(plan.runs)}: {describe(one, config)}")
        summary = train_one(one, run, config, show)
        points.parameters[number] = summary["parameters"]
        points.tokens[number] = summary["tokens"]
        points.loss[number] = summary["test"]["loss"]
    write_points(run.folder / "points.csv", points)
    return points


def foretell_and_train(run: Run, config: ScaleConfig, law: UncertainLaw, show: Show) -> Held:
    """The foretold run: what is said of it is written down before it begins."""
    one = find_plan(run, config, show).foretold
    tokens = one.steps * config.tokens_per_step
    path = run.folder / "prediction.json"
    if verb_of(run.folder / one.name) is None:
        foretold = law.foretell_run(one.parameters, tokens)
        write_json(path, {"parameters": one.parameters, "tokens": tokens, **vars(foretold)})
    said: Any = read_json(path, dict[str, Any])
    foretold = Interval(said["value"], said["low"], said["high"])
    show.line(
        f"\nforetold: {describe(one, config)}: {foretold.value:.4f} nats a token "
        f"({100 * config.share:.0f} %: {foretold.low:.4f} to {foretold.high:.4f}); now it is "
        "trained"
    )
    summary = train_one(one, run, config, show)
    return Held(one.parameters, tokens, foretold, summary["test"]["loss"])


def find_plan(run: Run, config: ScaleConfig, show: Show) -> Sweep:
    """As it was made when the study began: on another day a step takes another time. Raises
    UserError where nothing fits.
    """
    path = run.folder / "plan.json"
    if not path.exists():
        vocabulary = count_vocabulary(config)
        rows = config.tokens_per_step // config.context
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        show.line("scale: a step of each size is timed")
        plan = plan_sweep(
            config.minutes, config.budgets, config.tokens_per_step, vocabulary, config.context,
            lambda layers, width: measure_step(
                layers, width, vocabulary, config.context, rows, device
            ),
        )  # fmt: skip
        save_sweep(path, plan)
        sizes = sorted({one.parameters for one in plan.runs})
        show.line(
            f"scale: {len(plan.runs)} runs of {write_number(sizes[0])} to "
            f"{write_number(sizes[-1])} parameters, and one of "
            f"{write_number(plan.foretold.parameters)} that is foretold → {run.folder}"
        )
    return load_sweep(path)


def count_vocabulary(config: ScaleConfig) -> int:
    """Raises UserError for a tokenizer that each run would train anew."""
    if config.tokenizer in ("bpe", "characters"):
        raise UserError(
            f"tokenizer={config.tokenizer} would be learned anew by every run: train it once by "
            "`fledge tokenizer train`, and give its folder."
        )
    if config.tokenizer == "bytes":
        return train_tokenizer("bytes", (), None, lambda _: None).vocab_size
    return load_tokenizer(config.tokenizer).vocab_size


def train_one(one: PlannedRun, run: Run, config: ScaleConfig, show: Show) -> dict[str, Any]:
    """The summary of one run: read, continued or begun."""
    folder = run.folder / one.name
    alone = choose(one, config, folder)
    return run_inside(folder, lambda begun: pretrain(alone, show, begun), show, run.allowed)


def choose(one: PlannedRun, config: ScaleConfig, folder: Path) -> PretrainConfig:
    """The same command alone makes the same bits."""
    fields: dict[str, Any] = {
        "data": config.data, "tokenizer": config.tokenizer, "context": config.context,
        "tokens_per_step": config.tokens_per_step, "steps": one.steps,
        # One rate for all widths: tuned for none of them, a size would be judged by its rate, too.
        "learning_rate": config.learning_rate, "parameterization": "mup",
        "warmup_steps": max(5, one.steps // 20), "evaluation_rows": 128, "precision": "fp32",
        "compile": "no", "seed": config.seed, "out": folder,
        **describe_size(one.layers, one.width),
    }  # fmt: skip
    return PretrainConfig(**fields)


def describe(one: PlannedRun, config: ScaleConfig) -> str:
    tokens = one.steps * config.tokens_per_step
    return f"{write_number(one.parameters)} parameters on {write_number(tokens)} tokens"
