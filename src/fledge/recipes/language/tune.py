"""`fledge tune`: instruction tuning on conversations, from a file or from a task that knows its
answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from fledge.algorithms.likelihood.supervised import Supervised
from fledge.evaluate.judge import Judge
from fledge.evaluate.judging import draw_held_out, judge_answers
from fledge.evaluate.likelihood import judge_conversations
from fledge.hub.folder import Loaded
from fledge.next_command import write_command
from fledge.policy import TokenPolicy
from fledge.recipes.course import Start, Summary
from fledge.recipes.language.adapter_fields import AdapterFields, describe_size
from fledge.recipes.language.judge_fields import AnswerFields, EarlyStopFields, PerhapsTaskName
from fledge.recipes.language.label_fields import TASKS, TuneEmbedConfig, TuneLabelsConfig
from fledge.recipes.language.large_defaults import TUNE, LargeDefaults
from fledge.recipes.language.rows import RowsConfig, divide_conversations
from fledge.recipes.language.tasks import open_task
from fledge.recipes.memory import list_evaluation, tell_memory
from fledge.recipes.training import trains_every_weight
from fledge.rows.census import Census
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.sample.conversations import (
    ConversationRows,
    Endless,
    ExampleSource,
    Shuffled,
    token_rows,
)
from fledge.splits import HeldOut
from fledge.tasks.answered import TaskRow
from fledge.tasks.named import Task, finite_rows, list_censuses
from fledge.text.packed import TokenRow
from fledge.text.tokenizer import Tokenizer


class TuneConfig(AdapterFields, EarlyStopFields, AnswerFields, RowsConfig):
    """Tune a model on conversations: likelihood of the assistant's tokens and of the token that
    ends them, nothing else.
    """

    large: ClassVar[LargeDefaults] = TUNE

    base: Path = Field(description="the run or model folder to start from")
    data: Path | None = Field(
        default=None,
        description=(
            "a .jsonl of conversations: `messages`, `conversations`, `prompt` and `completion`, or "
            "`instruction` and `output`; 'rows-*.jsonl' are several"
        ),
    )
    task: PerhapsTaskName = Field(
        default=None,
        description=(
            "in place of data: reverse, sort, numbers, add, upper, last, words (all), or a .jsonl "
            f"or .py of your own; with data, of an encoder: {', '.join(TASKS)}, whose fields "
            "`--help task=classify` shows"
        ),
    )
    rows_per_step: int = Field(default=64, ge=1, description="conversations an optimizer step")
    # Measured on 900 conversations of 20 to 740 tokens, 16 a step: 8 in place of 1 saves 8 % of
    # what is computed, and makes tokens a step differ by two thirds of their mean. A step of short
    # answers then moves the weights as far as one of long answers, so that a token of the short
    # ones counts for many: LoRA came to 1.513 nats a held-out token so, PEFT's random steps to
    # 1.492.
    window: int = Field(
        default=1,
        ge=1,
        description=(
            "steps formed together of rows of like length: faster, but tokens of short rows then "
            "weigh more than those of long ones; 1 leaves the order quite random"
        ),
    )
    max_new_tokens: int = Field(
        default=64, ge=1, description="of an answer in evaluation (with task)"
    )

    @classmethod
    def compose(
        cls, given: Mapping[str, Any]
    ) -> type[TuneConfig] | type[TuneLabelsConfig] | type[TuneEmbedConfig]:
        """The fields of the task that is given: those of an encoder's differ."""
        task = given.get("task")
        kind = TASKS.get(task) if isinstance(task, str) else None
        return kind or cls


def tune(
    config: TuneConfig | TuneLabelsConfig | TuneEmbedConfig, show: Show, run: Run | None = None
) -> Summary:
    """Raises UserError for a base, data or a task that cannot be used."""
    if not isinstance(config, TuneConfig):
        from fledge.recipes.language.tune_labels import tune_embed, tune_labels

        if isinstance(config, TuneLabelsConfig):
            return tune_labels(config, show, run)
        return tune_embed(config, show, run)
    start = Start("tune", show, run)
    config.check_source("tune")
    if start.new:
        config.check_epochs()
    base, config = config.load_base(config.base)
    lessons = read_lessons(config, base, show)
    config = config.with_epochs(lessons.size, config.rows_per_step, config.source, show)
    only_begins = trains_every_weight(base.network)
    read, begun_from = ([], [base.source]) if only_begins else ([base.source], [])
    with start.begin(
        config, parents=read, initial=begun_from, data=[config.source, *config.own_family]
    ) as course:
        policy = base.policy().to(config.on())
        typical = token_rows([lessons.rows(i) for i in range(config.rows_per_step)])
        asked = list_evaluation(lessons.task, config, base)
        tell_memory(course, config, policy, typical, sampling=asked)
        speed = course.settle_speed(config, policy, typical, tokenizer=base.tokenizer)
        course.say(f"{config.base} ({describe_size(base)}) on {config.source}, {speed.describe()}")
        sampler = ConversationRows(
            lessons.rows, rows_per_step=config.rows_per_step, seed=config.seed,
            window=config.window, rows_in_all=config.rows_in_all(lessons.size),
        )  # fmt: skip
        judge = make_judge(config, lessons, policy, base.tokenizer, course.run)
        course.fit(
            Supervised(policy, config.learner(policy, speed.precision), course.stopwatch), sampler,
            [judge] if judge.items["validation"] else [],
            figure="exact_match" if lessons.task else "loss",
            stop_at=config.stop_at_exact_match if lessons.task else None,
            beside={"judge": lessons.task},
        )  # fmt: skip
        base.save(course.run.model_folder)
        return course.finish(
            figures={judge.logged: judge.logged}, held_out=judge.items,
            censuses=lessons.censuses, then=write_command("chat", base=course.run.folder),
        )  # fmt: skip


@dataclass(frozen=True)
class Lessons:
    """Rows to train on, and what is held out: rows, or a task's prompts.

    size: of one epoch; None where the rows have no end.
    """

    rows: ExampleSource
    size: int | None
    censuses: Sequence[Census]
    held_out: dict[HeldOut, Sequence[TokenRow]]
    task: Task | None = None


def read_lessons(config: TuneConfig, base: Loaded, show: Show) -> Lessons:
    """Raises UserError for what cannot be tuned on: before there is a run."""
    context = base.network.config.context
    if config.data is not None:
        divided, censuses = divide_conversations(
            config.data, base.tokenizer, context, config.reading, show
        )
        rows = Shuffled(divided.train, config.seed)
        return Lessons(rows, len(divided.train), censuses, divided.held_out)
    task = open_task(config, base.tokenizer, context, show, answered=True)
    row = TaskRow(task, base.tokenizer, context, config.reading)
    for i in range(config.rows_per_step):
        row(i)
    return Lessons(Endless(row), finite_rows(task), list_censuses(task), {}, task)


def make_judge(
    config: TuneConfig, lessons: Lessons, policy: TokenPolicy, tokenizer: Tokenizer, run: Run
) -> Judge:
    if lessons.task is None:
        return judge_conversations(policy, lessons.held_out)
    questions = draw_held_out(lessons.task, config.evaluation_prompts)
    return judge_answers(
        policy, tokenizer, lessons.task, questions, config.max_new_tokens, run
    )  # fmt: skip
