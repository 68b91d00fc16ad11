"""The runs of `fledge scale` on text: planned once, each a run of `pretrain` inside the study's
folder, shared by the ranks of torchrun where there are several; and the one that their law
foretells before it is trained.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from fledge import ranks
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
from fledge.runs.folder import Allowed, Run
from fledge.runs.lineage import verb_of
from fledge.runs.show import Show
from fledge.text.tokenizer import load_tokenizer, train_tokenizer


def make_sweep(run: Run | None, config: ScaleConfig, show: Show) -> Points:
    """All runs of the plan but the foretold one; what is finished is read, not repeated. Each of
    several ranks makes its share, alone; the first, which alone has the study's `run`, reads all.
    Raises ranks.Done on the others then.
    """
    plan = ranks.from_first(lambda: find_plan(of_first(run), config, show))
    folder, allowed = ranks.from_first(lambda: tell_place(of_first(run)))
    if not folder.is_dir():
        raise UserError(
            f"{folder} is not there for rank {ranks.rank()}: the ranks of a sweep write into one "
            "folder, so give out= on a disk that all of them see."
        )
    waiting = ranks.from_first(lambda: list_unfinished(plan, folder))
    cost = [plan.runs[number].parameters * plan.runs[number].steps for number in waiting]
    for place in ranks.deal_level(cost):
        one = plan.runs[waiting[place]]
        show.line(f"\nrun {waiting[place] + 1} of {len(plan.runs)}: {describe(one, config)}")
        train_one(one, folder, allowed, config, show)
    ranks.gather(True)  # until all have made theirs
    study = of_first(run)
    points = Points(*np.zeros((3, len(plan.runs))))
    for number, one in enumerate(plan.runs):
        summary = train_one(one, folder, allowed, config, show)
        points.parameters[number] = summary["parameters"]
        points.tokens[number] = summary["tokens"]
        points.loss[number] = summary["test"]["loss"]
    write_points(study.folder / "points.csv", points)
    return points


def of_first(run: Run | None) -> Run:
    """The study's run. Raises ranks.Done for a rank that has none."""
    if run is None:
        raise ranks.Done
    return run


def tell_place(run: Run) -> tuple[Path, Allowed]:
    """Where the ranks write; in one process as its user named it."""
    return (run.folder.absolute() if ranks.world() > 1 else run.folder), run.allowed


def list_unfinished(plan: Sweep, folder: Path) -> list[int]:
    names = [one.name for one in plan.runs]
    return [at for at, name in enumerate(names) if not (folder / name / "summary.json").exists()]


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
    summary = train_one(one, run.folder, run.allowed, config, show)
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
            ranks.world(), lambda layers, width: measure_step(
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


def train_one(
    one: PlannedRun, folder: Path, allowed: Allowed, config: ScaleConfig, show: Show
) -> dict[str, Any]:
    """The summary of one run: read, continued or begun, by this process alone."""
    own = choose(one, config, folder / one.name)
    with ranks.alone():
        return run_inside(
            folder / one.name, lambda begun: pretrain(own, show, begun), show, allowed
        )


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
