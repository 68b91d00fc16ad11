"""`fledge prefer`: a policy straight from preferences, without a reward model and without sampling
while it learns.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from fledge.algorithms.own import Own, OwnClass
from fledge.algorithms.preference.dpo import DPO
from fledge.algorithms.preference.kto import KTO
from fledge.algorithms.registry import Subject, names_of
from fledge.evaluate.distance import judge_distance
from fledge.evaluate.judge import Judge
from fledge.evaluate.judging import draw_held_out, judge_answers
from fledge.evaluate.preferences import judge_pairs, judge_single_answers
from fledge.hub.folder import Loaded
from fledge.learner import Learner
from fledge.loop import Algorithm, Sampler
from fledge.next_command import write_command
from fledge.policy import TokenPolicy
from fledge.preference_losses import log_odds
from fledge.recipes.algorithm_fields import AlgorithmFields
from fledge.recipes.course import Course, Start, Summary
from fledge.recipes.language.adapter_fields import describe_size
from fledge.recipes.language.judge_fields import EarlyStopFields
from fledge.recipes.language.large_defaults import PREFER, LargeDefaults, count_kl_answers
from fledge.recipes.language.pairs import (
    PairsConfig,
    Preferences,
    read_judged_file,
    read_or_make_pairs,
)
from fledge.recipes.memory import list_evaluation, tell_memory
from fledge.recipes.training import count_parameters, trains_every_weight
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.sample.conversations import JudgedRows, PairRows, Shuffled, Sides, token_rows
from fledge.seeds import generator_for
from fledge.stopwatch import Stopwatch
from fledge.text.pairs import is_judged


class PreferConfig(AlgorithmFields, EarlyStopFields, PairsConfig):
    """Learn from pairs of answers, one preferred to the other (kto: or single ones), without a
    reward model.
    """

    subject: ClassVar[Subject] = "pairs"
    large: ClassVar[LargeDefaults] = PREFER

    data: Path | None = Field(
        default=None,
        description=(
            "pairs: a .jsonl with `prompt`, `chosen` and `rejected`; or for kto single answers: "
            "with `prompt`, `completion` and `label`, true (wanted) or false; 'rows-*.jsonl' are "
            "several"
        ),
    )
    algorithm: str = Field(
        default="dpo",
        description=(
            f"one of {', '.join(names_of('pairs'))}; dpo, ipo, kto stay near the base, simpo and "
            "orpo do without it; kto takes each answer by itself; or FILE.py:Class"
        ),
    )
    learning_rate: float = Field(default=3e-4, gt=0, description="at its peak")
    schedule: Literal["constant", "linear", "cosine", "wsd"] = Field(
        default="linear",
        description="of the learning rate after its rise; wsd: constant up to the last fifth",
    )


def prefer(config: PreferConfig, show: Show, run: Run | None = None) -> Summary:
    """Raises UserError for a base, data or a task that cannot be used, and for a setting of another
    algorithm.
    """
    start, config = Start("prefer", show, run), config.composed()
    config.check_source("prefer")
    if start.new:
        config.check_epochs()
        config.check_enough()
    base, config = config.load_base(config.base)
    preferences = read_preferences(config, base, show)
    train_on, task = preferences.divided.train, preferences.task
    rows_per_step, learnt = choose_rows(config, preferences)
    config = config.with_epochs(len(learnt), rows_per_step, config.source, show)
    only_begins = not reads_base(config) and trains_every_weight(base.network)
    read, begun_from = ([], [base.source]) if only_begins else ([base.source], [])
    with start.begin(
        config,
        parents=read,
        initial=begun_from,
        data=[config.source, *config.own_code, *config.own_family],
    ) as course:
        policy = base.policy().to(config.on())
        reference = policy.frozen_copy()
        # preferred ones, or single answers
        some = [train_on[i % len(train_on)][0] for i in range(config.pairs_per_step)]
        sides = 1 if config.algorithm == "kto" else 2
        tell_memory(
            course, config, policy, token_rows(some), sides=sides, beside=[reference],
            sampling=list_evaluation(preferences.task, config, base),
        )  # fmt: skip
        speed = course.settle_speed(
            config, policy, token_rows(some), beside=[reference], tokenizer=base.tokenizer
        )  # fmt: skip
        of = f"{config.base} ({describe_size(base)})"
        course.say(f"{preferences.describe()}, {of} by {config.algorithm}, {speed.describe()}")
        judges = make_judges(config, course, base, policy, reference, preferences)
        learner = config.learner(policy, speed.precision)
        course.fit(
            make_algorithm(config, policy, reference, learner, course.stopwatch),
            make_sampler(config, learnt, rows_per_step), list(judges.values()),
            best=judges.get("prompts"),
            stop_at=config.stop_at_exact_match if task else None, beside={"judge": task},
        )  # fmt: skip
        base.save(course.run.model_folder)
        held_out = {part: len(rows) for part, rows in preferences.divided.held_out.items()}
        if task:
            asked = judges["prompts"].items
            held_out |= {f"{part}_prompts": number for part, number in asked.items()}
        return course.finish(
            {"algorithm": config.algorithm, preferences.kind: len(train_on)}, held_out=held_out,
            censuses=preferences.censuses, then=write_command("chat", base=course.run.folder),
        )  # fmt: skip


def reads_base(config: PreferConfig) -> bool:
    """Whether the base's weights are more than those that training begins with: the reference, or
    whoever answered the task's prompts.
    """
    return config.task is not None or config.algorithm not in ("simpo", "orpo")


def make_judges(
    config: PreferConfig,
    course: Course,
    base: Loaded,
    policy: TokenPolicy,
    reference: TokenPolicy,
    preferences: Preferences,
) -> dict[str, Judge]:
    """Of the held-out preferences, if there are any; with a task of its prompts, and of the
    distance from the base.
    """
    judges: dict[str, Judge] = {}
    held_out, task = preferences.divided.held_out, preferences.task
    # An algorithm of the user's may have no β; of its sign alone the ranking is made.
    beta = float(getattr(config.settings, "beta", 1.0))
    if preferences.divided.validation and preferences.kind == "answers":
        judges["answers"] = judge_single_answers(policy, reference, beta, held_out)
    elif preferences.divided.validation:
        implied = partial(imply_reward, config.algorithm, beta)
        judges["pairs"] = judge_pairs(policy, reference, implied, held_out, preferences.apart)
    if task is not None:
        questions = draw_held_out(task, config.evaluation_prompts)
        judges["prompts"] = judge_answers(
            policy, base.tokenizer, task, questions, config.max_new_tokens, course.run
        )
        judges["kl"] = judge_distance(
            policy, reference, base.tokenizer, task, config.max_new_tokens, config.seed,
            answers=count_kl_answers(count_parameters(base.network)),
        )  # fmt: skip
    return judges


def imply_reward(
    algorithm: str, beta: float, logp: Tensor, reference: Tensor, tokens: Tensor
) -> Tensor:
    """What the algorithm takes a policy's reward for an answer to be: of log π, log π_ref and the
    number of tokens, all of one shape.
    """
    if algorithm == "simpo":
        return beta * logp / tokens
    if algorithm == "orpo":
        return log_odds(logp / tokens)
    return beta * (logp - reference)


def make_algorithm(
    config: PreferConfig,
    policy: TokenPolicy,
    reference: TokenPolicy,
    learner: Learner,
    stopwatch: Stopwatch,
) -> Algorithm:
    """Of the package or of the user's. Raises UserError for what goes wrong in a user's."""
    kind = config.entry.algorithm
    settings = config.settings
    beside: dict[str, Any] = {"reference": reference} if kind in (DPO, KTO) else {}
    if isinstance(kind, OwnClass):
        own = kind.build(
            policy, learner, stopwatch, settings=settings, reference=reference,
            generator=generator_for(config.seed, "batches"),
        )  # fmt: skip
        return Own(own, learner, kind.path)
    return config.entry.algorithm(policy, learner, stopwatch, settings, **beside)


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
    return read_or_make_pairs(config, base, show)


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
