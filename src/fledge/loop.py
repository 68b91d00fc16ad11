"""The only `while`: take a batch, update, log, evaluate, save, resume."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType, MappingProxyType
from typing import Any, Literal, Protocol

from fledge import ranks
from fledge.errors import UserError
from fledge.generators import generator_state, restore_generators
from fledge.next_command import write_command
from fledge.pace import Pace
from fledge.runs.folder import Run
from fledge.runs.landmarks import Landmarks
from fledge.runs.saving import Saving
from fledge.step_exchange import hear, take, telling
from fledge.stopwatch import Stopwatch
from fledge.system_errors import out_of_memory

# What a run is counted in: batches, or what was done in them (tokens in language, steps in worlds).
Unit = Literal["batches", "actions"]


class Batch(Protocol):
    """What a run that is counted in actions asks of a batch."""

    def count_actions(self) -> int: ...


class Algorithm(Protocol):
    """`unfinished` is the batch an update was in the middle of when it was saved, or None."""

    @property
    def unfinished(self) -> Any: ...
    def update(self, batch: Any, between_steps: Callable[[], None] = ...) -> dict[str, float]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class Sampler(Protocol):
    """An endless iterator of batches; `figures` describe the last one."""

    figures: dict[str, float]

    def __next__(self) -> Any: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class Stateful(Protocol):
    """Whatever else draws or counts."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class Watcher(Protocol):
    """Whoever shows progress to a person."""

    def step(self, step: int, figures: Mapping[str, float]) -> None: ...
    def line(self, text: str) -> None: ...


class Interrupted(Exception):
    """A signal asked the run to stop: the step in hand is finished and saved."""

    def __init__(self, folder: str, step: int, number: int) -> None:
        super().__init__(
            f"stopped after step {step} and saved. Continue with: {write_command('resume', folder)}"
        )
        self.step, self.number, self.exit_code = step, number, 128 + number

    def of(self, folder: str) -> Interrupted:
        """The same, where the run is a part of another: that is the one to continue."""
        return Interrupted(folder, self.step, self.number)


@contextmanager
def _signals(tell: Callable[[str], None]) -> Iterator[list[int]]:
    """SIGINT and SIGTERM are noted, not obeyed at once, and whoever sent one is told so; a second
    one of either kills as usual.

    Python hears signals in the main thread alone: a run in another thread is left to whoever
    started it.
    """
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return
    before: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        signal.signal(number, before[number])
        again = "Ctrl-C once more" if number == signal.SIGINT else "the same signal once more"
        with suppress(RuntimeError):  # the signal came in the middle of another line
            tell(f"stopping after the step in hand, which is then saved; {again} stops at once.")

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, note)
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train(
    algorithm: Algorithm,
    sampler: Sampler,
    run: Run,
    stopwatch: Stopwatch,
    watcher: Watcher,
    *,
    steps: int,
    unit: Unit = "batches",
    evaluate: Callable[[int], dict[str, float]] | None = None,
    evaluate_every: int = 0,
    better: Callable[[dict[str, float]], float] | None = None,
    enough: Callable[[dict[str, float]], bool] | None = None,
    converged: Callable[[], bool] | None = None,
    save_every_s: float = 30.0,
    staged: bool = True,
    beside: Mapping[str, Stateful] = MappingProxyType({}),
    pace: Pace | None = None,
) -> dict[str, float]:
    """Run the algorithm for `steps` of the unit, or until an evaluation is `enough` or the
    algorithm has `converged`; returns the last evaluation.

    Evaluates before the first update, after each that passes a multiple of `evaluate_every` of the
    unit (0: never between) and at the end. `watcher` is told how far the run is, in the unit;
    `evaluate` is given the number of updates. Saves every `save_every_s`
    seconds and at the end, while training goes on unless `staged` is False: when it saves never
    changes what is computed. If the run has a
    checkpoint, continues from it, and ends with the same bits as if it had never stopped; `beside`
    are others, by name, whose state is in the checkpoint. pace: says with how many threads each
    update is computed. Raises Interrupted after SIGINT or SIGTERM, when the optimizer step in hand
    is done and saved.
    """
    saving = Saving(run.checkpoints, staged=staged)
    way = _Way(
        algorithm, sampler, run, saving, stopwatch, watcher, steps, unit, beside, evaluate, better,
        enough, converged, pace,
    )  # fmt: skip
    continued = way.restore()
    if pace is not None:  # what is judged before the next update was made by the last
        pace.begin(max(1, way.step))
    saved = time.monotonic()
    with (
        run.reason_kept(),
        _signals(watcher.line) as asked,
        telling(lambda: (bool(asked), time.monotonic() - saved >= save_every_s)),
        saving,
    ):

        def between_steps() -> None:
            if hear().asked:
                way.save()
                raise way.interrupted(asked)

        if not continued:
            way.judge()
            if ranks.any_says(bool(asked)) and not way.at_end:  # no step is in hand yet
                way.save()
                raise way.interrupted(asked)
        stopwatch.take()
        while not way.at_end:
            before = way.place
            way.update(between_steps)
            saving.check()
            passed = evaluate_every > 0 and way.place // evaluate_every > before // evaluate_every
            if way.at_end or passed:
                way.judge()
                stopwatch.take()
            # Asked once: a signal between two looks would end the run with nothing saved.
            heard = take()
            if heard.asked or heard.due or way.at_end:
                way.save()
                saved = time.monotonic()
            if heard.asked and not way.at_end:
                raise way.interrupted(asked)
        if ranks.any_says(bool(asked)):
            raise way.interrupted(asked)
    return way.last


@dataclass
class _Way:
    """A run on its way: what moves it, how far it is, and how it updates, judges, saves and
    restores.

    step: updates that are done. place: how much of the run they are, in its unit; in_hand: how much
    of it the batch is that an update is in the middle of. last: the last evaluation.
    landmarks: None in a run of a version that kept none.
    """

    algorithm: Algorithm
    sampler: Sampler
    run: Run
    saving: Saving
    stopwatch: Stopwatch
    watcher: Watcher
    steps: int
    unit: Unit
    beside: Mapping[str, Stateful]
    evaluate: Callable[[int], dict[str, float]] | None
    better: Callable[[dict[str, float]], float] | None
    enough: Callable[[dict[str, float]], bool] | None
    converged: Callable[[], bool] | None
    pace: Pace | None
    step: int = 0
    place: int = 0
    in_hand: int = 0
    done: bool = False
    last: dict[str, float] = field(default_factory=dict)
    landmarks: Landmarks | None = field(default_factory=Landmarks)

    def interrupted(self, asked: list[int]) -> Interrupted:
        """asked: the signals that this process was sent; none where another rank was. What is said
        to be saved is.
        """
        self.saving.wait()
        number = asked[0] if asked else signal.SIGTERM
        return Interrupted(str(self.run.folder), self.step, number)

    @property
    def at_end(self) -> bool:
        return self.place >= self.steps or self.done

    def update(self, between_steps: Callable[[], None]) -> None:
        """One batch: the one that a checkpoint was in the middle of, else the next."""
        if self.pace is not None:
            self.pace.begin(self.step + 1)
        began = time.perf_counter()
        batch = self.algorithm.unfinished
        if batch is None:
            batch = next(self.sampler)
            self.in_hand = self._count(batch)
        figures = self.algorithm.update(batch, between_steps)
        self.step += 1
        self.place += self.in_hand
        row = {**self.sampler.figures, **figures}
        self.run.metrics.write({"step": self.step, **row})
        if self.landmarks:
            self.landmarks.update({"step": self.step, **row})
        self.watcher.step(self.place, row)
        seconds = time.perf_counter() - began
        _write_timings(self.run, self.step, self.stopwatch, seconds, row)
        if self.pace is not None:
            self.pace.end(self.step, seconds, row.get("tokens") or 1.0)
        if self.converged is not None and self.converged():
            self.done = True

    def _count(self, batch: Batch) -> int:
        return 1 if self.unit == "batches" else batch.count_actions()

    def judge(self) -> None:
        """An evaluation, if the run has any; one that is enough makes it done."""
        if self.evaluate is None:
            return
        with self.stopwatch.phase("evaluate"):
            self.last = {"step": self.step, **self.evaluate(self.step)}
        self.run.metrics.write(self.last)
        if self.landmarks:
            self.landmarks.evaluation(self.last, self.better(self.last) if self.better else None)
        self.watcher.step(self.place, self.last)
        if self.enough is not None and self.enough(self.last):
            self.done = True
            if self.place < self.steps:
                self.watcher.line(
                    f"ends early, after step {self.step}: an evaluation reached what was asked for."
                )

    def save(self) -> None:
        """A checkpoint of this moment, which is then written; its score is that of an evaluation
        at this very step.
        """
        state = {
            "algorithm": self.algorithm.state_dict(),
            "sampler": self.sampler.state_dict(),
            "figures": self.sampler.figures,
            "generators": generator_state(),
            "beside": {name: each.state_dict() for name, each in self.beside.items()},
            "offsets": self.run.log_offsets(),
            "place": [self.place, self.in_hand],
            "done": self.done,
            "evaluation": self.last,
            "landmarks": self.landmarks and self.landmarks.state(),
            "machine": self.run.machine,
            "seconds": self.run.seconds,
        }
        score = None
        if self.better is not None and self.last.get("step") == self.step:
            score = self.better(self.last)
        self.saving.save(self.step, state, score, last=self.at_end)

    def restore(self) -> bool:
        """Go back to the newest whole checkpoint; False where there is none, and the run begins at
        step 0.
        """
        restored = ranks.from_first(lambda: _checkpoint(self.run, self.watcher))
        if restored is None:
            return False
        self.step, state = restored
        with _fitting(self.run, self.step):
            self.algorithm.load_state_dict(state["algorithm"])
            self.sampler.load_state_dict(state["sampler"])
            self.sampler.figures = dict(state["figures"])
            restore_generators(state["generators"])
            for name, each in self.beside.items():
                if name in state["beside"]:  # an earlier version kept fewer
                    each.load_state_dict(state["beside"][name])
            self.place, self.in_hand = state["place"]
        self.done, self.last = state["done"], state["evaluation"]
        self.run.seconds_before = state.get("seconds", 0.0)  # 0 in one of a version that kept none
        self.landmarks = Landmarks(**state["landmarks"]) if state.get("landmarks") else None
        if ranks.is_first():
            remembered = self.landmarks and self.landmarks.in_order()
            self.run.return_to(self.step, state["offsets"], remembered, self.watcher.line)
        self.watcher.line(f"continuing {self.run.folder} from step {self.step}")
        return True


def _checkpoint(run: Run, watcher: Watcher) -> tuple[int, dict[Any, Any]] | None:
    """Step and state of the newest whole checkpoint; None where the run begins at step 0.

    It does where there never was a checkpoint, and where the user allows it; what it had come to
    is set aside. Raises UserError where checkpoints are damaged, or were lost after the run had
    finished: to begin again is the user's decision.
    """
    newest = run.checkpoints.latest(watcher.line)
    if newest is not None:
        return newest
    had_some = bool(run.checkpoints.steps()) or run.kept_summary is not None
    if had_some and not run.allowed.restart:
        raise UserError(
            f"no checkpoint of {run.folder} is whole, so it can only begin again: put them back "
            f"from a copy, or `{write_command('resume', run.folder, from_start='true')}` begins at "
            "step 0 and sets aside what is there."
        )
    kept = run.set_aside()
    if kept:
        why = "no checkpoint is whole" if had_some else "there is no checkpoint"
        watcher.line(
            f"{run.folder} begins at step 0, for {why}; what was there is kept as {', '.join(kept)}"
        )
    return None


@contextmanager
def _fitting(run: Run, step: int) -> Iterator[None]:
    """Raises UserError for a state that is whole and of another algorithm, network or data."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        if out_of_memory(error):  # which says nothing of the checkpoint
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".:")
        raise UserError(
            f"checkpoint {step:08d} of {run.folder} does not fit the run ({reason}): it is another "
            "run's, or of another version of fledge. Put the run's own back, or remove this one "
            "to continue from the one before it."
        ) from error


def _write_timings(
    run: Run, step: int, stopwatch: Stopwatch, seconds: float, figures: Mapping[str, float]
) -> None:
    phases = stopwatch.take()
    waited = hear().waited
    row: dict[str, Any] = {
        "step": step,
        **phases,
        "other": max(0.0, seconds - sum(phases.values())),
        "total": seconds,
    }
    if "tokens" in figures:
        row["tokens_per_second"] = figures["tokens"] / seconds
    if waited:  # whoever waited least is who the others waited for
        row["waited"] = list(waited)
    run.timings.write(row)
