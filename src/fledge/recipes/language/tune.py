"""`fledge tune`: instruction tuning on conversations, from a file or from a task that knows its
answers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from fledge.algorithms.likelihood.supervised import Supervised
from fledge.errors import UserError
from fledge.evaluate.judging import draw_questions, judge_task
from fledge.hub.folder import actions, load_model, save_model
from fledge.loop import train
from fledge.policy import TokenPolicy
from fledge.recipes.language.held_out import Divided, describe_result, divide_rows, read_test, take
from fledge.recipes.language.judge_fields import JudgeFields
from fledge.recipes.language.rows import RowsConfig, summarise_rows, tell
from fledge.recipes.language.tasks import open_task, render_example
from fledge.recipes.pacing import say_skipped
from fledge.recipes.speed import choose_speed
from fledge.recipes.training import close_what_it_opens, open_run
from fledge.rows.census import Census, Reading, Unusable
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.sample.conversations import ConversationRows, Endless, Rows, Shuffled
from fledge.stopwatch import Stopwatch
from fledge.tasks.named import Task, finite_rows, list_censuses
from fledge.text.conversations import read_conversations
from fledge.text.fitting import fit
from fledge.text.packed import Row
from fledge.text.tokenizer import Tokenizer
from fledge.trajectories import from_rows


class TuneConfig(JudgeFields, RowsConfig):
    """Tune a model on conversations: likelihood of the assistant's tokens and of the token that
    ends them, nothing else.
    """

    base: Path = Field(description="the run or model folder to start from")
    data: Path | None = Field(
        default=None,
        description=(
            "a .jsonl of conversations: `messages`, `conversations`, `prompt` and `completion`, or "
            "`instruction` and `output`"
        ),
    )
    task: str | None = Field(
        default=None,
        description=(
            "in place of data: reverse, sort, numbers, add, upper, last, words (all), or a .jsonl "
            "or .py of your own"
        ),
    )
    shortest: int | None = Field(
        default=None, ge=1, description="letters a word, digits a number, of built-in tasks"
    )
    longest: int | None = Field(
        default=None, ge=1, description="letters a word, digits a number, of built-in tasks"
    )
    rows_per_step: int = Field(default=64, ge=1, description="conversations an optimizer step")
    window: int = Field(
        default=8,
        ge=1,
        description="steps formed together of rows of like length; 1 leaves the order quite random",
    )
    stop_at_exact_match: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="end as soon as an evaluation reaches this (with task)",
    )
    evaluation_prompts: int = Field(
        default=256,
        ge=1,
        description=(
            "validation prompts an evaluation answers, and test prompts at the end (with task)"
        ),
    )
    max_new_tokens: int = Field(
        default=64, ge=1, description="of an answer in evaluation (with task)"
    )


@close_what_it_opens
def tune(config: TuneConfig, show: Show, run: Run | None, opened: ExitStack) -> dict[str, Any]:
    """Raises UserError for a base, data or a task that cannot be used."""
    began = time.perf_counter()
    if (config.data is None) == (config.task is None):
        raise UserError(
            "tune needs either data=FILE.jsonl or task=NAME (such as reverse): give one of them."
        )
    if run is None:
        config.check_epochs()
    base = load_model(config.base)
    network, tokenizer = base.network.to(config.on()), base.tokenizer
    task = None
    data = None
    if config.task is not None:
        task = open_task(config, tokenizer, network.config.context, show, answered=True)
        row, files, size = (
            TaskRow(task, tokenizer, network.config.context, config.reading),
            list_censuses(task),
            finite_rows(task),
        )  # fmt: skip
        for i in range(config.rows_per_step):
            row(i)  # what cannot be tuned on is said before there is a run
        rows: Rows = Endless(row)
    else:
        assert config.data is not None
        data, census = divide_conversations(
            config.data, tokenizer, network.config.context, config.reading, show
        )
        rows, files, size = Shuffled(data.train, config.seed), [census], len(data.train)
    config = config.with_epochs(size, config.rows_per_step, str(config.data or config.task), show)
    given = [str(config.data or config.task)]
    run = open_run(run, opened, "tune", config, began, parents=[config.base], data=given)
    sampler = ConversationRows(
        rows, rows_per_step=config.rows_per_step, seed=config.seed, window=config.window,
        rows_in_all=config.rows_in_all(size),
    )  # fmt: skip

    policy = TokenPolicy(network, actions(tokenizer, network.config.vocab_size)).to(config.on())
    some = [rows(i) for i in range(config.rows_per_step)]
    typical = from_rows([ids for ids, _ in some], [own for _, own in some])
    precision = choose_speed(run, config, policy, typical, show)
    stopwatch = Stopwatch()
    show.line(f"tune: {config.base} on {config.data or config.task}, {precision} → {run.folder}")

    steering = (
        draw_questions(task, "validation", config.evaluation_prompts) if task is not None else []
    )

    def evaluate(step: int) -> dict[str, float]:
        if task is not None:
            return judge_task(policy, tokenizer, task, steering, config.max_new_tokens, run, step)
        assert data is not None
        return {"validation_loss": measure_conversation_loss(policy, data.validation)}

    def better(evaluation: dict[str, float]) -> float:
        return evaluation["exact_match"] if task is not None else -evaluation["validation_loss"]

    def enough(evaluation: dict[str, float]) -> bool:
        return (
            config.stop_at_exact_match is not None
            and evaluation.get("exact_match", 0.0) >= config.stop_at_exact_match
        )

    judged = task is not None or (data is not None and data.validation)
    with show.progress("tune", config.steps, "exact_match" if task else "loss") as watch:
        last = train(
            Supervised(policy, config.learner(policy, precision), stopwatch), sampler, run,
            stopwatch, watch, steps=config.steps, evaluate=evaluate if judged else None,
            evaluate_every=config.evaluate_every, better=better, enough=enough,
            save_every_s=config.save_every_s, beside={"judge": task} if task is not None else {},
        )  # fmt: skip
    save_model(run.model_folder, network, tokenizer)
    if task is not None:
        tested = draw_questions(task, "test", config.evaluation_prompts)
        test, items = (
            judge_task(policy, tokenizer, task, tested, config.max_new_tokens),
            (len(steering), len(tested)),
        )
    else:
        assert data is not None
        test = {"loss": measure_conversation_loss(policy, data.test)} if data.test else {}
        items = (len(data.validation), len(data.test))
    read_test(run, last.get("step", config.steps), test)
    figures = [name for name in ("exact_match", "validation_loss") if name in last]
    first = next(run.metrics.each())
    summary = {
        "verb": "tune",
        "run": str(run.folder),
        "steps": int(last["step"]) if last else config.steps,
        "seconds": run.seconds,
        "before": {name: first[name] for name in figures},
        "after": {name: last[name] for name in figures},
        "test": test,
        "held_out": dict(zip(("validation", "test"), items, strict=True)),
        **summarise_rows(files),
    }
    run.finish(summary)
    say_skipped(run, show)
    for name in figures:
        read, what = test[name.removeprefix("validation_")], "prompt" if task is not None else "row"
        apart = task is None or task.holds_out
        show.line(
            describe_result(
                "tune",
                name.removeprefix("validation_"),
                first[name],
                last[name],
                read,
                items,
                what,
                apart=apart,
            )
        )
    show.line(f"Next: fledge chat base={run.folder}")
    return summary


class TaskRow:
    """Example i of a task's training split, asked and answered, as a row that fits the context."""

    def __init__(self, task: Task, tokenizer: Tokenizer, context: int, reading: Reading) -> None:
        self.task, self.tokenizer, self.context = task, tokenizer, context
        self.census = Census(task.name, reading)

    def __call__(self, index: int) -> Row:
        example = self.task.example(index, "train")
        if example.answer is None:
            raise UserError(
                f"the task {example.task} has no answer to {example.prompt!r}: tuning needs "
                "answers, aligning only a score."
            )
        row = render_example(self.tokenizer, example)
        try:
            return fit(row, self.context, self.census)
        except Unusable:
            raise UserError(
                f"an example of {example.task} has {len(row[0])} tokens and the model's context is "
                f"{self.context}: shorten it, or pre-train with a longer `context`."
            ) from None


def divide_conversations(
    path: Path, tokenizer: Tokenizer, context: int, reading: Reading, show: Show
) -> tuple[Divided[Row], Census]:
    """Rows to train on and rows held out, prompt by prompt. Raises UserError as
    `read_conversations` does.
    """
    rows, census = read_conversations(path, tokenizer, context, reading)
    tell([census], show)
    divided = divide_rows(rows, lambda row: row, tokenizer)
    if divided.note:
        show.line(f"{path}: {divided.note}.")
    return divided, census


def sort_by_length(rows: Sequence[Row]) -> Sequence[Row]:
    """The shortest first."""
    return take(rows, sorted(range(len(rows)), key=lambda place: len(rows[place][0])))


@torch.no_grad()
def measure_conversation_loss(
    policy: TokenPolicy, rows: Sequence[Row], at_a_time: int = 32
) -> float:
    """Mean nats per trained token over held-out rows. Raises UserError where there is none: 0 would
    be a perfect score.
    """
    nats, tokens = 0.0, 0
    ordered = sort_by_length(rows)
    for a in range(0, len(ordered), at_a_time):
        part = ordered[a : a + at_a_time]
        batch = from_rows([ids for ids, _ in part], [own for _, own in part]).to(
            policy.network.unembedding.device
        )
        nats -= float(policy.log_prob(batch.obs, batch.action, batch.chosen).double().sum())
        tokens += int(batch.chosen.sum())
    if not tokens:
        raise UserError(
            f"none of the {len(rows)} held-out rows has a token that is trained: there is nothing "
            "to measure."
        )
    return nats / tokens
