"""`fledge reward`: a reward model from pairs of answers, read from a file or made by a task that
judges the model's own samples; or from demonstrations alone, beside what the model says itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from pydantic import Field

from fledge.algorithms.preference.reward_model import RewardModelling
from fledge.errors import UserError
from fledge.evaluate.preferences import judge_reward_model, measure_scale, score_pairs
from fledge.models.language.heads import ScalarModel
from fledge.next_command import write_command
from fledge.recipes.course import Start, Summary
from fledge.recipes.language.adapter_fields import describe_size
from fledge.recipes.language.demonstrations import pair_demonstrations
from fledge.recipes.language.large_defaults import REWARD, LargeDefaults
from fledge.recipes.language.pairs import PairsConfig, read_or_make_pairs
from fledge.recipes.memory import tell_memory
from fledge.recipes.training import trains_every_weight
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.sample.conversations import PairRows, Shuffled, pair_rows

SCALE_PAIRS = 1024  # whose scores say where the reward's zero and one are


class RewardConfig(PairsConfig):
    """Train a reward model on preferences: −log σ(r(preferred) − r(rejected) − margin), the score
    read at the last token. Or on demonstrations (inverse reinforcement learning): what was shown
    is preferred to what the base says itself, which makes the score log(shown / base).
    """

    large: ClassVar[LargeDefaults] = REWARD

    demonstrations: Path | None = Field(
        default=None,
        description="in place of data: a .jsonl of prompts with an answer each, and no pair; the "
        "base answers the prompts too (samples_per_prompt, max_new_tokens)",
    )
    margin: float = Field(
        default=0.0,
        ge=0,
        description="of the loss: the lead of the preferred score at which it is log 2",
    )

    @property
    def source(self) -> str:
        """What is learned from, as it was given."""
        return str(self.data or self.demonstrations or self.task)

    def check_source(self, verb: str, data: str = "FILE.jsonl") -> None:
        """Raises UserError unless one of data, demonstrations and a task was given."""
        if self.demonstrations is None:
            super().check_source(verb, data)
            return
        if self.data is not None or self.task is not None:
            raise UserError(
                f"{verb} learns from demonstrations={self.demonstrations}, from data or from a "
                "task: give one of them."
            )
        if self.margin:
            raise UserError(
                f"margin={self.margin:g} was given with demonstrations, whose score is a "
                "log-ratio only without one: leave it out."
            )


def reward(config: RewardConfig, show: Show, run: Run | None = None) -> Summary:
    """Raises UserError for a base, data or a task that cannot be used."""
    start = Start("reward", show, run)
    config.check_source("reward")
    if start.new:
        config.check_epochs()
        config.check_enough()
    base, config = config.load_base(config.base)
    if config.demonstrations is None:
        preferences = read_or_make_pairs(config, base, show)
    else:
        preferences = pair_demonstrations(config, config.demonstrations, base, show)
    divided = preferences.divided
    pairs = divided.train
    config = config.with_epochs(len(pairs), config.pairs_per_step, config.source, show)
    # Without data the base's own answers are in the pairs, and are sampled anew on resume.
    only_begins = config.data is not None and trains_every_weight(base.network)
    read, begun_from = ([], [base.source]) if only_begins else ([base.source], [])
    with start.begin(
        config, parents=read, initial=begun_from, data=[config.source, *config.own_family]
    ) as course:
        policy = base.policy().to(config.on())
        model = ScalarModel(base.network).to(config.on())
        typical = pair_rows([pairs[i % len(pairs)] for i in range(config.pairs_per_step)]).preferred
        tell_memory(course, config, policy, typical, sides=2)
        speed = course.settle_speed(config, policy, typical)
        of = f"{config.base} ({describe_size(base)})"
        course.say(f"{preferences.describe()}, from {of}, {speed.describe()}")
        learner = config.learner(model, speed.precision)
        sampler = PairRows(
            Shuffled(pairs, config.seed), pairs_per_step=config.pairs_per_step,
            rows_in_all=config.rows_in_all(len(pairs)),
        )  # fmt: skip
        judge = judge_reward_model(model, divided.held_out, preferences.apart)
        course.fit(
            RewardModelling(model, learner, course.stopwatch, margin=config.margin), sampler,
            [judge] if divided.validation else [], figure="pair_accuracy",
        )  # fmt: skip
        scale = measure_scale(torch.cat(score_pairs(model, pairs[:SCALE_PAIRS])))
        base.save(course.run.model_folder, model, fledge_reward=scale)
        # π_base·exp(reward/β) says what was shown where β undoes the scale of the reward.
        strength = (
            {} if config.demonstrations is None
            else {"kl_coefficient": round(1 / scale["std"], 4)}
        )  # fmt: skip
        return course.finish(
            {"pairs": len(pairs)}, figures={judge.headline: judge.logged}, held_out=judge.items,
            censuses=preferences.censuses,
            then=write_command(
                "align", base=config.base, reward=course.run.folder,
                task=config.task or "reverse",
                **strength,
                instead="" if config.task else "task=FILE.py with prompts of your own",
            ),
        )  # fmt: skip
