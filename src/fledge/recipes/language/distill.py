"""`fledge distill`: a student learns to say what a teacher says, on text, on conversations, or on a
task's prompts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from fledge.algorithms.likelihood.distillation import Distillation, measure_divergence
from fledge.algorithms.likelihood.supervised import Supervised
from fledge.divergence import Divergence, forward_kl, jensen_shannon, reverse_kl
from fledge.errors import UserError
from fledge.evaluate.judging import judge_task
from fledge.evaluate.likelihood import (
    measure_conversation_loss,
    measure_held_out_loss,
    spread_windows,
)
from fledge.hub.folder import Loaded, actions, load_model, save_model
from fledge.log_prob import Decoding
from fledge.loop import Algorithm, Sampler, train
from fledge.models.language.presets import transformer_config
from fledge.models.language.transformer import Transformer
from fledge.policy import TokenPolicy
from fledge.recipes.course import describe_result, read_test
from fledge.recipes.language.judge_fields import JudgeFields
from fledge.recipes.language.rows import RowsConfig, divide_conversations, summarise_rows
from fledge.recipes.language.size_fields import check_memory
from fledge.recipes.language.tasks import open_task
from fledge.recipes.language.text_data import keep_shards, read_corpus
from fledge.recipes.pacing import say_skipped
from fledge.recipes.speed import settle_speed
from fledge.recipes.training import (
    close_what_it_opens,
    open_run,
    remove_if_it_cannot_begin,
)
from fledge.rows.census import Census
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.sample.conversations import ConversationRows, Shuffled
from fledge.sample.documents import DocumentRows, text_rows
from fledge.sample.either import Either
from fledge.sample.generate import generate
from fledge.sample.rollouts import Rollouts, build_trajectories, encode_prompt
from fledge.score.verifier import Verifier
from fledge.seeds import generator_for, seed_for
from fledge.splits import Split
from fledge.stopwatch import Stopwatch
from fledge.tasks.named import Example, Task, draw_questions, list_censuses
from fledge.text.held_out import sort_by_length
from fledge.text.packed import Row
from fledge.text.shards import TokenStream
from fledge.text.tokenizer import Tokenizer
from fledge.trajectories import Trajectories, from_rows

SIZES = (
    "layers",
    "width",
    "heads",
    "kv_heads",
    "mlp_width",
    "context",
    "tied",
    "qk_norm",
    "rope_theta",
)
AT_A_TIME = 32  # rows of an evaluation


class DistillConfig(JudgeFields, RowsConfig):
    """Distil a teacher into a student: its distribution at every token (forward, reverse, jsd) or
    its own answers (sequence).
    """

    teacher: Path = Field(description="the run or model folder to learn from")
    student: Path | None = Field(
        default=None, description="the run or model folder that learns; by default a fresh model"
    )
    data: str | None = Field(
        default=None,
        description=(
            "conversations (a .jsonl as for `fledge tune`) or text (a .txt, .md, a folder, or "
            "python, as for `fledge pretrain`)"
        ),
    )
    task: str | None = Field(
        default=None, description="in place of data: teacher and student answer this task's prompts"
    )
    shortest: int | None = Field(
        default=None, ge=1, description="letters a word, digits a number, of built-in tasks"
    )
    longest: int | None = Field(
        default=None, ge=1, description="letters a word, digits a number, of built-in tasks"
    )
    kind: Literal["sequence", "forward", "reverse", "jsd"] = Field(
        default="forward",
        description=(
            "sequence: likelihood of the teacher's answers; else a divergence per token: forward "
            "KL, reverse KL, Jensen–Shannon"
        ),
    )
    jsd_beta: float = Field(
        default=0.5, gt=0, lt=1, description="jsd: the teacher's share of the mixture"
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
    max_new_tokens: int = Field(default=64, ge=1, description="of an answer (with task)")
    evaluation_prompts: int = Field(
        default=256, ge=1, description="held-out prompts an evaluation answers (with task)"
    )
    evaluation_rows: int = Field(
        default=64, ge=1, description="rows of held-out text an evaluation reads (with text)"
    )
    model: str = Field(
        default="nano",
        description="preset of a fresh student's sizes: nano, tiny, mini, small, base, large",
    )
    layers: int | None = Field(default=None, ge=1, le=1000, description="in place of the preset's")
    width: int | None = Field(default=None, ge=2, description="in place of the preset's")
    heads: int | None = Field(default=None, ge=1, description="in place of the preset's")
    kv_heads: int | None = Field(
        default=None, ge=1, description="in place of the preset's; by default as many as heads"
    )
    mlp_width: int | None = Field(default=None, ge=1, description="in place of 8/3 of the width")
    context: int | None = Field(
        default=None, ge=2, le=2**20, description="tokens, in place of the teacher's"
    )
    tied: bool | None = Field(default=None, description="one matrix for embedding and unembedding")
    qk_norm: bool | None = Field(default=None, description="normalise queries and keys")
    rope_theta: float | None = Field(
        default=None, gt=0, description="base of the rotary frequencies"
    )


@dataclass(frozen=True)
class Lessons:
    """What the student learns from, and how far it has come."""

    sampler: Sampler
    typical: Trajectories  # a step's rows, to measure speed with
    # validation and test; both empty where nothing is held out
    held_out: dict[Split, list[Trajectories]]
    # beside the divergence
    measure: Callable[[TokenPolicy, Split, Run | None, int], dict[str, float]]
    items: dict[str, int]  # how many different prompts, conversations or windows those hold
    what: str  # one of them
    rows: int | None = None  # of one epoch; None where the lessons have no end
    files: Sequence[Census] = ()
    task: Task | None = None


@close_what_it_opens
def distill(
    config: DistillConfig, show: Show, run: Run | None, opened: ExitStack
) -> dict[str, Any]:
    """Raises UserError for a teacher, a student, data or a task that do not go together."""
    began = time.perf_counter()
    check_settings(config, new=run is None)
    if run is None:
        config.check_epochs()
    base = load_model(config.teacher)
    tokenizer = base.tokenizer
    network = make_student(config, base).to(config.on())
    teacher = base.policy().to(config.on()).requires_grad_(False).eval()
    student = TokenPolicy(network, actions(tokenizer, network.config.vocab_size)).to(config.on())
    stopwatch = Stopwatch()
    lessons = None
    if config.task is not None:
        lessons = prepare_task_lessons(config, teacher, student, tokenizer, stopwatch, show)
    elif is_conversations(config):
        lessons = prepare_conversation_lessons(config, teacher, student, tokenizer, show)
    rows = lessons.rows if lessons is not None else None
    config = config.with_epochs(rows, config.rows_per_step, str(config.data or config.task), show)
    parents = [*([config.student] if config.student else []), config.teacher]
    given = [str(config.data or config.task)]
    of_text = lessons is None
    run = open_run(
        run,
        opened,
        "distill",
        config,
        began,
        parents=parents,
        data=[] if of_text else given,
        copied=given if of_text else [],
    )
    if lessons is None:
        with remove_if_it_cannot_begin(run):
            lessons = prepare_text_lessons(config, teacher, student, tokenizer, run, show)
    precision = settle_speed(run, config, student, lessons.typical, show).precision
    show.line(
        f"distill: {config.teacher} ({base.network.config.parameters / 1e6:.2f} M parameters) into "
        f"{config.student or 'a fresh student'} ({network.config.parameters / 1e6:.2f} M) by "
        f"{config.kind}, {precision} → {run.folder}"
    )

    def evaluate(step: int) -> dict[str, float]:
        divergence = measure_kl(teacher, student, lessons.held_out["validation"])
        return {"teacher_kl": divergence} | lessons.measure(student, "validation", run, step)

    algorithm = make_algorithm(config, teacher, student, stopwatch, precision)
    with show.progress("distill", config.steps, "loss", " nats") as watch:
        last = train(
            algorithm, lessons.sampler, run, stopwatch, watch, steps=config.steps,
            evaluate=evaluate if lessons.held_out["validation"] else None,
            evaluate_every=config.evaluate_every, better=lambda e: -e["teacher_kl"],
            save_every_s=config.save_every_s,
            beside={"judge": lessons.task} if lessons.task is not None else {},
        )  # fmt: skip
    save_model(run.model_folder, network, tokenizer)
    measured = bool(lessons.held_out["test"])
    test = (
        {"teacher_kl": measure_kl(teacher, student, lessons.held_out["test"])} if measured else {}
    )
    if measured:
        test |= {
            name.removeprefix("validation_"): value
            for name, value in lessons.measure(student, "test", None, 0).items()
        }
    read_test(run, config.steps, test)
    first, figures = next(run.metrics.each()), [name for name in last if name != "step"]
    summary = {
        "verb": "distill",
        "run": str(run.folder),
        "steps": config.steps,
        "seconds": run.seconds,
        "parameters": network.config.parameters,
        "teacher": lessons.measure(teacher, "test", None, 0) if measured else {},
        "before": {name: first[name] for name in figures},
        "after": {name: last[name] for name in figures},
        "test": test,
        "held_out": lessons.items,
        **summarise_rows(lessons.files),
    }
    run.finish(summary)
    say_skipped(run, show)
    if figures:
        name, items = "teacher_kl", (lessons.items["validation"], lessons.items["test"])
        show.line(
            describe_result(
                "distill",
                name,
                first[name],
                last[name],
                test[name],
                items,
                lessons.what,
                apart=lessons.task is None or lessons.task.holds_out,
            )
        )
    show.line(f"Next: fledge chat base={run.folder}")
    return summary


def check_settings(config: DistillConfig, *, new: bool) -> None:
    """Raises UserError for settings that do not go together."""
    if (config.data is None) == (config.task is None):
        raise UserError(
            "distill needs either data=FILE or task=NAME (such as reverse): give one of them."
        )
    if config.kind == "sequence" and config.on_policy:
        raise UserError(
            "kind=sequence learns the teacher's own answers, on_policy=… the student's: choose "
            "forward, reverse or jsd."
        )
    if config.data is not None and (config.kind == "sequence" or config.on_policy):
        what = "kind=sequence" if config.kind == "sequence" else "on_policy"
        raise UserError(
            f"{what} needs prompts to answer: give task=NAME or task=FILE.jsonl in place of data."
        )
    idle = sorted(config.model_fields_set & {*SIZES, "model"}) if new and config.student else []
    if idle:
        raise UserError(
            f"student={config.student} brings its own sizes: leave out {', '.join(idle)}."
        )


def make_student(config: DistillConfig, teacher: Loaded) -> Transformer:
    """The student's network, fresh or loaded. Raises UserError for one that reads other tokens, or
    other lengths, than the teacher.
    """
    if config.student is not None:
        loaded = load_model(config.student)
        if loaded.tokenizer.fingerprint() != teacher.tokenizer.fingerprint():
            raise UserError(
                f"the student {config.student} has another tokenizer than {config.teacher}, so "
                "their distributions cannot be compared: leave out `student` for a fresh one, or "
                f"pre-train it with tokenizer={teacher.folder}."
            )
        network = loaded.network
        if network.config.vocab_size != teacher.network.config.vocab_size:
            raise UserError(
                f"the student {config.student} has {network.config.vocab_size:,} rows of embedding "
                f"and {config.teacher} {teacher.network.config.vocab_size:,}: leave out `student` "
                "for a fresh one of the teacher's size."
            )
    else:
        given = {name: getattr(config, name) for name in SIZES}
        given["context"] = config.context or teacher.network.config.context
        sizes = transformer_config(config.model, teacher.network.config.vocab_size, **given)
        check_memory(sizes, config.on())
        generator = generator_for(config.seed, "weights")
        network = Transformer(sizes, border=teacher.tokenizer.begin, generator=generator)
    ours, theirs = network.config.context, teacher.network.config.context
    if config.task is not None and ours != theirs:
        raise UserError(
            f"the student's context is {ours} tokens and the teacher's {theirs}: with a task each "
            "reads the other's answers, so they must be the same."
        )
    return network


def make_algorithm(
    config: DistillConfig,
    teacher: TokenPolicy,
    student: TokenPolicy,
    stopwatch: Stopwatch,
    precision: str,
) -> Algorithm:
    learner = config.learner(student, precision)
    if config.kind == "sequence":
        return Supervised(student, learner, stopwatch)
    kinds: dict[str, Divergence] = {
        "forward": forward_kl,
        "reverse": reverse_kl,
        "jsd": partial(jensen_shannon, beta=config.jsd_beta),
    }
    return Distillation(student, learner, stopwatch, teacher=teacher, kind=kinds[config.kind])


def is_conversations(config: DistillConfig) -> bool:
    return config.data is not None and config.data.lower().removesuffix(".gz").endswith(".jsonl")


def prepare_task_lessons(
    config: DistillConfig,
    teacher: TokenPolicy,
    student: TokenPolicy,
    tokenizer: Tokenizer,
    stopwatch: Stopwatch,
    show: Show,
) -> Lessons:
    """Answers of teacher and student to the task's prompts; held out are the teacher's to the test
    split's.
    """
    assert config.task is not None
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
    questions: dict[Split, list[Example]] = {
        split: draw_questions(task, split, config.evaluation_prompts)
        for split in ("validation", "test")
    }
    held_out: dict[Split, Trajectories] = {}
    for split, examples in questions.items():
        completions = generate(
            teacher, [encode_prompt(tokenizer, example.prompt) for example in examples],
            max_new_tokens=config.max_new_tokens, stop=tokenizer.end,
            generator=generator_for(config.seed, "evaluation", f"teacher {split}"),
        )  # fmt: skip
        held_out[split] = build_trajectories(
            completions, [0.0] * len(examples), list(range(len(examples)))
        )

    def measure(policy: TokenPolicy, split: Split, run: Run | None, step: int) -> dict[str, float]:
        return judge_task(
            policy, tokenizer, task, questions[split], config.max_new_tokens, run, step
        )

    return Lessons(
        sampler, held_out["validation"][: config.rows_per_step],
        {split: cut_in_pieces(rows) for split, rows in held_out.items()}, measure,
        {split: len(examples) for split, examples in questions.items()}, "prompt", None,
        list_censuses(task), task,
    )  # fmt: skip


def prepare_conversation_lessons(
    config: DistillConfig,
    teacher: TokenPolicy,
    student: TokenPolicy,
    tokenizer: Tokenizer,
    show: Show,
) -> Lessons:
    """The assistant's tokens in a file of conversations, as `fledge tune` reads it."""
    context = min(policy.network.config.context for policy in (teacher, student))
    divided, census = divide_conversations(
        Path(config.data or ""), tokenizer, context, config.reading, show
    )
    rows = Shuffled(divided.train, config.seed)
    some = [rows(i) for i in range(config.rows_per_step)]
    kept: dict[Split, Sequence[Row]] = {
        "validation": sort_by_length(divided.validation), "test": sort_by_length(divided.test),
    }  # fmt: skip
    held_out: dict[Split, list[Trajectories]] = {}
    for split, part in kept.items():
        pieces = [part[a : a + AT_A_TIME] for a in range(0, len(part), AT_A_TIME)]
        held_out[split] = [
            from_rows([ids for ids, _ in piece], [own for _, own in piece]) for piece in pieces
        ]
    return Lessons(
        ConversationRows(
            rows,
            rows_per_step=config.rows_per_step,
            seed=config.seed,
            rows_in_all=config.rows_in_all(len(divided.train)),
        ),
        from_rows([ids for ids, _ in some], [own for _, own in some]),
        held_out,
        lambda policy, split, run, step: {
            "validation_loss": measure_conversation_loss(policy, kept[split])
        },
        {split: len(part) for split, part in kept.items()},
        "row",
        len(divided.train),
        [census],
    )


def prepare_text_lessons(
    config: DistillConfig,
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
    shards = run.folder / "shards"
    keep_shards(shards, lambda: read_corpus(config.data or "", show.line), tokenizer, show.line)
    stream = TokenStream(shards, "train")
    documents = partial(
        DocumentRows,
        stream,
        tokenizer.begin,
        rows_per_step=config.rows_per_step,
        context=context,
        seed=config.seed,
    )
    kept: dict[Split, TokenStream] = {
        split: TokenStream(shards, split) for split in ("validation", "test")
    }
    kept_rows: dict[Split, torch.Tensor] = {}
    for split, text in kept.items():
        length = min(context, len(text) - 1)
        if length < 1:
            raise UserError(
                f"the {split} part of {config.data} has {len(text)} tokens: give more text."
            )
        starts = spread_windows(text, length, config.evaluation_rows)
        kept_rows[split] = torch.stack(
            [torch.from_numpy(text[start : start + length + 1]) for start in starts]
        )

    def measure(policy: TokenPolicy, split: Split, run: Run | None, step: int) -> dict[str, float]:
        length = kept_rows[split].shape[1] - 1
        loss, bits = measure_held_out_loss(
            policy, kept[split], tokenizer, length, config.evaluation_rows
        )
        return {"validation_loss": loss, "validation_bits_per_byte": bits}

    held_out: dict[Split, list[Trajectories]] = {
        split: cut_in_pieces(text_rows(rows, tokenizer.begin)) for split, rows in kept_rows.items()
    }
    return Lessons(
        documents(), next(documents()), held_out, measure,
        {split: len(rows) for split, rows in kept_rows.items()}, "window",
    )  # fmt: skip


def cut_in_pieces(rows: Trajectories) -> list[Trajectories]:
    return [rows[a : a + AT_A_TIME].trim() for a in range(0, len(rows), AT_A_TIME)]


@torch.no_grad()
def measure_kl(teacher: TokenPolicy, student: TokenPolicy, rows: list[Trajectories]) -> float:
    """KL(teacher‖student) in nats per chosen token, over the actions."""
    nats, tokens = 0.0, 0
    for piece in rows:
        part = piece.to(student.network.unembedding.device)
        nats += float(measure_divergence(forward_kl, teacher, student, part).double().sum())
        tokens += int(part.chosen.sum())
    if not tokens:
        raise UserError(
            "no held-out row has a chosen token: there is nothing to compare teacher and student "
            "by."
        )
    return nats / tokens
