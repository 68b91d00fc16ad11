"""`fledge demo`: the whole road, from the text on this machine to an aligned model, in one
command.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from rich.table import Table

from fledge.loop import Interrupted
from fledge.next_command import write_command
from fledge.recipes.carry_on import carry_on
from fledge.recipes.language.align import AlignConfig, align
from fledge.recipes.language.pretrain import PretrainConfig, pretrain
from fledge.recipes.language.reward import RewardConfig, reward
from fledge.recipes.language.tune import TuneConfig, tune
from fledge.recipes.look.report import ReportConfig, report
from fledge.recipes.training import TrainingConfig
from fledge.runs.folder import Allowed, Run
from fledge.runs.lineage import verb_of
from fledge.runs.show import Show

TASK = "reverse"
ANSWER_TOKENS = 12  # eight letters, the end, and room to be wrong


class DemoConfig(BaseModel):
    """Raise a small model end to end: pre-train on this Python's own prose, tune it to reverse
    words, train a reward model on its answers, align it twice (by the reward model, by the
    verifier), and write a report. No network; minutes on two cores.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: Path | None = Field(
        default=None,
        description="run folder; by default the first free of runs/demo, runs/demo-2, …",
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="of every random number in the run")


DemoStage = tuple[str, Callable[..., dict[str, Any]], TrainingConfig]


def list_stages(folder: Path, seed: int) -> list[DemoStage]:
    """Name, recipe and configuration of each stage. The same fields on the command line give the
    same runs.
    """
    numbers: dict[str, Any] = {"seed": seed, "compile": "no"}
    answers: dict[str, Any] = {**numbers, "task": TASK, "max_new_tokens": ANSWER_TOKENS}
    aligned: dict[str, Any] = {
        **answers,
        "base": folder / "tune",
        "schedule": "linear",
        "evaluate_every": 10,
    }
    return [
        ("pretrain", pretrain, PretrainConfig(
            **numbers, out=folder / "pretrain", tokenizer="bytes", layers=3, width=128, heads=4,
            context=256, row_tokens=128, tokens_per_step=4096, steps=280, learning_rate=3e-3,
            evaluate_every=70,
        )),
        # It stops early: alignment should have something left to win.
        ("tune", tune, TuneConfig(
            **answers, out=folder / "tune", base=folder / "pretrain", steps=500, rows_per_step=128,
            learning_rate=2e-3, schedule="constant", evaluate_every=5, stop_at_exact_match=0.5,
            window=1,
        )),
        ("reward", reward, RewardConfig(
            **answers, out=folder / "reward", base=folder / "tune", pairs=3072, steps=150,
            learning_rate=1e-3, evaluate_every=30,
        )),
        # A weak penalty: the policy finds what the reward model likes and the task does not, which
        # the report shows over the KL.
        ("align by reward model", align, AlignConfig.read({
            **aligned, "out": folder / "align-reward", "reward": folder / "reward",
            "algorithm": "ppo", "steps": 30, "learning_rate": 2e-4, "kl_coefficient": 0.05,
        })),
        ("align by verifier", align, AlignConfig.read({
            **aligned, "out": folder / "align-verifier", "algorithm": "reinforce", "steps": 330,
            "learning_rate": 6e-4, "warmup_steps": 10, "kl_coefficient": 0.0,
            "stop_at_exact_match": 0.95,
        })),
    ]  # fmt: skip


def demo(config: DemoConfig, show: Show, run: Run | None = None) -> dict[str, Any]:
    """Every stage is a run of its own inside the demo's folder; a demo that is continued skips what
    is finished.
    """
    if run is not None:
        return walk(config, show, run)
    fields = config.model_dump(mode="json")
    with Run.create(config.out, "demo", fields, seed=config.seed) as made:
        return walk(config, show, made)


def walk(config: DemoConfig, show: Show, run: Run) -> dict[str, Any]:
    """All stages, and the page about them."""
    done: list[dict[str, Any]] = []
    for name, recipe, settings in list_stages(run.folder, config.seed):
        assert settings.out is not None
        show.line(f"\n{name} ({len(done) + 1} of 5)")
        try:
            done.append(
                {"name": name, **run_stage(recipe, settings, settings.out, show, run.allowed)}
            )
        except Interrupted as stopped:  # the road is what goes on, not the one stage
            raise stopped.of(str(run.folder)) from None
    began = time.perf_counter()
    by_name = {each["name"]: each for each in done}
    summary: dict[str, Any] = {
        "verb": "demo",
        "run": str(run.folder),
        "seed": config.seed,
        "seconds": sum(each["seconds"] for each in done),
        "base_bits_per_byte": by_name["pretrain"]["test"]["bits_per_byte"],
        "tuned_exact_match": by_name["tune"]["test"]["exact_match"],
        "reward_pair_accuracy": by_name["reward"]["test"]["pair_accuracy"],
        "aligned_exact_match": by_name["align by verifier"]["test"]["exact_match"],
        "stages": [
            {
                "name": each["name"],
                "seconds": each["seconds"],
                "run": Path(each["run"]).name,
                "before": each["before"],
                "after": each["after"],
                "test": each["test"],
            }
            for each in done
        ],
    }
    run.finish(summary)
    page = report(ReportConfig(run=run.folder), show)["report"]
    summary = {
        **summary,
        "seconds": summary["seconds"] + time.perf_counter() - began,
        "report": str(page),
    }
    run.finish(summary)
    show.print(draw_road_table(summary))
    aligned = run.folder / "align-verifier"
    # It was tuned on single questions: earlier turns are nothing it knows.
    talk = write_command("chat", base=aligned, history="false")
    show.line(f"\nTalk to it:   {talk}   # try: {find_answered_prompt(aligned)}")
    show.line(f"The report:   {page}")
    return summary


def run_stage(
    recipe: Callable[..., dict[str, Any]],
    settings: TrainingConfig,
    folder: Path,
    show: Show,
    allowed: Allowed,
) -> dict[str, Any]:
    """The summary of one stage: read if it is finished, continued if it was begun, else run."""
    if verb_of(folder) is None:
        return recipe(settings, show)
    with Run.open(folder, writing=True) as begun:
        begun.allowed = allowed
        if begun.finished:
            show.line(f"{folder} is finished.")
        return carry_on(begun, lambda: recipe(settings, show, begun), show)


def find_answered_prompt(folder: Path) -> str:
    """The last validation prompt that the run answered right: what is suggested must be what it can
    do.
    """
    right = [row["prompt"] for row in Run.open(folder).samples.each() if row.get("exact")]
    return right[-1] if right else f"{TASK}: planet"


def draw_road_table(summary: dict[str, Any]) -> Table:
    """What each stage took and what it learned: before and after on what steered, and once on the
    test part.
    """
    names = {
        "validation_bits_per_byte": "bits per byte",
        "exact_match": "exact match",
        "pair_accuracy": "pairs ranked right",
        "true_score": "true score",
        "reward_model_score": "reward model's score",
        "kl": "KL from tuned, nats",
    }
    table = Table(
        title=f"\nThe road in {summary['seconds'] / 60:.1f} minutes",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    table.add_column("stage", no_wrap=True)
    table.add_column("seconds", justify="right", no_wrap=True)
    table.add_column("what it learned", no_wrap=True)
    table.add_column("before", justify="right", no_wrap=True)
    table.add_column("after", justify="right", no_wrap=True)
    table.add_column("test", justify="right", no_wrap=True)
    for each in summary["stages"]:
        head: tuple[str, str] = (each["name"], f"{each['seconds']:.0f}")
        for name, label in names.items():
            if name in each["after"]:
                shares = name in ("exact_match", "pair_accuracy")
                figures = {
                    **each,
                    "test": {name: each["test"].get(name.removeprefix("validation_"))},
                }
                cells = (figures[side][name] for side in ("before", "after", "test"))
                texts = (
                    "" if cell is None else f"{cell:.1%}" if shares else f"{cell:.2f}"
                    for cell in cells
                )
                table.add_row(*head, label, *texts)
                head = ("", "")
    return table
