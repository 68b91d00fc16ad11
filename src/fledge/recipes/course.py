"""What every run does, once: lock, lineage, speed, progress, train, judge, keep the best, test,
summary, what to do next.

    start = Start("tune", show, run)                     # the clock
    lessons = read_lessons(…)                            # what cannot be used is said at once
    with start.begin(config, parents=…, data=…) as course:              # lock, lineage
        speed = course.settle_speed(config, policy, typical)            # machine.json, compiled
        course.say("…")                                                 # what is done, and where
        course.fit(algorithm, sampler, judges, …)        # progress, checkpoints, the best kept
        save_model(course.run.model_folder, …)
        return course.finish(then="fledge …")            # test read once, summary, what to do next
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from fledge import ranks
from fledge.errors import UserError
from fledge.evaluate.judge import Judge
from fledge.generators import seed_generators
from fledge.hub.saved_parts import save_layout
from fledge.loop import Algorithm, Sampler, Stateful, Unit, train
from fledge.pace import Pace
from fledge.policy import TokenPolicy
from fledge.recipes.inputs import choose_files
from fledge.recipes.pacing import say_skipped
from fledge.recipes.speed import Share, Speed, settle_speed
from fledge.recipes.threads import threads_are_open, watch_threads
from fledge.recipes.training import TrainingConfig, trains_every_weight
from fledge.report.figures import format_value, is_share, spell_name
from fledge.rows.census import Census, summarise_rows
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.sharded import held_whole
from fledge.stopwatch import Stopwatch
from fledge.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from fledge.scale.sharding import Sharded

Summary = dict[str, Any]
LAYOUT = "layout"  # in a run whose weights are divided: its model without them, for an export


class Plan(Protocol):
    """The fields by which any run is made and goes on, of a frozen pydantic model."""

    @property
    def out(self) -> Path | None: ...
    @property
    def seed(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def evaluate_every(self) -> int | None: ...
    @property
    def save_every_s(self) -> float: ...
    def model_dump(self, *, mode: str) -> dict[str, Any]: ...


class Start:
    """A run that has been asked for, from this moment on.

    run: the one to continue, which its giver has opened and closes; None: a new one.
    """

    def __init__(self, verb: str, show: Show, run: Run | None) -> None:
        self.verb, self.show, self.run = verb, show, run
        self.began, self.stopwatch = time.perf_counter(), Stopwatch()

    @property
    def new(self) -> bool:
        return self.run is None

    @contextmanager
    def begin(
        self,
        config: Plan,
        *,
        parents: Sequence[Path] = (),
        initial: Sequence[Path] = (),
        data: Sequence[str] = (),
        copied: Sequence[str] = (),
    ) -> Iterator[Course]:
        """The run's course, made and locked if it is new, and then closed at the end of the block.

        parents: models that are read whenever the run goes on. initial: those that it only begins
            from; every weight of theirs is trained, and so in the checkpoints. data: names of rows,
            tasks, worlds and code of the user's. copied: those of texts and files that
            `keep_shards` will take into the run.

        A new run that a mistake of the user's ends before its first step is taken back: nothing of
        it could be continued. Of a run that is continued nothing is removed, whatever it lacks. The
        generators that a process shares, from which code of the user's draws, follow the seed from
        here on.
        """
        seed_generators(config.seed)
        if self.new and isinstance(config, TrainingConfig):
            check_can_be_sharded(config)
        with ExitStack() as opened:
            opened.callback(torch.set_num_threads, torch.get_num_threads())
            run = self.run
            if run is None:
                fields, out = config.model_dump(mode="json"), config.out
                if not ranks.is_first():
                    from fledge.scale.shadow import make_shadow_folder

                    out = opened.enter_context(make_shadow_folder())
                run = opened.enter_context(
                    Run.create(
                        out, self.verb, fields, seed=config.seed, parents=parents,
                        initial=initial, data=data, copied=copied, files_of=choose_files(fields),
                    )
                )  # fmt: skip
                run.began = self.began
            course = Course(self.verb, config, self.show, run, self.stopwatch)
            try:
                if ranks.world() > 1:
                    from fledge.scale.agreement import check_agreement
                    from fledge.scale.shadow import see_shards

                    check_agreement(run)
                    see_shards(run)
                yield course
            except UserError:
                if not course.on_its_way and ranks.is_first():
                    run.take_back()
                raise


class Course:
    """A run that is open for writing, from its lineage to its summary.

    last: the last evaluation, once there was one. on_its_way: whether training has begun.
    """

    def __init__(self, verb: str, config: Plan, show: Show, run: Run, stopwatch: Stopwatch) -> None:
        self.verb, self.config, self.show, self.run = verb, config, show, run
        self.stopwatch = stopwatch
        self.judges: Sequence[Judge] = ()
        self.last: dict[str, float] = {}
        self.on_its_way = False
        self.sharded: Sharded | None = None  # the network, where each rank holds a part of it
        self.pace: Pace | None = None  # how many threads compute each step, where that is chosen

    def settle_speed(
        self,
        config: TrainingConfig,
        policy: Any,  # a TokenPolicy, or what else has a `network` that learns by the share
        batch: Any,
        *,
        equal_rows: bool = False,
        beside: Sequence[TokenPolicy] = (),
        tokenizer: Tokenizer | None = None,
        share: Share | None = None,
    ) -> Speed:
        """How the run computes, kept in it; the policy's network is compiled where that is
        chosen, or divided over ranks, and those of others that are asked `beside` it. tokenizer:
        of a run whose checkpoints hold a whole model, which can be exported then. share: what a
        step costs, where it is no likelihood.
        """
        # A run that was begun with parts goes on in one process too.
        divides = ranks.world() > 1 and (config.shard == "fsdp" or config.tensor_parallel > 1)
        equal_rows &= not divides  # a compiled block has no place where its weights could come in
        watched = threads_are_open(config.threads, config.on().type)
        speed = settle_speed(
            self.run, config, policy, batch, self.show, equal_rows=equal_rows, share=share
        )
        if ranks.world() == 1:
            watched &= not speed.compiled  # another number of threads would be compiled for anew
            self.pace = watch_threads(self.run, speed.record, self.show, watched=watched)
        if divides:
            from fledge.scale.layout import lay_out
            from fledge.scale.sharding import Sharded, check_disk, check_network

            layout = lay_out(config)
            check_network(policy, layout)
            if layout.tensor == 1:  # else the first rank saves all
                check_disk(self.run.folder)
            if tokenizer is not None and ranks.is_first() and trains_every_weight(policy):
                save_layout(self.run.folder / LAYOUT, policy.network, tokenizer)
            self.sharded = Sharded(policy, config.on().type, layout, beside)
        return speed

    def with_whole_weights(self, sampler: Sampler) -> Sampler:
        """One whose batches the policy says: where its weights are divided they are gathered once
        a batch, for the engine reads whole ones.
        """
        return sampler if self.sharded is None else self.sharded.gather_for(sampler)

    def say(self, text: str) -> None:
        """What is done, and in which folder."""
        self.show.line(f"{self.verb}: {text} → {self.run.folder}")

    def fit(
        self,
        algorithm: Algorithm,
        sampler: Sampler,
        judges: Sequence[Judge] = (),
        *,
        best: Judge | None = None,
        figure: str = "loss",
        figure_unit: str = "",
        stop_at: float | None = None,
        unit: Unit = "batches",
        evaluate_every: int | None = None,
        steps: int | None = None,
        converged: Callable[[], bool] | None = None,
        beside: Mapping[str, Stateful | None] | None = None,
    ) -> None:
        """Train to the end, judged before, between and after.

        best: whose figure ranks checkpoints, by default the first judge's; an evaluation in which
            it reaches `stop_at` is the last. figure: what progress shows, in `figure_unit`. unit:
            of the run's steps. evaluate_every: of that unit, in place of the field.
        steps: in place of the field. converged: whether the algorithm has nothing more to learn.
        beside: others, by name, whose state is in the checkpoint; None has none.
        """
        self.judges, self.on_its_way = judges, True

        def judge_all(step: int) -> dict[str, float]:
            figures: dict[str, float] = {}
            for judge in judges:
                figures |= judge.steer(step)
            return figures

        def evaluate(step: int) -> dict[str, float]:
            """By the first rank, with all weights; told to the others."""
            with nullcontext() if self.sharded is None else held_whole(self.sharded.module):
                return ranks.from_first(lambda: judge_all(step))

        rank = (best or judges[0]).rank if judges else None
        steps = steps or self.config.steps
        with self.show.progress(self.verb, steps, figure, figure_unit) as watch:
            self.last = train(
                algorithm, sampler, self.run, self.stopwatch, watch, steps=steps,
                unit=unit, evaluate=evaluate if judges else None, better=rank,
                evaluate_every=evaluate_every or self.config.evaluate_every or 0,
                enough=lambda e: rank is not None and stop_at is not None and rank(e) >= stop_at,
                converged=converged, save_every_s=self.config.save_every_s,
                staged=getattr(self.config, "save", "async") == "async",
                beside={name: each for name, each in (beside or {}).items() if each is not None},
                pace=self.pace,
            )  # fmt: skip
        if self.sharded is not None:
            self.sharded.end()
        if not ranks.is_first():  # what is trained is saved and tested once
            raise ranks.Done

    @property
    def step(self) -> int:
        """The last one."""
        return int(self.last.get("step", self.config.steps))

    @property
    def first(self) -> dict[str, Any]:
        """The first row of the metrics: the evaluation before the first step, if there was one."""
        return next(self.run.metrics.each())

    def test(self) -> dict[str, float]:
        """The figures of the test part, logged: once a run, when it is trained."""
        figures: dict[str, float] = {}
        for judge in self.judges:
            figures |= judge.test()
        read_test(self.run, self.step, figures)
        return figures

    def finish(
        self,
        own: Mapping[str, Any] | None = None,
        *,
        then: str | Sequence[str],
        figures: Mapping[str, str] | None = None,
        held_out: Mapping[Any, int] | None = None,
        censuses: Sequence[Census] = (),
        test: Mapping[str, float] | None = None,
        lines: Sequence[str] = (),
    ) -> Summary:
        """Read the test part, write the summary, and say how it went and what to do next. The model
        must have been saved.

        own: what the summary has beyond that of any run. then: a command, or several. figures: what
            is compared before and after, by the name that the summary has for it; by default all
            that was judged. held_out: how many things each part holds. censuses: of the files that
            were read. test: where `test` was called already, what it gave. lines: said after those
            of the judges.
        """
        test = self.test() if test is None else test
        first = self.first
        if figures is None:
            figures = {name: name for name in self.last if name != "step"}
        compared = {name: logged for name, logged in figures.items() if logged in self.last}
        summary: Summary = {
            "verb": self.verb,
            "run": str(self.run.folder),
            "steps": self.step,
            "seconds": self.run.seconds,
            "before": {name: first[logged] for name, logged in compared.items()},
            "after": {name: self.last[logged] for name, logged in compared.items()},
            "test": dict(test),
            **({} if held_out is None else {"held_out": dict(held_out)}),
            **summarise_rows(censuses),
            **(own or {}),
        }
        self.run.finish(summary)
        say_skipped(self.run, self.show)
        for judge in self.judges:
            if judge.headline:
                self.show.line(describe_judged(self.verb, judge, first, self.last, test))
        commands = (then,) if isinstance(then, str) else then
        for line in (*lines, *(f"Next: {command}" for command in commands)):
            self.show.line(line)
        return summary


# Of fields that say how shard=fsdp divides: what they are where it does not.
UNDIVIDED = {"replicas": 1, "reshard_after_forward": True, "gather_precision": "fp32"}


def check_can_be_sharded(config: TrainingConfig) -> None:
    """Raises UserError for a run whose weights cannot be divided over ranks."""
    asked = "shard=fsdp"
    if config.shard == "none":
        for name, usual in UNDIVIDED.items():
            value = getattr(config, name)
            if value != usual:
                raise UserError(
                    f"{name}={value} was given without shard=fsdp, and every process holds all "
                    "weights already: add shard=fsdp, or leave it out."
                )
        if config.tensor_parallel == 1:
            return
        asked = f"tensor_parallel={config.tensor_parallel}"
    if ranks.world() == 1:
        raise UserError(
            f"{asked} divides a model over several processes, and there is one: start more by "
            "`torchrun --nproc-per-node N -m fledge …`, or leave it out."
        )
    from fledge.scale.layout import lay_out

    lay_out(config)
    for given, instead in (
        ("optimizer=muon", "it makes whole matrices orthogonal"),
        ("compile=yes", "weights come into a block as it begins"),
        ("critic=separate", "a second network would be held whole by every rank"),
    ):
        name, _, value = given.partition("=")
        if getattr(config, name, None) == value:
            raise UserError(f"{asked} was given with {given}: {instead}. Leave one of them out.")


def read_test(run: Run, step: float, figures: Mapping[str, float]) -> None:
    """Log the figures of the test part, which nothing was chosen by: the result of the run."""
    if figures:
        run.metrics.write(
            {"step": int(step), **{f"test_{name}": value for name, value in figures.items()}}
        )


def describe_judged(
    verb: str,
    judge: Judge,
    first: Mapping[str, float],
    last: Mapping[str, float],
    test: Mapping[str, float],
) -> str:
    """One sentence of a judge's headline."""
    name, logged = judge.headline, judge.logged
    if judge.otherwise and not any((first[logged], last[logged], test[name])):
        name, logged = judge.otherwise, f"{judge.prefix}{judge.otherwise}"
    return describe_result(
        verb, name, first[logged], last[logged], test[name],
        (judge.items["validation"], judge.items["test"]), judge.what, apart=judge.apart,
    )  # fmt: skip


def describe_result(
    verb: str,
    name: str,
    before: float,
    after: float,
    test: float,
    items: tuple[int, int],
    what: str,
    *,
    apart: bool = True,
) -> str:
    """One sentence: the test part's figure, read once, and how the one that steered rose.

    items: how many different things validation and test hold. apart: False where both are what was
        trained on.
    """
    words, rose = spell_name(name), f"{format_value(name, before)} → {format_value(name, after)}"
    validation, tested = (
        f"{number:,} {what}" if number == 1 else f"{number:,} {what}s" for number in items
    )
    if not apart:
        return (
            f"{verb}: {words} {rose} on {validation}, the same that it was trained on: none is "
            "held out."
        )
    few = say_uncertainty(test, items[1]) if is_share(name) else ""
    return (
        f"{verb}: {words} {format_value(name, test)} on {tested} of the test part, read once{few}; "
        f"{rose} on {validation} that steered."
    )


FEW = 30  # things, of which a share is told with how far the truth may be from it
NORMAL_95 = 1.96


def say_uncertainty(share: float, number: int) -> str:
    """Between what the share of all lies with 95 % confidence, of few things (Wilson 1927); "" of
    many.
    """
    if not 0 < number < FEW:
        return ""
    spread = NORMAL_95**2 / number
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return f" (so few leave {100 * low:.0f} to {100 * high:.0f} % possible)"
