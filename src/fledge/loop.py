"""The only `while`: take a batch, update, log, evaluate, save, resume."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType, MappingProxyType
from typing import Any, Protocol

from fledge.errors import UserError
from fledge.generators import generator_state, restore_generators
from fledge.runs.folder import Run
from fledge.runs.landmarks import Landmarks
from fledge.stopwatch import Stopwatch


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
        super().__init__(f"stopped after step {step} and saved. Continue with: fledge resume {folder}")
        self.step, self.number, self.exit_code = step, number, 128 + number

    def of(self, folder: str) -> Interrupted:
        """The same, where the run is a part of another: that is the one to continue."""
        return Interrupted(folder, self.step, self.number)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """SIGINT and SIGTERM are noted, not obeyed at once; a second one of either kills as usual.

    Python hears signals in the main thread alone: a run in another thread is left to whoever started it.
    """
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return
    before: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        signal.signal(number, before[number])

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
    evaluate: Callable[[int], dict[str, float]] | None = None,
    evaluate_every: int | Callable[[], bool] = 0,
    over: Callable[[], bool] = lambda: False,
    better: Callable[[dict[str, float]], float] | None = None,
    enough: Callable[[dict[str, float]], bool] | None = None,
    save_every_s: float = 30.0,
    beside: Mapping[str, Stateful] = MappingProxyType({}),
) -> dict[str, float]:
    """Run the algorithm for `steps` updates, until it is `over`, or an evaluation is `enough`; returns the last evaluation.

    Evaluates before the first step, every `evaluate_every` steps (0: never between; or a question asked after each) and at the end. Saves every `save_every_s`
    seconds and at the end: when it saves never changes what is computed. If the run has a checkpoint, continues from it, and
    ends with the same bits as if it had never stopped; `beside` are others, by name, whose state is in the checkpoint.
    Raises Interrupted after SIGINT or SIGTERM, when the optimizer step in hand is done and saved.
    """
    step, done, last, landmarks = 0, False, {}, Landmarks()
    found = _checkpoint(run, watcher)
    if found is None:
        run.rewind({})
    else:
        step, state = found
        _restore(algorithm, sampler, beside, run, step, state)
        done, last = state["done"], state["evaluation"]
        run.seconds_before = state.get("seconds", 0.0)  # 0 in one of a version that kept none
        landmarks = Landmarks(**state["landmarks"]) if state.get("landmarks") else None
        run.return_to(step, state["offsets"], landmarks and landmarks.in_order(), watcher.line)
        watcher.line(f"continuing {run.folder} from step {step}")

    def save() -> None:
        state = {
            "algorithm": algorithm.state_dict(),
            "sampler": sampler.state_dict(),
            "figures": sampler.figures,
            "generators": generator_state(),
            "beside": {name: each.state_dict() for name, each in beside.items()},
            "offsets": run.log_offsets(),
            "done": done,
            "evaluation": last,
            "landmarks": landmarks and landmarks.state(),
            "machine": run.machine,
            "seconds": run.seconds,
        }
        run.checkpoints.save(step, state, score=better(last) if better and last and last["step"] == step else None)

    def judge() -> None:
        nonlocal last, done
        if evaluate is not None:
            with stopwatch.phase("evaluate"):
                last = {"step": step, **evaluate(step)}
            run.metrics.write(last)
            if landmarks:
                landmarks.evaluation(last, better(last) if better else None)
            watcher.step(step, last)
            if enough is not None and enough(last):
                done = True
                if step < steps:
                    watcher.line(f"ends early, after step {step}: an evaluation reached what was asked for.")

    def due(step: int) -> bool:
        return evaluate_every() if callable(evaluate_every) else evaluate_every > 0 and step % evaluate_every == 0

    with run.reason_kept(), _signals() as asked:

        def between_steps() -> None:
            if asked:
                save()
                raise Interrupted(str(run.folder), step, asked[0])

        saved = time.monotonic()
        if found is None:
            judge()
        stopwatch.take()
        while step < steps and not done:
            began = time.perf_counter()
            if algorithm.unfinished is not None:
                batch = algorithm.unfinished
            else:
                batch = next(sampler)
            figures = algorithm.update(batch, between_steps)
            step += 1
            row = {**sampler.figures, **figures}
            run.metrics.write({"step": step, **row})
            if landmarks:
                landmarks.update({"step": step, **row})
            watcher.step(step, row)
            _write_timings(run, step, stopwatch, time.perf_counter() - began, row)
            done = done or over()
            if step == steps or done or due(step):
                judge()
                stopwatch.take()
            stop = bool(asked)  # once: a signal between two looks would end the run with nothing saved
            if stop or time.monotonic() - saved >= save_every_s or step == steps or done:
                save()
                saved = time.monotonic()
            if stop and step < steps and not done:
                raise Interrupted(str(run.folder), step, asked[0])
        if asked:
            raise Interrupted(str(run.folder), step, asked[0])
    return last


def _checkpoint(run: Run, watcher: Watcher) -> tuple[int, dict[Any, Any]] | None:
    """Step and state of the newest whole checkpoint; None where there never was one, or where the user allows a restart.

    Raises UserError where none of the checkpoints is whole: to begin again is the user's decision.
    """
    found = run.checkpoints.latest(watcher.line)
    if found is not None or (not run.checkpoints.steps() and run.kept_summary is None):
        return found
    if not run.allowed.restart:
        raise UserError(
            f"no checkpoint of {run.folder} is whole, so it can only begin again: put them back from a copy, or "
            f"`fledge resume {run.folder} from_start=true` begins at step 0 and sets aside what is there."
        )
    run.set_aside()
    watcher.line(f"no checkpoint of {run.folder} is whole: it begins again, and what was there now ends in .before")
    return None


def _restore(
    algorithm: Algorithm, sampler: Sampler, beside: Mapping[str, Stateful], run: Run, step: int, state: dict[Any, Any]
) -> None:
    """Raises UserError for a state that is whole and of another algorithm, network or data."""
    try:
        algorithm.load_state_dict(state["algorithm"])
        sampler.load_state_dict(state["sampler"])
        sampler.figures = dict(state["figures"])
        restore_generators(state["generators"])
        for name, each in beside.items():
            each.load_state_dict(state["beside"][name])
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".:")
        raise UserError(
            f"checkpoint {step:08d} of {run.folder} does not fit the run ({reason}): it is another run's, or of another "
            "version of fledge. Put the run's own back, or remove this one to continue from the one before it."
        ) from error


def _write_timings(run: Run, step: int, stopwatch: Stopwatch, seconds: float, figures: Mapping[str, float]) -> None:
    phases = stopwatch.take()
    row = {"step": step, **phases, "other": max(0.0, seconds - sum(phases.values())), "total": seconds}
    if "tokens" in figures:
        row["tokens_per_second"] = figures["tokens"] / seconds
    run.timings.write(row)
