"""`fledge prefer`: a policy straight from preferences, without a reward model and without sampling
while it learns.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from fledge.algorithms.preference.dpo import DPO, IPO
from fledge.algorithms.preference.kto import KTO
from fledge.algorithms.preference.orpo import ORPO
from fledge.algorithms.preference.simpo import SimPO
from fledge.errors import UserError
from fledge.evaluate.judging import draw_questions, judge_kl, judge_task
from fledge.fit import log_odds
from fledge.hub.folder import Loaded, load_model, save_model
from fledge.learner import Learner
from fledge.loop import Algorithm, Sampler, train
from fledge.policy import TokenPolicy
from fledge.recipes.course import describe_result, read_test
from fledge.recipes.language.pairs import (
    Judged,
    Pair,
    PairsConfig,
    Preferences,
    read_judged_file,
    read_or_make_pairs,
)
from fledge.recipes.language.rows import summarise_rows
from fledge.recipes.pacing import say_skipped
from fledge.recipes.speed import settle_speed
from fledge.recipes.training import close_what_it_opens, open_run
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.sample.conversations import JudgedRows, PairRows, Shuffled, Sides, pair_rows
from fledge.score.reference import answer_logp, answer_tokens
from fledge.stopwatch import Stopwatch
from fledge.text.packed import Row
from fledge.text.pairs import is_judged
from fledge.trajectories import from_rows

BETA = {"dpo": 0.1, "ipo": 0.1, "kto": 0.1, "simpo": 2.0, "orpo": 0.1}  # where the user gives none
# whose setting it is
OWN = {
    "margin": ("simpo",),
    "desirable_weight": ("kto",),
    "undesirable_weight": ("kto",),
}


class PreferConfig(PairsConfig):
    """Learn from pairs of answers, one preferred to the other (kto: or single ones), without a
    reward model.
    """

    data: Path | None = Field(
        default=None,
        description=(
            "pairs: a .jsonl with `prompt`, `chosen` and `rejected`; or for kto single answers: "
            "with `prompt`, `completion` and `label`, true (wanted) or false"
        ),
    )
    algorithm: Literal["dpo", "ipo", "simpo", "orpo", "kto"] = Field(
        default="dpo",
        description=(
            "dpo, ipo, kto stay near the base; simpo and orpo do without it; kto takes each answer "
            "by itself"
        ),
    )
    beta: float | None = Field(
        default=None,
        gt=0,
        description=(
            "dpo, ipo, kto: how dear it is to leave the base (0.1); simpo: scale of the reward "
            "(2); orpo: λ, weight of the odds ratio (0.1)"
        ),
    )
    margin: float = Field(
        default=1.0, ge=0, description="simpo: γ, by how much the preferred reward must lead"
    )
    desirable_weight: float = Field(
        default=1.0, ge=0, description="kto: λ_D, of the preferred answers"
    )
    undesirable_weight: float = Field(
        default=1.0, ge=0, description="kto: λ_U, of the rejected ones"
    )
    evaluation_prompts: int = Field(
        default=256,
        ge=1,
        description=(
            "validation prompts an evaluation answers, and test prompts at the end (with task)"
        ),
    )
    stop_at_exact_match: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="end as soon as an evaluation reaches this (with task)",
    )
    learning_rate: float = Field(default=3e-4, gt=0, description="at its peak")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        default="linear", description="of the learning rate after its rise"
    )


@close_what_it_opens
def prefer(config: PreferConfig, show: Show, run: Run | None, opened: ExitStack) -> dict[str, Any]:
    """Raises UserError for a base, data or a task that cannot be used, and for a setting of another
    algorithm.
    """
    began = time.perf_counter()
    if run is None:
        check_settings(config)
        config.check_epochs()
    base = load_model(config.base)
    network, tokenizer = base.network.to(config.on()), base.tokenizer
    preferences = read_preferences(config, base, show)
    divided, task = preferences.divided, preferences.task
    train_on = divided.train
    if divided.note:
        show.line(f"{config.data or config.task}: {divided.note}.")
    rows_per_step, learnt = choose_rows(config, preferences)
    config = config.with_epochs(len(learnt), rows_per_step, str(config.data or config.task), show)
    given = [str(config.data or config.task)]
    run = open_run(run, opened, "prefer", config, began, parents=[config.base], data=given)
    policy = base.policy().to(config.on())
    reference = policy.frozen_copy()
    # preferred ones, or single answers
    rows = [train_on[i % len(train_on)][0] for i in range(config.pairs_per_step)]
    typical = from_rows([ids for ids, _ in rows], [own for _, own in rows])
    precision = settle_speed(run, config, policy, typical, show).precision
    stopwatch = Stopwatch()
    held_out = f"{len(divided.validation)} + {len(divided.test)} held out (validation + test)"
    show.line(
        f"prefer: {len(train_on)} {preferences.kind}, {held_out}, {config.base} by "
        f"{config.algorithm}, {precision} → {run.folder}"
    )
    kind = PairJudge if preferences.kind == "pairs" else AnswerJudge
    parts = (divided.validation, divided.test)
    judge, last_judge = (
        kind(config, policy, reference, part) if part else dict[str, float] for part in parts
    )
    steering = (
        draw_questions(task, "validation", config.evaluation_prompts) if task is not None else []
    )

    def evaluate(step: int) -> dict[str, float]:
        figures = {f"validation_{name}": value for name, value in judge().items()}
        if task is not None:
            figures |= judge_task(
                policy, tokenizer, task, steering, config.max_new_tokens, run, step
            )
            figures["kl"] = judge_kl(
                policy, reference, tokenizer, task, config.max_new_tokens, config.seed
            )
        return figures

    def better(evaluation: dict[str, float]) -> float:
        return evaluation["exact_match" if task is not None else "validation_pair_accuracy"]

    def enough(evaluation: dict[str, float]) -> bool:
        return (
            config.stop_at_exact_match is not None
            and evaluation.get("exact_match", 0.0) >= config.stop_at_exact_match
        )

    algorithm = make_algorithm(
        config, policy, reference, config.learner(policy, precision), stopwatch
    )
    with show.progress("prefer", config.steps, "loss") as watch:
        last = train(
            algorithm, make_sampler(config, learnt, rows_per_step), run, stopwatch, watch,
            steps=config.steps,
            evaluate=evaluate if task is not None or divided.validation else None,
            evaluate_every=config.evaluate_every, better=better, enough=enough,
            save_every_s=config.save_every_s, beside={"judge": task} if task is not None else {},
        )  # fmt: skip
    save_model(run.model_folder, network, tokenizer)
    test, items = last_judge(), {"validation": len(divided.validation), "test": len(divided.test)}
    if task is not None:
        tested = draw_questions(task, "test", config.evaluation_prompts)
        test |= judge_task(policy, tokenizer, task, tested, config.max_new_tokens)
        items |= {"validation_prompts": len(steering), "test_prompts": len(tested)}
    read_test(run, last.get("step", config.steps), test)
    first = next(run.metrics.each())
    figures = [name for name in last if name != "step"]
    summary = {
        "verb": "prefer",
        "run": str(run.folder),
        "algorithm": config.algorithm,
        "steps": int(last.get("step", config.steps)),
        preferences.kind: len(train_on),
        "seconds": run.seconds,
        "before": {name: first[name] for name in figures},
        "after": {name: last[name] for name in figures},
        "test": test,
        "held_out": items,
        **summarise_rows(preferences.censuses),
    }
    run.finish(summary)
    say_skipped(run, show)
    for name, what, end in (
        ("validation_pair_accuracy", preferences.kind[:-1], ""),
        ("exact_match", "prompt", "_prompts"),
    ):
        if name in last:
            read, numbers = (
                name.removeprefix("validation_"),
                (items[f"validation{end}"], items[f"test{end}"]),
            )
            apart = task is None or task.holds_out
            show.line(
                describe_result(
                    "prefer", read, first[name], last[name], test[read], numbers, what, apart=apart
                )
            )
    show.line(f"Next: fledge chat base={run.folder}")
    return summary


def check_settings(config: PreferConfig) -> None:
    """Raises UserError for a setting that the algorithm does not have: it would do nothing."""
    for name in sorted(config.model_fields_set & OWN.keys()):
        if config.algorithm not in OWN[name]:
            raise UserError(
                f"{name} is a setting of algorithm={OWN[name][0]}: {config.algorithm} has none."
            )


def make_algorithm(
    config: PreferConfig,
    policy: TokenPolicy,
    reference: TokenPolicy,
    learner: Learner,
    stopwatch: Stopwatch,
) -> Algorithm:
    beta = config.beta or BETA[config.algorithm]
    makers: dict[str, Any] = {
        "dpo": partial(DPO, reference=reference, beta=beta),
        "ipo": partial(IPO, reference=reference, beta=beta),
        "simpo": partial(SimPO, beta=beta, margin=config.margin),
        "orpo": partial(ORPO, odds_weight=beta),
        "kto": partial(
            KTO, reference=reference, beta=beta,
            desirable_weight=config.desirable_weight, undesirable_weight=config.undesirable_weight,
        ),
    }  # fmt: skip
    return makers[config.algorithm](policy, learner, stopwatch)


def read_preferences(config: PreferConfig, base: Loaded, show: Show) -> Preferences:
    """Raises UserError for data or a task that cannot be used."""
    if (
        config.algorithm == "kto"
        and config.task is None
        and config.data is not None
        and is_judged(config.data)
    ):
        return read_judged_file(
            config.data, base.tokenizer, base.network.config.context, config.reading, show
        )
    return read_or_make_pairs(config, base, "prefer", show)


def choose_rows(
    config: PreferConfig, preferences: Preferences
) -> tuple[int, Sequence[Any] | Sides]:
    """(how many a step, and which): pairs; for kto answers one by one, so that neighbours answer
    different prompts.
    """
    train_on = preferences.divided.train
    if config.algorithm != "kto":
        return config.pairs_per_step, train_on
    return 2 * config.pairs_per_step, Sides(train_on) if preferences.kind == "pairs" else train_on


def make_sampler(
    config: PreferConfig, answers: Sequence[Any] | Sides, rows_per_step: int
) -> Sampler:
    rows, in_all = Shuffled(answers, config.seed), config.rows_in_all(len(answers))
    if config.algorithm != "kto":
        return PairRows(rows, pairs_per_step=rows_per_step, rows_in_all=in_all)
    return JudgedRows(rows, rows_per_step=rows_per_step, rows_in_all=in_all)


class PairJudge:
    """How the reward that the policy implies ranks held-out pairs: the share as preferred (a tie is
    half right), and the mean gap.
    """

    def __init__(
        self,
        config: PreferConfig,
        policy: TokenPolicy,
        reference: TokenPolicy,
        pairs: Sequence[Pair],
    ) -> None:
        self.algorithm, self.beta = config.algorithm, config.beta or BETA[config.algorithm]
        self.policy, self.pairs = policy, pairs
        self.reference, self.tokens = score_answers(reference, pairs)  # [2, N] each

    def __call__(self) -> dict[str, float]:
        logp, _ = score_answers(self.policy, self.pairs)
        if self.algorithm == "simpo":
            reward = self.beta * logp / self.tokens
        elif self.algorithm == "orpo":
            reward = log_odds(logp / self.tokens)
        else:
            reward = self.beta * (logp - self.reference)
        gap = reward[0] - reward[1]
        right = (gap > 0).double() + 0.5 * (gap == 0).double()
        return {"pair_accuracy": float(right.mean()), "reward_gap": float(gap.mean())}


@torch.no_grad()
def score_answers(
    policy: TokenPolicy, pairs: Sequence[Pair], at_a_time: int = 128
) -> tuple[Tensor, Tensor]:
    """log π and number of tokens of the preferred and of the rejected answers.  -> [2, N], [2,
    N]
    """
    logp, tokens = [], []
    for a in range(0, len(pairs), at_a_time):
        batch = pair_rows(pairs[a : a + at_a_time]).to(policy.network.unembedding.device)
        sides = (batch.preferred, batch.rejected)
        logp.append(torch.stack([answer_logp(policy, side) for side in sides]))
        tokens.append(torch.stack([answer_tokens(side) for side in sides]))
    return torch.cat(logp, 1), torch.cat(tokens, 1)


class AnswerJudge:
    """How the reward that the policy implies tells held-out answers apart.

    pair_accuracy: the share of all pairs of a wanted and an unwanted answer, whatever their
    prompts, in which the wanted one has more (a tie is half right): the area under the ROC curve.
    reward_gap: the difference of the two means.
    """

    def __init__(
        self,
        config: PreferConfig,
        policy: TokenPolicy,
        reference: TokenPolicy,
        held_out: Sequence[Judged],
    ) -> None:
        self.beta, self.policy = config.beta or BETA[config.algorithm], policy
        self.rows = [row for row, _ in held_out]
        self.wanted = torch.tensor([wanted for _, wanted in held_out])
        self.reference = score_rows(reference, self.rows)  # [N]

    def __call__(self) -> dict[str, float]:
        reward = self.beta * (score_rows(self.policy, self.rows) - self.reference)
        wanted, unwanted = reward[self.wanted], reward[~self.wanted]
        return {
            "pair_accuracy": measure_share_ahead(wanted, unwanted),
            "reward_gap": float(wanted.mean() - unwanted.mean()),
        }


def measure_share_ahead(high: Tensor, low: Tensor) -> float:
    """P(h > l) + ½·P(h = l) for h and l drawn from the two, by sorting: all pairs of large ones
    would not fit.  [N], [M] -> number
    """
    ranked = low.sort().values
    below, upto = torch.searchsorted(ranked, high), torch.searchsorted(ranked, high, right=True)
    return float((below + upto).double().mean() / (2 * len(low)))


@torch.no_grad()
def score_rows(policy: TokenPolicy, rows: Sequence[Row], at_a_time: int = 128) -> Tensor:
    """log π of each row's answer.  -> [N]"""
    logp = []
    for a in range(0, len(rows), at_a_time):
        part = rows[a : a + at_a_time]
        batch = from_rows([ids for ids, _ in part], [own for _, own in part])
        logp.append(answer_logp(policy, batch.to(policy.network.unembedding.device)).cpu())
    return torch.cat(logp)
