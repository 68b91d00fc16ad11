"""`fledge continual`: tasks learned in turn, with and without remedies against forgetting; what is
left of each after each.

A study of its own and no setting of `tune`: what a remedy is worth shows only over several tasks,
several seeds and beside plain fine-tuning, and that comparison is what is run here. It is not
called `continue`, which people type where they mean `resume`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from rich.table import Table

from fledge.algorithms.parts.forgetting import (
    Adapters,
    Anchored,
    Plain,
    Rehearsal,
    Remedy,
    Remembered,
)
from fledge.data_names import split_names
from fledge.errors import UserError
from fledge.evaluate.intervals import student_interval
from fledge.json_file import read_json
from fledge.recipes.course import Summary
from fledge.recipes.studies.continual_tasks import (
    PermutedDigits,
    Subject,
    TextsInTurn,
    log_prob,
)
from fledge.report.continual_page import draw_continual
from fledge.report.show_page import check_show_page, write_show_page
from fledge.runs.atomic import write_json
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.seeds import generator_for

METHODS = ("plain", "ewc", "l2sp", "rehearsal", "lwf", "lora", "lora_merged")


class ContinualConfig(BaseModel):
    """Learn tasks one after the other and measure each after each: permuted digits, or texts in
    turn; by plain fine-tuning and by remedies against forgetting.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    data: str = Field(
        default="digits", description="digits (permuted anew for each task), or texts with commas "
        "between, each a task"
    )  # fmt: skip
    methods: str = Field(
        default="plain,ewc",
        description="some of plain, ewc, l2sp, rehearsal, lwf, lora (an adapter a task, which must "
        "be named when it is asked), lora_merged, with commas between",
    )
    tasks: int = Field(default=5, ge=2, le=100, description="digits: permutations")
    seeds: int = Field(default=5, ge=1, le=100, description="each method with as many")
    steps: int = Field(default=220, ge=1, description="optimizer steps a task")
    rows_per_step: int = Field(default=64, ge=1, description="digits or rows of text a step")
    learning_rate: float = Field(default=1e-3, gt=0, description="of Adam, anew for each task")
    width: int = Field(default=256, ge=2, description="of the network's layers")
    layers: int = Field(default=2, ge=1, description="texts: of the transformer")
    context: int = Field(default=64, ge=8, description="texts: bytes a row")
    ewc: float = Field(default=200.0, ge=0, description="λ of elastic weight consolidation")
    ewc_keep: float = Field(
        default=1.0, ge=0, le=1, description="γ, of earlier tasks' importance for each later one"
    )
    ewc_examples: int = Field(default=1024, ge=1, description="of a task, for the Fisher diagonal")
    l2sp: float = Field(default=0.1, ge=0, description="λ of the square around the last weights")
    lwf: float = Field(default=1.0, ge=0, description="λ of learning without forgetting")
    rehearsal: int = Field(default=100, ge=1, description="examples of each task that are kept")
    lora_rank: int = Field(default=8, ge=1, le=4096, description="of a task's adapters")
    lora_rate: float = Field(
        default=5.0, gt=0, description="of adapters, times learning_rate"
    )  # fmt: skip
    out: Path | None = Field(
        default=None, description="run folder; by default the first free of runs/continual, …"
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="the first of the seeds")

    def list_methods(self) -> list[str]:
        """Raises UserError."""
        names = list(dict.fromkeys(name.strip() for name in self.methods.split(",")))
        for name in names:
            if name not in METHODS:
                raise UserError(
                    f"methods={self.methods} names {name!r}: give some of {', '.join(METHODS)}, "
                    "with commas between."
                )
        return names

    def make_subject(self) -> Subject:
        """Raises UserError for texts that are too short, or a single one."""
        if self.data == "digits":
            return PermutedDigits(self.tasks, self.width)
        names = split_names(self.data)
        if len(names) < 2:
            raise UserError(
                f"data={self.data} is one text: give two or more with commas between, or digits."
            )
        return TextsInTurn(names, self.context, self.width, self.layers)

    def make_remedy(self, method: str) -> Remedy:
        makers: dict[str, Callable[[], Remedy]] = {
            "plain": Plain,
            "ewc": lambda: Anchored(self.ewc, log_prob, self.ewc_keep, self.ewc_examples),
            "l2sp": lambda: Anchored(self.l2sp),
            "rehearsal": lambda: Rehearsal(self.rehearsal),
            "lwf": lambda: Remembered(self.lwf),
            "lora": lambda: Adapters(self.lora_rank, self.lora_rate, merged=False),
            "lora_merged": lambda: Adapters(self.lora_rank, self.lora_rate, merged=True),
        }
        return makers[method]()


def continual(config: ContinualConfig, show: Show, run: Run | None = None) -> Summary:
    """A study that is continued repeats no finished method and seed. Raises UserError."""
    methods, subject = config.list_methods(), config.make_subject()
    if run is not None:
        return continue_in(run, config, methods, subject, show)
    data = list_files(config.data)
    fields = config.model_dump(mode="json")
    with Run.create(config.out, "continual", fields, seed=config.seed, data=data) as made:
        return continue_in(made, config, methods, subject, show)


def list_files(data: str) -> list[str]:
    """Those whose hashes are kept: digits and the prose of Python's installation are none."""
    return [] if data == "digits" else [name for name in split_names(data) if name != "python"]


def continue_in(
    run: Run, config: ContinualConfig, methods: list[str], subject: Subject, show: Show
) -> Summary:
    """Every method with every seed, and what they came to."""
    page = run.folder / "report.html"
    check_show_page(page)
    figures: dict[str, np.ndarray] = {}
    names: list[str] = []
    (run.folder / "learned").mkdir(exist_ok=True)
    for method in methods:
        each = []
        for seed in range(config.seed, config.seed + config.seeds):
            path = run.folder / "learned" / f"{method}-{seed}.json"
            if not path.exists():
                write_json(path, learn_in_turn(config, method, subject, seed))
            learned: Any = read_json(path, dict[str, Any])
            names = learned["tasks"]
            each.append([[np.nan if v is None else v for v in row] for row in learned["after"]])
            show.line(f"continual: {method}, seed {seed}: {subject.figure} {each[-1][-1]}")
        figures[method] = np.array(each)
    rows = [describe(method, figures[method], subject) for method in methods]
    show.print(draw_table(rows, subject.figure))
    facts = [("tasks", str(len(names))), ("seeds", str(config.seeds))]
    write_show_page(page, draw_continual(figures, names, subject.figure, rows, facts))
    show.line(f"The page: {page}")
    summary = {
        "verb": "continual",
        "run": str(run.folder),
        "steps": config.steps,
        "seconds": run.seconds,
        "figure": subject.figure,
        "tasks": names,
        "methods": {row["method"]: row for row in rows},
    }
    run.finish(summary)
    return summary


def learn_in_turn(
    config: ContinualConfig, method: str, subject: Subject, seed: int
) -> dict[str, Any]:
    """after: of each task, the figure of every task known by then; None of those to come."""
    network, remedy = subject.make_network(seed), config.make_remedy(method)
    tasks, random = subject.make_tasks(seed), generator_for(seed, "batches")
    after: list[list[float | None]] = []
    for number, task in enumerate(tasks):
        beginning = generator_for(seed, "weights", f"adapters of task {number}")
        network, rate = remedy.begin_task(network, beginning)
        learning = [p for p in network.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(learning, lr=rate * config.learning_rate)
        for _ in range(config.steps):
            drawn = torch.randint(len(task.x), (config.rows_per_step,), generator=random)
            new = task.x[drawn]
            x, y = remedy.mix(new, task.y[drawn], random)
            loss = -log_prob(network, x, y).mean() + remedy.penalty(network, new)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        remedy.end_task(network, task.x, task.y)
        known = [subject.measure(remedy.answering(network, n), tasks[n]) for n in range(number + 1)]
        after.append([*known, *[None] * (len(tasks) - number - 1)])
    return {"tasks": [task.name for task in tasks], "after": after}


def describe(method: str, after: np.ndarray, subject: Subject) -> dict[str, Any]:
    """after: [seeds, tasks, tasks]. forgotten: of all tasks but the last, how much worse they are
    in the end than when they had just been learned. low, high: over seeds, of one the figure.
    """
    sign = 1.0 if subject.better == "higher" else -1.0
    last = after[:, -1]
    just = np.diagonal(after, axis1=1, axis2=2)
    forgotten = sign * (just - last)[:, :-1].mean(1)
    means = last.mean(1).tolist()
    low, high = student_interval(means) if len(means) > 1 else (means[0], means[0])
    return {
        "method": method, "mean": float(last.mean()), "low": low, "high": high,
        "forgotten": float(forgotten.mean()), "newest": float(last[:, -1].mean()),
        "after": after.mean(0).tolist()[-1],
    }  # fmt: skip


def draw_table(rows: list[dict[str, Any]], figure: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("", f"mean {figure}", "95 %", "forgotten", "newest task"):
        table.add_column(column, justify="right" if column else "left")
    for row in rows:
        table.add_row(
            row["method"], f"{row['mean']:.3f}", f"{row['low']:.3f} to {row['high']:.3f}",
            f"{row['forgotten']:.3f}", f"{row['newest']:.3f}",
        )  # fmt: skip
    return table
