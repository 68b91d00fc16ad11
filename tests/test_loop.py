"""However a run is broken off and continued, it ends with the same bytes as one that never
stopped.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from fledge.errors import UserError
from fledge.loop import Interrupted, train
from fledge.runs.folder import Run
from fledge.stopwatch import Stopwatch

STEPS, UPDATES = 6, 3  # optimizer steps in each update


class Killed(Exception):
    """Stands in for a power cut."""


class Numbers:
    """Batches that depend on a generator of their own, figures that describe the last one."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(1)
        self.figures: dict[str, float] = {}

    def __next__(self) -> torch.Tensor:
        batch = torch.rand(4, generator=self.generator)
        self.figures = {"mean": float(batch.mean())}
        return batch

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.generator.set_state(state["generator"])


class Walk:
    """Adds to a weight what the batch, torch's generator and Python's say, in three optimizer steps
    an update.
    """

    def __init__(self, at: Callable[[int], None] = lambda moment: None) -> None:
        self.weight = torch.zeros(())
        self.at, self.moments = at, 0
        self.unfinished: torch.Tensor | None = None
        self.position = 0

    def update(
        self, batch: torch.Tensor, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        self.unfinished = batch
        while self.position < UPDATES:
            self.weight = self.weight + batch.sum() * torch.rand(()) + random.random()
            self.position += 1
            self.moments += 1
            self.at(self.moments)
            between_steps()
        self.unfinished, self.position = None, 0
        return {"weight": float(self.weight)}

    def state_dict(self) -> dict[str, Any]:
        return {"weight": self.weight, "unfinished": self.unfinished, "position": self.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.weight, self.unfinished, self.position = (
            state["weight"],
            state["unfinished"],
            state["position"],
        )


class Silent:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.steps: list[int] = []

    def step(self, step: int, figures: Mapping[str, float]) -> None:
        self.steps.append(step)

    def line(self, text: str) -> None:
        self.lines.append(text)


def go(
    folder: Path, at: Callable[[int], None] = lambda moment: None, **settings: Any
) -> tuple[Walk, Silent, dict[str, float]]:
    """Start or continue the run in the folder."""
    run = (
        Run.open(folder, writing=True)
        if (folder / "config.json").exists()
        else Run.create(folder, "walk", {}, seed=0)
    )
    torch.manual_seed(2)
    random.seed(3)
    walk, watcher = Walk(at), Silent()
    given = {
        "steps": STEPS,
        "evaluate": lambda step: {"height": float(walk.weight)},
        "evaluate_every": 2,
        "save_every_s": 0.0,
    }
    try:
        last = train(walk, Numbers(), run, Stopwatch(), watcher, **(given | settings))
    finally:
        run.close()
    return walk, watcher, last


def metrics(folder: Path) -> bytes:
    return (folder / "metrics.jsonl").read_bytes()


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, float, dict[str, float]]:
    folder = tmp_path_factory.mktemp("straight") / "run"
    walk, _, last = go(folder)
    return metrics(folder), float(walk.weight), last


def test_a_run_evaluates_before_the_first_step_in_between_and_at_the_end(
    straight: tuple[bytes, float, dict[str, float]], tmp_path: Path
) -> None:
    go(tmp_path / "run")
    rows = Run.open(tmp_path / "run").metrics.rows()
    assert [row["step"] for row in rows if "height" in row] == [0, 2, 4, 6]
    assert [row["step"] for row in rows if "weight" in row] == [1, 2, 3, 4, 5, 6]
    assert all("mean" in row for row in rows if "weight" in row)
    assert straight[2] == {"step": 6, "height": straight[1]}
    timings = Run.open(tmp_path / "run").timings.rows()
    assert [row["step"] for row in timings] == [1, 2, 3, 4, 5, 6]
    assert all(row["total"] > 0 for row in timings)


@pytest.mark.parametrize("save_every_s", [0.0, 1e9])
@pytest.mark.parametrize("moment", range(1, STEPS * UPDATES + 1))
def test_a_run_killed_at_any_moment_and_continued_ends_with_the_same_bytes(
    moment: int,
    save_every_s: float,
    straight: tuple[bytes, float, dict[str, float]],
    tmp_path: Path,
) -> None:
    """Saving after every step, or never before the end: when it is saved changes nothing that is
    computed.
    """

    def kill(now: int) -> None:
        if now == moment:
            raise Killed

    with pytest.raises(Killed):
        go(tmp_path / "run", kill, save_every_s=save_every_s)
    walk, _, last = go(tmp_path / "run", save_every_s=save_every_s)
    assert (metrics(tmp_path / "run"), float(walk.weight), last) == straight


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("moment", [1, 2, 3, 11])
def test_a_signal_finishes_the_optimizer_step_saves_and_says_how_to_continue(
    moment: int, number: int, straight: tuple[bytes, float, dict[str, float]], tmp_path: Path
) -> None:
    def interrupt(now: int) -> None:
        if now == moment:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=r"fledge resume .*run") as stop:
        go(tmp_path / "run", interrupt, save_every_s=1e9)
    assert stop.value.exit_code == 128 + number
    assert signal.getsignal(number) is before
    seen: list[int] = []
    walk, watcher, last = go(tmp_path / "run", seen.append, save_every_s=1e9)
    assert (metrics(tmp_path / "run"), float(walk.weight), last) == straight
    assert len(seen) == STEPS * UPDATES - moment  # not one optimizer step was made twice
    assert any("continuing" in line for line in watcher.lines)


def test_a_second_signal_is_obeyed_at_once(tmp_path: Path) -> None:
    def twice(now: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "run", twice)


def test_a_signal_during_the_last_step_still_leaves_a_finished_run(
    straight: tuple[bytes, float, dict[str, float]], tmp_path: Path
) -> None:
    def interrupt(now: int) -> None:
        if now == STEPS * UPDATES:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        go(tmp_path / "run", interrupt)
    walk, _, last = go(tmp_path / "run")
    assert (metrics(tmp_path / "run"), float(walk.weight), last) == straight


def test_an_evaluation_that_is_enough_ends_the_run_and_it_stays_ended(tmp_path: Path) -> None:
    _, watcher, last = go(tmp_path / "run", enough=lambda evaluation: evaluation["step"] >= 4)
    assert last["step"] == 4
    assert max(watcher.steps) == 4
    _, watcher, again = go(tmp_path / "run", enough=lambda evaluation: evaluation["step"] >= 4)
    assert again == last
    assert watcher.steps == []


def test_one_that_is_enough_before_the_first_step_trains_nothing(tmp_path: Path) -> None:
    walk, _, last = go(tmp_path / "run", enough=lambda evaluation: True)
    assert (last["step"], float(walk.weight)) == (0, 0.0)


def test_a_damaged_checkpoint_is_passed_over_and_the_run_still_ends_the_same(
    straight: tuple[bytes, float, dict[str, float]], tmp_path: Path
) -> None:
    def kill(now: int) -> None:
        if now == 4 * UPDATES + 2:
            raise Killed

    with pytest.raises(Killed):
        go(tmp_path / "run", kill)
    run = Run.open(tmp_path / "run")
    newest = run.checkpoints.steps()[-1]
    file = tmp_path / "run" / "checkpoints" / f"{newest:08d}" / "tensors.safetensors"
    file.write_bytes(file.read_bytes()[:-3])
    walk, watcher, last = go(tmp_path / "run")
    assert (metrics(tmp_path / "run"), float(walk.weight), last) == straight
    assert any("damaged" in line for line in watcher.lines)


def test_a_run_that_is_over_is_left_as_it_is(
    straight: tuple[bytes, float, dict[str, float]], tmp_path: Path
) -> None:
    go(tmp_path / "run")
    walk, watcher, last = go(tmp_path / "run")
    assert watcher.steps == []
    assert (metrics(tmp_path / "run"), float(walk.weight), last) == straight


def test_the_best_evaluation_is_the_checkpoint_that_is_kept(tmp_path: Path) -> None:
    heights = {0: 0.0, 2: 9.0, 4: 1.0, 6: 2.0}
    go(
        tmp_path / "run",
        evaluate=lambda step: {"height": heights[step]},
        better=lambda evaluation: evaluation["height"],
    )
    checkpoints = Run.open(tmp_path / "run").checkpoints
    assert checkpoints.best() == 2
    assert checkpoints.steps() == [2, 5, 6]


def test_the_stopwatch_gives_every_second_to_one_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("fledge.stopwatch.time.perf_counter", lambda: clock[0])
    watch = Stopwatch()
    with watch.phase("fit"):
        clock[0] += 2
        with watch.phase("generate"):
            clock[0] += 3
        clock[0] += 5
    clock[0] += 7
    assert watch.take() == {"fit": 7, "generate": 3}
    assert watch.take() == {}


def killed(folder: Path, moment: int, **settings: Any) -> dict[str, bytes]:
    """What the run has written when it dies at that optimizer step, by name."""

    def kill(now: int) -> None:
        if now == moment:
            raise Killed

    with pytest.raises(Killed):
        go(folder, kill, **settings)
    return {file.name: file.read_bytes() for file in folder.glob("*.jsonl") if file.stat().st_size}


def test_a_run_whose_checkpoints_are_gone_keeps_its_logs_and_says_so(
    straight: tuple[bytes, float, dict[str, float]], tmp_path: Path
) -> None:
    """Removed, or left out of the backup: it begins again, for nothing else is possible, and
    nothing is lost.
    """
    run = tmp_path / "run"
    logs = killed(run, 5 * UPDATES)
    assert logs["metrics.jsonl"].count(b"\n") == 7  # three evaluations, four updates
    shutil.rmtree(run / "checkpoints")
    walk, watcher, last = go(run)
    assert (metrics(run), float(walk.weight), last) == straight
    assert {name: (run / f"{name}.before").read_bytes() for name in logs} == logs
    assert watcher.lines == [
        f"{run} begins at step 0, for there is no checkpoint; what was there is kept as "
        "metrics.jsonl.before, timings.jsonl.before"
    ]


def test_a_run_killed_before_its_first_checkpoint_begins_again_by_itself_as_often_as_it_takes(
    straight: tuple[bytes, float, dict[str, float]], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    lives = [killed(run, moment, save_every_s=1e9)["metrics.jsonl"] for moment in (4, 9)]
    walk, _, last = go(run, save_every_s=1e9)
    assert (metrics(run), float(walk.weight), last) == straight
    assert [
        (run / f"metrics.jsonl.{name}").read_bytes() for name in ("before", "before-2")
    ] == lives


def test_a_new_run_sets_nothing_aside(tmp_path: Path) -> None:
    _, watcher, _ = go(tmp_path / "run")
    assert watcher.lines == []
    assert not list((tmp_path / "run").glob("*before*"))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you "
            "tried to"
        ),
        MemoryError(),
    ],
    ids=["gpu", "processor", "python"],
)
def test_a_checkpoint_that_finds_no_room_is_not_called_another_runs(
    error: Exception,
    straight: tuple[bytes, float, dict[str, float]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = tmp_path / "run"
    killed(run, 5 * UPDATES)

    def fails(self: Walk, state: Mapping[str, Any]) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(Walk, "load_state_dict", fails)
        with pytest.raises(type(error)) as raised:
            go(run)
    assert raised.value is error
    walk, _, last = go(run)  # with room again, from the same checkpoint
    assert (metrics(run), float(walk.weight), last) == straight


def test_a_checkpoint_with_other_shapes_is_called_another_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(tmp_path / "run", 5 * UPDATES)

    def fails(self: Walk, state: Mapping[str, Any]) -> None:
        raise RuntimeError("size mismatch for weight: [2] and [3]")

    monkeypatch.setattr(Walk, "load_state_dict", fails)
    with pytest.raises(
        UserError, match=r"checkpoint 00000004 of .* does not fit the run \(size mismatch"
    ):
        go(tmp_path / "run")


class Jump:
    """A batch that says how much was done in it."""

    def __init__(self, actions: int) -> None:
        self.actions = actions

    def count_actions(self) -> int:
        return self.actions


class Jumps:
    """Batches of 3, 0, 4, 5, 2, 2 … actions."""

    def __init__(self) -> None:
        self.given = 0
        self.figures: dict[str, float] = {}

    def __next__(self) -> Jump:
        self.given += 1
        return Jump([3, 0, 4, 5, 2][min(self.given, 5) - 1])

    def state_dict(self) -> dict[str, Any]:
        return {"given": self.given}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.given = state["given"]


class Jumper(Walk):
    """What its update is in the middle of no longer says how much was done in it."""

    def update(
        self, batch: Any, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        rows = torch.full((2,), float(batch.actions)) if isinstance(batch, Jump) else batch
        return super().update(rows, between_steps)


def jump(folder: Path, at: Callable[[int], None] = lambda moment: None) -> tuple[Silent, Any]:
    """Twelve actions, looked at when five more have been passed."""
    opened = (folder / "config.json").exists()
    run = Run.open(folder, writing=True) if opened else Run.create(folder, "jump", {}, seed=0)
    torch.manual_seed(2)
    random.seed(3)
    jumper, watcher = Jumper(at), Silent()
    try:
        train(
            jumper, Jumps(), run, Stopwatch(), watcher, steps=12, unit="actions",
            evaluate=lambda step: {"height": float(jumper.weight)}, evaluate_every=5,
            save_every_s=0.0,
        )  # fmt: skip
    finally:
        run.close()
    return watcher, float(jumper.weight)


def test_a_run_that_is_counted_in_actions_is_looked_at_and_ends_where_they_say(
    tmp_path: Path,
) -> None:
    watcher, _ = jump(tmp_path / "run")
    # 5 is passed at 7, 10 at the end
    assert watcher.steps == [0, 3, 3, 7, 7, 12, 12]
    rows = Run.open(tmp_path / "run").metrics.rows()
    assert [row["step"] for row in rows if "height" in row] == [0, 3, 4]
    assert [row["step"] for row in rows if "weight" in row] == [1, 2, 3, 4]


@pytest.mark.parametrize("moment", range(1, 4 * UPDATES + 1))
@pytest.mark.parametrize("stop", ["killed", "interrupted"])
def test_a_run_that_is_counted_in_actions_goes_on_from_where_it_was(
    stop: str, moment: int, tmp_path: Path
) -> None:
    """A batch in the middle of its update counts once, whenever the run was broken off."""
    straight = jump(tmp_path / "straight")[1]

    def end(now: int) -> None:
        if now == moment:
            if stop == "killed":
                raise Killed
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises((Killed, Interrupted)):
        jump(tmp_path / "run", end)
    assert jump(tmp_path / "run")[1] == straight
    assert metrics(tmp_path / "run") == metrics(tmp_path / "straight")
