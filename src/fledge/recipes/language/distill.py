"""`fledge distill`: a student learns to say what a teacher says, on text, on conversations, or on a
task's prompts.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from fledge.algorithms.likelihood.distillation import Distillation
from fledge.algorithms.likelihood.supervised import Supervised
from fledge.divergence import Divergence, forward_kl, jensen_shannon, reverse_kl
from fledge.errors import UserError
from fledge.evaluate.distance import judge_student
from fledge.hub.folder import Loaded, actions, load_model, save_model
from fledge.loop import Algorithm
from fledge.models.language.recurrent import Recurrent
from fledge.models.language.transformer import Transformer
from fledge.next_command import write_command
from fledge.policy import TokenPolicy
from fledge.recipes.course import Start, Summary
from fledge.recipes.family_field import FamilyField
from fledge.recipes.language.freeze_fields import FreezeFields, describe_trainable
from fledge.recipes.language.large_defaults import DISTILL, LargeDefaults
from fledge.recipes.language.lessons import (
    LessonFields,
    Lessons,
    prepare_lessons,
    prepare_text_lessons,
)
from fledge.recipes.language.size_fields import SizeFields
from fledge.recipes.memory import list_evaluation, tell_memory
from fledge.recipes.training import LARGE, trains_every_weight
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.stopwatch import Stopwatch


class DistillConfig(FamilyField, SizeFields, FreezeFields, LessonFields):
    """Distil a teacher into a student: its distribution at every token (forward, reverse, jsd) or
    its own answers (sequence).
    """

    large: ClassVar[LargeDefaults] = DISTILL

    teacher: Path = Field(description="the run or model folder to learn from")
    student: Path | None = Field(
        default=None, description="the run or model folder that learns; by default a fresh model"
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
    model: str = Field(
        default="nano",
        description="preset of a fresh student's sizes: nano, tiny, mini, small, base, large",
    )
    context: int | None = Field(
        default=None, ge=2, le=2**20, description="tokens, in place of the teacher's"
    )


def distill(config: DistillConfig, show: Show, run: Run | None = None) -> Summary:
    """Raises UserError for a teacher, a student, data or a task that do not go together."""
    start = Start("distill", show, run)
    check_settings(config, new=start.new)
    if start.new:
        config.check_epochs()
    config.use_family()
    base = load_model(config.teacher)
    if config.kind != "sequence" and hasattr(base.network, "unembed"):
        raise UserError(
            f"kind={config.kind} compares whole distributions by a product, and {config.teacher} "
            "looks them up: give kind=sequence."
        )
    config = config.keep_family(base)
    network = make_student(config, base).to(config.on())
    teacher = base.policy().to(config.on()).requires_grad_(False).eval()
    allowed = actions(base.tokenizer, network.config.vocab_size)
    student = TokenPolicy(network, allowed).to(config.on())
    config = suit_sizes(config, base, network)
    lessons = prepare_lessons(config, teacher, student, base.tokenizer, start.stopwatch, show)
    rows = None if lessons is None else lessons.rows
    config = config.with_epochs(rows, config.rows_per_step, config.source, show)
    parents, begun_from = [base.source], [config.student] if config.student else []
    if not trains_every_weight(network):
        parents, begun_from = [*parents, *begun_from], []
    read, copied = ([], [config.source]) if lessons is None else ([config.source], [])
    with start.begin(
        config,
        parents=parents,
        initial=begun_from,
        data=[*read, *config.own_family],
        copied=copied,
    ) as course:
        if lessons is None:
            lessons = prepare_text_lessons(
                config, teacher, student, base.tokenizer, course.run, show
            )  # fmt: skip
        asked = list_evaluation(lessons.task, config, base)
        tell_memory(
            course, config, student, lessons.typical, beside=[teacher], sampling=asked
        )  # fmt: skip
        speed = course.settle_speed(
            config, student, lessons.typical, beside=[teacher], tokenizer=base.tokenizer
        )  # fmt: skip
        course.say(
            f"{config.teacher} ({base.network.config.parameters / 1e6:.2f} M parameters) into "
            f"{config.student or 'a fresh student'} ({network.config.parameters / 1e6:.2f} M"
            f"{describe_trainable(network)}) by "
            f"{config.kind}, {speed.describe()}"
        )
        beside = lessons.judge(student, course.run)
        near = judge_student(teacher, student, lessons.held_out, beside)
        measured = bool(lessons.held_out["validation"])
        sampler = lessons.sampler
        if config.task is not None:
            sampler = course.with_whole_weights(sampler)
        course.fit(
            make_algorithm(config, teacher, student, start.stopwatch, speed.precision),
            sampler, [near, replace(beside, headline="")] if measured else [],
            figure_unit=" nats", beside={"judge": lessons.task},
        )  # fmt: skip
        save_model(course.run.model_folder, network, base.tokenizer)
        own = {
            "parameters": network.config.parameters,
            "teacher": judge_teacher(lessons, teacher, course.run) if measured else {},
        }
        return course.finish(
            own, held_out=near.items, censuses=lessons.censuses,
            then=write_command("chat", base=course.run.folder),
        )  # fmt: skip


def judge_teacher(lessons: Lessons, teacher: TokenPolicy, run: Run) -> dict[str, float]:
    """What the student could reach, on the test part, by the names that the student's have."""
    judge = lessons.judge(teacher, run)
    return {f"{judge.prefix}{name}": value for name, value in judge.test().items()}


def check_settings(config: DistillConfig, *, new: bool) -> None:
    """Raises UserError for settings that do not go together."""
    config.check_source("distill", "FILE")
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
    idle = config.list_given() if new and config.student else []
    if idle:
        raise UserError(
            f"student={config.student} brings its own sizes: leave out {', '.join(idle)}."
        )


def make_student(config: DistillConfig, teacher: Loaded) -> Transformer | Recurrent:
    """The student's network, fresh or loaded. Raises UserError for one that reads other tokens, or
    other lengths, than the teacher.
    """
    if config.student is not None:
        loaded = load_model(config.student).merged()
        if loaded.tokenizer.fingerprint() != teacher.tokenizer.fingerprint():
            raise UserError(
                f"the student {config.student} has another tokenizer than {config.teacher}, so "
                "their distributions cannot be compared: leave out `student` for a fresh one, or "
                f"pre-train it with tokenizer={teacher.folder}."
            )
        network = loaded.network
        config.freeze_parts(network)
        if network.config.vocab_size != teacher.network.config.vocab_size:
            raise UserError(
                f"the student {config.student} has {network.config.vocab_size:,} rows of embedding "
                f"and {config.teacher} {teacher.network.config.vocab_size:,}: leave out `student` "
                "for a fresh one of the teacher's size."
            )
    else:
        known = teacher.network.config
        sizes = config.model_copy(update={"context": config.context or known.context})
        network = sizes.make_network(
            known.vocab_size, border=teacher.tokenizer.border, seed=config.seed, device=config.on()
        )
        if config.freeze:
            raise UserError(
                f"freeze={config.freeze} keeps weights of a student as they are, and a fresh one "
                "has none: give student=, or leave it out."
            )
    config.set_checkpointing(network)
    ours, theirs = network.config.context, teacher.network.config.context
    if config.task is not None and ours != theirs:
        raise UserError(
            f"the student's context is {ours} tokens and the teacher's {theirs}: with a task each "
            "reads the other's answers, so they must be the same."
        )
    return network


def suit_sizes(
    config: DistillConfig, teacher: Loaded, student: Transformer | Recurrent
) -> DistillConfig:
    """With the fields that were left open as they suit the larger of the two."""
    teaches, learns = (net.config.parameters for net in (teacher.network, student))
    fresh = config.student is None or learns < LARGE
    return config.large.suit(config, max(teaches, learns), adapted=False, fresh=fresh)


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
