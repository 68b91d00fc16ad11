"""The fields of `fledge align`, and which of them do not go together."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from fledge.algorithms.likelihood.search_teacher import SearchTeacher
from fledge.algorithms.policy.reinforce import Reinforce
from fledge.algorithms.registry import Subject, names_of
from fledge.algorithms.settings import AlgorithmSettings
from fledge.engine.generation import Generation
from fledge.errors import UserError
from fledge.hub.folder import Loaded
from fledge.recipes.algorithm_fields import AlgorithmFields
from fledge.recipes.constraint_fields import ConstraintFields
from fledge.recipes.language.adapter_fields import AdapterFields
from fledge.recipes.language.judge_fields import (
    EarlyStopFields,
    JudgeFields,
    LengthFields,
    TaskName,
)
from fledge.recipes.language.large_defaults import ALIGN, LargeDefaults
from fledge.recipes.language.rows import ReadingFields
from fledge.recipes.language.server_fields import ServerFields
from fledge.tasks.conversed import count_turns
from fledge.tasks.named import Task


class AlignConfig(
    AlgorithmFields, AdapterFields, LengthFields, EarlyStopFields, JudgeFields, ReadingFields,
    ConstraintFields, ServerFields,
):  # fmt: skip
    """Align a tuned model: sample answers to a task's prompts, score them, and make the better ones
    likelier.
    """

    subject: ClassVar[Subject] = "texts"
    large: ClassVar[LargeDefaults] = ALIGN

    base: Path = Field(
        description="the run or model folder to start from; the reference of the KL, too"
    )
    task: TaskName = Field(
        description=(
            "where prompts come from, and the true score: reverse, sort, numbers, add, upper, "
            "last, words, or a .jsonl or .py of your own; household, shell, shop: worlds that "
            "answer, household:1-3 of several levels; false_beliefs, goals, irony: other minds, "
            "irony:odds+evident of two kinds"
        )
    )
    curriculum: bool = Field(
        default=False,
        description=(
            "of a mixed task, such as household:1-3, ask the parts at the edge of success most, "
            "by p (1 - p) of being right; otherwise each in turn"
        ),
    )
    reward: Path | None = Field(
        default=None,
        description=(
            "a reward model (a run of `fledge reward`); by default the task's own verifier rewards"
        ),
    )
    cut_reward: float = Field(
        default=0.0,
        description=(
            "the most that an answer cut at max_new_tokens earns, whoever judges (a reward model's "
            "scores are 0 on average)"
        ),
    )
    algorithm: str = Field(
        default="reinforce",
        description=f"one of {', '.join(names_of('texts'))}; or FILE.py:Class for one of your own",
    )
    prompts_per_step: int = Field(default=64, ge=1, description="different prompts a step")
    samples_per_prompt: int = Field(default=8, ge=1, description="answers sampled to each")
    max_new_tokens: int = Field(default=64, ge=1, description="of an answer")
    temperature: float = Field(
        default=1.0,
        gt=0,
        description="of the sampled distribution, which is the one that is trained",
    )
    top_k: int = Field(default=0, ge=0, description="0 keeps every token")
    top_p: float = Field(default=1.0, gt=0, le=1, description="nucleus mass")
    min_p: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="drops tokens less than this times as likely as the likeliest",
    )
    generation: Generation = Field(
        default="fp32",
        description=(
            "precision of the samples' generation; the trainer scores them at its own, and logs "
            "the drift between the two"
        ),
    )
    kl_coefficient: float = Field(
        default=0.02,
        ge=0,
        description=(
            "β: reward lost per nat of log π/π_base; the em family and search measure the KL and "
            "do not punish it"
        ),
    )
    kl_target: float | None = Field(
        default=None,
        gt=0,
        description="nats an answer; steers β towards it (adaptive), instead of a fixed β",
    )
    steps: int = Field(default=100, ge=1, description="batches of samples")
    learning_rate: float = Field(default=5e-4, gt=0, description="at its peak")
    schedule: Literal["constant", "linear", "cosine", "wsd"] = Field(
        default="linear",
        description="of the learning rate after its rise; wsd: constant up to the last fifth",
    )
    warmup_steps: int = Field(
        default=5, ge=0, description="optimizer steps over which the learning rate rises"
    )


def check_sizes(
    config: AlignConfig, settings: AlgorithmSettings, base: Loaded, prompts: list[list[int]]
) -> AlgorithmSettings:
    """The settings with as many optimizer steps as they make on a batch of such a size.

    Raises UserError, before anything is computed, for settings that cannot work together.
    """
    config.check_server(settings, config.generation)
    longest = max(len(prompt) for prompt in prompts)
    context = base.network.config.context
    if longest >= context:
        raise UserError(
            f"a prompt of {config.task} has {longest} tokens and the model's context is {context}: "
            "shorten the prompts, or pre-train with a longer `context`."
        )
    smallest = settings.sampling().smallest_group
    if config.samples_per_prompt < smallest:
        other = ", or baseline=batch" if isinstance(settings, Reinforce.Settings) else ""
        raise UserError(
            f"samples_per_prompt={config.samples_per_prompt} leaves no other answer to compare "
            f"with: give {smallest} or more{other}."
        )
    if config.algorithm == "online_dpo" and not config.kl_coefficient:
        raise UserError(
            "kl_coefficient=0 was given: it is online_dpo's β, which must be above 0 (0.1 is "
            "usual)."
        )
    if config.algorithm == "off_policy" and (config.top_k or config.top_p < 1):
        raise UserError(
            f"top_k={config.top_k}, top_p={config.top_p} were given: off_policy weighs the base's "
            "answers, and wants a probability for every token. Give top_k=0, top_p=1 and min_p=0; "
            "the temperature is free."
        )
    if isinstance(settings, SearchTeacher.Settings):
        check_search(config)
    rows = config.prompts_per_step * config.samples_per_prompt
    updates, epochs = settings.count_updates(rows)
    if updates % epochs or rows % (updates // epochs):
        raise UserError(
            f"updates_per_step={updates} in epochs={epochs} does not cut the {rows} rows of a step "
            "into equal parts: choose a multiple of epochs that divides the rows."
        )
    return settings.for_rows(rows)


def check_conversed(settings: AlgorithmSettings, task: Task) -> None:
    """Raises UserError for what asks once and cannot go on when the task answers."""
    if count_turns(task) == 1:
        return
    asks_once = "algorithm=search" if isinstance(settings, SearchTeacher.Settings) else None
    if settings.sampling().hint is not None:
        asks_once = "a hint"
    if asks_once:
        raise UserError(
            f"{asks_once} asks each prompt for one text, and {task.name} answers what it is told, "
            "turn by turn: take another algorithm, such as grpo or reinforce."
        )


def check_search(config: AlignConfig) -> None:
    """Raises UserError for fields that a search over tokens knows nothing of. By value: of a run
    that is resumed every field has been given.
    """
    usual = AlignConfig.model_fields
    for name in ("samples_per_prompt", "temperature", "top_k", "top_p", "min_p"):
        if getattr(config, name) != usual[name].default:
            raise UserError(
                f"{name}={getattr(config, name)} was given with algorithm=search, which tries the "
                "policy's own likeliest tokens and draws `simulations` answers: leave it out."
            )
    if config.server is not None or config.is_constrained:
        what = f"server={config.server}" if config.server else "a constraint"
        raise UserError(
            f"{what} was given with algorithm=search, which grows its tree in this process out of "
            "all tokens: leave it out."
        )
