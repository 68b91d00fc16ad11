"""What a student learns from, and where its teacher is held against it: a task's prompts,
conversations, or running text.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import Field

from fledge.evaluate.judge import Judge
from fledge.evaluate.judging import draw_held_out, judge_answers
from fledge.evaluate.likelihood import judge_conversations, judge_text, read_windows
from fledge.log_prob import Decoding
from fledge.loop import Sampler
from fledge.micro_batches import cut_in_order
from fledge.policy import TokenPolicy
from fledge.recipes.language.judge_fields import AnswerFields, PerhapsTaskName, QuestionFields
from fledge.recipes.language.rows import RowsConfig, divide_conversations
from fledge.recipes.language.tasks import open_task
from fledge.recipes.language.text_data import keep_text, read_corpus
from fledge.rows.census import Census
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.sample.conversations import ConversationRows, Shuffled, token_rows
from fledge.sample.conversing import answer_task
from fledge.sample.documents import DocumentRows
from fledge.sample.either import Either
from fledge.sample.rollouts import Rollouts, build_trajectories
from fledge.score.verifier import Verifier
from fledge.seeds import generator_for, seed_for
from fledge.splits import HELD_OUT, HeldOut
from fledge.stopwatch import Stopwatch
from fledge.tasks.named import Example, Task, list_censuses
from fledge.text.held_out import sort_by_length
from fledge.text.packed import TokenRow
from fledge.text.tokenizer import Tokenizer
from fledge.trajectories import Trajectories

Pieces = Mapping[HeldOut, Sequence[Trajectories]]


class LessonFields(QuestionFields, AnswerFields, RowsConfig):
    """What is learned from."""

    data: str | None = Field(
        default=None,
        description=(
            "conversations (a .jsonl as for `fledge tune`) or text (a .txt, .md, a folder, or "
            "python, as for `fledge pretrain`)"
        ),
    )
    task: PerhapsTaskName = Field(
        default=None, description="in place of data: teacher and student answer this task's prompts"
    )
    on_policy: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of the steps whose answers are the student's own (GKD; with task)",
    )
    teacher_temperature: float = Field(
        default=1.0,
        ge=0,
        description="of the answers the teacher samples; 0: its likeliest ones (with task)",
    )
    rows_per_step: int = Field(
        default=64,
        ge=1,
        description="rows an optimizer step: answers, conversations or windows of text",
    )
    evaluation_rows: int = Field(
        default=64, ge=1, description="rows of held-out text an evaluation reads (with text)"
    )


@dataclass(frozen=True)
class Lessons:
    """typical: a step's rows, to measure speed with. held_out: pieces of rows on which teacher and
    student are compared; both parts empty where nothing is held out. judge: of either of them,
    beside that.

    rows: of one epoch; None where the lessons have no end.
    """

    sampler: Sampler
    typical: Trajectories
    held_out: Pieces
    judge: Callable[[TokenPolicy, Run], Judge]
    rows: int | None = None
    censuses: Sequence[Census] = ()
    task: Task | None = None


def prepare_lessons(
    config: LessonFields,
    teacher: TokenPolicy,
    student: TokenPolicy,
    tokenizer: Tokenizer,
    stopwatch: Stopwatch,
    show: Show,
) -> Lessons | None:
    """Of a task or a file of conversations; None of running text, which is kept in the run."""
    if config.data is None:
        return prepare_task_lessons(config, teacher, student, tokenizer, stopwatch, show)
    if config.data.lower().removesuffix(".gz").endswith(".jsonl"):
        return prepare_conversation_lessons(config, teacher, student, tokenizer, show)
    return None


def prepare_task_lessons(
    config: LessonFields,
    teacher: TokenPolicy,
    student: TokenPolicy,
    tokenizer: Tokenizer,
    stopwatch: Stopwatch,
    show: Show,
) -> Lessons:
    """Answers of teacher and student to the task's prompts; compared on the teacher's to those held
    out.
    """
    task = open_task(config, tokenizer, teacher.network.config.context, show)
    rollouts = partial(
        Rollouts, tokenizer=tokenizer, task=task, scorer=Verifier(task), stopwatch=stopwatch,
        prompts_per_step=config.rows_per_step, samples_per_prompt=1,
        max_new_tokens=config.max_new_tokens,
    )  # fmt: skip
    speaker = teacher.with_rule(Decoding(temperature=config.teacher_temperature))
    sampler = Either(
        rollouts(student, seed=seed_for(config.seed, "samples", "student")),
        rollouts(speaker, seed=config.seed), names=("student", "teacher"), share=config.on_policy,
        seed=config.seed,
    )  # fmt: skip
    questions = draw_held_out(task, config.evaluation_prompts)
    answers: dict[HeldOut, Trajectories] = {
        part: answer(config, teacher, tokenizer, task, part, examples)
        for part, examples in questions.items()
    }

    def judge(policy: TokenPolicy, run: Run) -> Judge:
        return judge_answers(policy, tokenizer, task, questions, config.max_new_tokens, run)

    pieces: Pieces = {part: cut_in_pieces(rows) for part, rows in answers.items()}
    return Lessons(
        sampler, answers["validation"][: config.rows_per_step], pieces, judge,
        censuses=list_censuses(task), task=task,
    )  # fmt: skip


def answer(
    config: LessonFields,
    teacher: TokenPolicy,
    tokenizer: Tokenizer,
    task: Task,
    part: HeldOut,
    examples: Sequence[Example],
) -> Trajectories:
    """What the teacher samples to each."""
    completions = answer_task(
        teacher, tokenizer, task, examples, max_new_tokens=config.max_new_tokens,
        generator=generator_for(config.seed, "evaluation", f"teacher {part}"),
    )  # fmt: skip
    return build_trajectories(completions, [0.0] * len(examples), list(range(len(examples))))


def prepare_conversation_lessons(
    config: LessonFields,
    teacher: TokenPolicy,
    student: TokenPolicy,
    tokenizer: Tokenizer,
    show: Show,
) -> Lessons:
    """The assistant's tokens in a file of conversations, as `fledge tune` reads it."""
    context = min(policy.network.config.context for policy in (teacher, student))
    divided, censuses = divide_conversations(
        Path(config.data or ""), tokenizer, context, config.reading, show
    )
    rows = Shuffled(divided.train, config.seed)
    held_out: dict[HeldOut, Sequence[TokenRow]] = {
        part: sort_by_length(kept) for part, kept in divided.held_out.items()
    }
    sampler = ConversationRows(
        rows, rows_per_step=config.rows_per_step, seed=config.seed,
        rows_in_all=config.rows_in_all(len(divided.train)),
    )  # fmt: skip
    pieces: Pieces = {
        part: [token_rows(kept[some]) for some in cut_in_order(len(row) for row, _ in kept)]
        for part, kept in held_out.items()
    }
    return Lessons(
        sampler, token_rows([rows(i) for i in range(config.rows_per_step)]), pieces,
        lambda policy, run: judge_conversations(policy, held_out), len(divided.train), censuses,
    )  # fmt: skip


def prepare_text_lessons(
    config: LessonFields,
    teacher: TokenPolicy,
    student: TokenPolicy,
    tokenizer: Tokenizer,
    run: Run,
    show: Show,
) -> Lessons:
    """Windows of running text, every token of them, as `fledge pretrain` reads it; written into the
    run the first time.
    """
    context = min(policy.network.config.context for policy in (teacher, student))
    corpus = lambda: read_corpus(config.data or "", show.line)  # noqa: E731
    text = keep_text(run, corpus, tokenizer, show.line)
    sampler = DocumentRows(
        text["train"], tokenizer.begin, rows_per_step=config.rows_per_step, context=context,
        seed=config.seed,
    )  # fmt: skip
    pieces: Pieces = {
        part: [
            rows.trim()
            for rows in read_windows(text[part], context, config.evaluation_rows, tokenizer.begin)
        ]
        for part in HELD_OUT
    }

    def judge(policy: TokenPolicy, run: Run) -> Judge:
        return judge_text(policy, text, tokenizer, context, config.evaluation_rows)

    # its first batch, which it has yet to give
    return Lessons(sampler, next(copy.copy(sampler)), pieces, judge)


def cut_in_pieces(rows: Trajectories) -> list[Trajectories]:
    steps = rows.lengths.squeeze(1).tolist()
    return [rows[some].trim() for some in cut_in_order(steps)]
