"""`fledge reward`: a reward model from pairs of answers, read from a file or made by a task that
judges the model's own samples.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from fledge.algorithms.preference.reward_model import RewardModel
from fledge.hub.folder import load_model, save_model
from fledge.loop import train
from fledge.models.language.heads import ScalarModel
from fledge.recipes.course import describe_result, read_test
from fledge.recipes.language.pairs import Pair, PairsConfig, read_or_make_pairs
from fledge.recipes.language.rows import summarise_rows
from fledge.recipes.pacing import say_skipped
from fledge.recipes.speed import settle_speed
from fledge.recipes.training import close_what_it_opens, open_run
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.sample.conversations import PairRows, Shuffled, pair_rows
from fledge.stopwatch import Stopwatch
from fledge.weigh import difference


class RewardConfig(PairsConfig):
    """Train a reward model on preferences: −log σ(r(preferred) − r(rejected)), the score read at
    the last token.
    """

    margin: float = Field(
        default=0.0, ge=0, description="by how much the preferred score must lead"
    )


@close_what_it_opens
def reward(config: RewardConfig, show: Show, run: Run | None, opened: ExitStack) -> dict[str, Any]:
    """Raises UserError for a base, data or a task that cannot be used."""
    began = time.perf_counter()
    if run is None:
        config.check_epochs()
    base = load_model(config.base)
    network, tokenizer = base.network.to(config.on()), base.tokenizer
    preferences = read_or_make_pairs(config, base, "reward", show)
    divided, task = preferences.divided, preferences.task
    pairs = divided.train
    if divided.note:
        show.line(f"{config.data or config.task}: {divided.note}.")
    config = config.with_epochs(
        len(pairs), config.pairs_per_step, str(config.data or config.task), show
    )
    given = [str(config.data or config.task)]
    run = open_run(run, opened, "reward", config, began, parents=[config.base], data=given)
    model = ScalarModel(network).to(config.on())
    typical = pair_rows([pairs[i % len(pairs)] for i in range(config.pairs_per_step)]).preferred
    precision = settle_speed(run, config, base.policy().to(config.on()), typical, show).precision
    stopwatch = Stopwatch()
    held_out = f"{len(divided.validation)} + {len(divided.test)} held out (validation + test)"
    show.line(
        f"reward: {len(pairs)} pairs, {held_out}, from {config.base}, {precision} → {run.folder}"
    )
    sampler = PairRows(
        Shuffled(pairs, config.seed),
        pairs_per_step=config.pairs_per_step,
        rows_in_all=config.rows_in_all(len(pairs)),
    )

    def evaluate(step: int) -> dict[str, float]:
        return {"validation_pair_accuracy": measure_pair_accuracy(model, divided.validation)}

    with show.progress("reward", config.steps, "pair_accuracy") as watch:
        last = train(
            RewardModel(model, config.learner(model, precision), stopwatch, margin=config.margin),
            sampler, run, stopwatch, watch, steps=config.steps,
            evaluate=evaluate if divided.validation else None, evaluate_every=config.evaluate_every,
            better=lambda e: e["validation_pair_accuracy"], save_every_s=config.save_every_s,
        )  # fmt: skip
    scores = torch.cat([score_pairs(model, pairs[:1024])[side] for side in (0, 1)])
    scale = measure_scale(scores)
    save_model(run.model_folder, network, tokenizer, scalar=model, fledge_reward=scale)
    test = {"pair_accuracy": measure_pair_accuracy(model, divided.test)} if divided.test else {}
    read_test(run, config.steps, test)
    name, first = "validation_pair_accuracy", next(run.metrics.each())
    summary = {
        "verb": "reward",
        "run": str(run.folder),
        "steps": config.steps,
        "pairs": len(pairs),
        "seconds": run.seconds,
        "before": {"pair_accuracy": first[name]} if test else {},
        "after": {"pair_accuracy": last[name]} if test else {},
        "test": test,
        "held_out": {"validation": len(divided.validation), "test": len(divided.test)},
        **summarise_rows(preferences.censuses),
    }
    run.finish(summary)
    say_skipped(run, show)
    if test:
        items, apart = (len(divided.validation), len(divided.test)), task is None or task.holds_out
        read = test["pair_accuracy"]
        show.line(
            describe_result(
                "reward", "pair_accuracy", first[name], last[name], read, items, "pair", apart=apart
            )
        )
    show.line(f"Next: fledge align base={config.base} reward={run.folder} task=…")
    return summary


@torch.no_grad()
def score_pairs(
    model: ScalarModel, pairs: Sequence[Pair], at_a_time: int = 128
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of the preferred and of the rejected answers, [N] each."""
    scores: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    for a in range(0, len(pairs), at_a_time):
        batch = pair_rows(pairs[a : a + at_a_time]).to(model.network.unembedding.device)
        for side, rows in zip(scores, (batch.preferred, batch.rejected), strict=True):
            side.append(model.score(rows.obs, rows.last()).cpu())
    return torch.cat(scores[0]), torch.cat(scores[1])


def measure_pair_accuracy(model: ScalarModel, pairs: Sequence[Pair]) -> float:
    """The share of pairs ranked as preferred; a tie is half right."""
    preferred, rejected = score_pairs(model, pairs)
    return float(((preferred > rejected).double() + 0.5 * (preferred == rejected).double()).mean())


def measure_scale(scores: Tensor) -> dict[str, float]:
    """Mean and standard deviation, by which rewards are brought to one scale; 1 where scores differ
    by rounding errors alone.  [N]
    """
    same = bool(difference(scores.max(), scores.min()) == 0)
    return {"mean": float(scores.mean()), "std": 1.0 if same else float(scores.std())}
