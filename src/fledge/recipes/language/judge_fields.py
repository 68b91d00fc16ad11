"""The fields of recipes that take a task: how it is asked, where a task file of the user's runs,
and what it may take.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, PlainSerializer, PlainValidator

from fledge.errors import UserError
from fledge.runs.show import Show
from fledge.tasks.given import GivenTask
from fledge.tasks.own_process import Limits


def check_task_name(given: Any) -> Any:
    if given is not None and not isinstance(given, str | GivenTask):
        raise ValueError(f"give a task's name, or a file, not {given!r}")
    return given


def spell_task(task: Any) -> str | None:
    return None if task is None else str(task)


# From Python also prompts with a function that judges; a run's config.json keeps its name.
TaskName = Annotated[str, PlainValidator(check_task_name), PlainSerializer(spell_task)]
PerhapsTaskName = Annotated[
    str | None, PlainValidator(check_task_name), PlainSerializer(spell_task)
]


class JudgeFields(BaseModel):
    """Beside `task`."""

    judge_process: Literal["own", "trainer"] = Field(
        default="own",
        description=(
            "where a task file (.py) runs: in a process of its own, or without limits in the "
            "trainer's; what it keeps, a counter or a cache, is in no checkpoint"
        ),
    )
    judge_seconds: float = Field(
        default=30.0,
        gt=0,
        le=1e6,
        description=(
            "a call of its score(), scores() or reply() may take; to load it, 4 times as many"
        ),
    )
    judge_memory_gb: float = Field(
        default=4.0, gt=0, le=1e6, description="gigabytes that its process may take"
    )
    judge_failed_score: float = Field(
        default=0.0,
        description=(
            "of an answer on which the judge hangs or dies; judge_failed is the share of such "
            "answers"
        ),
    )

    def limits(self, show: Show) -> Limits | None:
        """None: no process of its own."""
        if self.judge_process == "trainer":
            return None
        return Limits(self.judge_seconds, self.judge_memory_gb, self.judge_failed_score, show.line)


class LengthFields(BaseModel):
    """Sizes of built-in tasks."""

    shortest: int | None = Field(
        default=None, ge=1, description="letters a word, digits a number, of built-in tasks"
    )
    longest: int | None = Field(
        default=None, ge=1, description="letters a word, digits a number, of built-in tasks"
    )


class AnswerFields(LengthFields, JudgeFields):
    """Answers to a task in place of data."""

    data: Any = None
    task: PerhapsTaskName = None
    max_new_tokens: int = Field(default=64, ge=1, description="of an answer (with task)")

    @property
    def source(self) -> str:
        """What is learned from, as it was given."""
        return str(self.data or self.task)

    def check_source(self, verb: str, data: str = "FILE.jsonl") -> None:
        """Raises UserError unless either data or a task was given."""
        if (self.data is None) == (self.task is None):
            raise UserError(
                f"{verb} needs either data={data} or task=NAME (such as reverse): give one of them."
            )


class QuestionFields(BaseModel):
    """Held-out prompts of a task."""

    evaluation_prompts: int = Field(
        default=256,
        ge=1,
        description=(
            "validation prompts an evaluation answers, and test prompts at the end (with task)"
        ),
    )


class EarlyStopFields(QuestionFields):
    """When to end early."""

    stop_at_exact_match: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="end as soon as an evaluation reaches this (with task)",
    )
