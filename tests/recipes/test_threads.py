"""With how many threads a run computes: forced by a field or the environment, measured for the
network at hand, written down, and the same again where the run is continued.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

import fledge.recipes.threads as module
from fledge.errors import UserError
from fledge.models.language.transformer import Transformer, TransformerConfig
from fledge.pace import SETS_THREADS
from fledge.policy import TokenPolicy
from fledge.recipes.control.agent_run import pace_agent
from fledge.recipes.control.config import ControlConfig
from fledge.recipes.course import Start
from fledge.recipes.threads import choose_threads, threads_are_open
from fledge.recipes.training import TrainingConfig
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.sample.documents import text_rows

SIZES = TransformerConfig(vocab_size=32, context=16, layers=1, width=16, heads=2, kv_heads=2)


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in SETS_THREADS:
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def policy() -> TokenPolicy:
    return TokenPolicy(Transformer(SIZES, border=1), torch.ones(32, dtype=torch.bool))


def batch() -> Any:
    tokens = torch.randint(2, 32, (2, 17), generator=torch.Generator().manual_seed(0))
    return text_rows(tokens, begin=1)


def config(folder: Path | None = None, **fields: Any) -> TrainingConfig:
    given: dict[str, Any] = {"steps": 2000, "precision": "fp32", "compile": "no", "device": "cpu"}
    return TrainingConfig(out=folder, **(given | fields))


class MadeUp:
    """A step's share that takes so many seconds of a made-up clock, by the number of threads; a sum
    too small to be split among them.
    """

    def __init__(self, seconds: Mapping[int, float]) -> None:
        self.seconds, self.now = seconds, 0.0

    def __call__(self, policy: Any, rows: Any) -> torch.Tensor:
        self.now += self.seconds[torch.get_num_threads()]
        return next(policy.parameters()).sum()


Taking = Callable[[Mapping[int, float]], MadeUp]


@pytest.fixture
def taking(monkeypatch: pytest.MonkeyPatch) -> Taking:
    def make(seconds: Mapping[int, float]) -> MadeUp:
        machine = MadeUp(seconds)
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: machine.now))
        return machine

    return make


def test_one_thread_where_two_are_slower(policy: TokenPolicy, taking: Taking) -> None:
    slow_together = taking({1: 0.002, 2: 0.03})
    threads, seconds = choose_threads(config(), policy, batch(), "fp32", slow_together)
    assert threads == 1
    assert seconds == pytest.approx({1: 0.002, 2: 0.03})
    assert torch.get_num_threads() == 2  # measuring changes nothing
    assert all(weight.grad is None for weight in policy.parameters())


def test_all_threads_where_one_is_slower_and_where_a_run_is_over_at_once(
    policy: TokenPolicy, taking: Taking
) -> None:
    slow_alone = taking({1: 0.02, 2: 0.004})  # 2,000 steps of it pay for measuring
    threads, seconds = choose_threads(config(), policy, batch(), "fp32", slow_alone)
    assert (threads, seconds.keys()) == (2, {1, 2})
    never = taking({2: 0.002})  # and no other number is tried
    assert choose_threads(config(steps=3), policy, batch(), "fp32", never) == (2, {})


def test_who_says_how_many_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert threads_are_open(None, "cpu")
    assert not threads_are_open(2, "cpu")
    assert not threads_are_open(None, "cuda")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert not threads_are_open(None, "cpu")
    monkeypatch.delenv("OMP_NUM_THREADS")
    torch.set_num_threads(1)
    assert not threads_are_open(None, "cpu")


class Counting:
    """Sampler and algorithm in one, which notes how many threads each step had."""

    unfinished = None

    def __init__(self, fails_at: int = 0) -> None:
        self.figures: dict[str, float] = {}
        self.made, self.fails_at, self.threads = 0, fails_at, dict[int, int]()

    def __next__(self) -> int:
        return self.made + 1

    def update(
        self, batch: int, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        if batch == self.fails_at:
            raise UserError("here it was killed")
        self.threads[batch] = torch.get_num_threads()
        self.made = batch
        return {"loss": 1.0}

    def state_dict(self) -> dict[str, Any]:
        return {"made": self.made}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.made = state["made"]


def go(
    given: TrainingConfig, policy: TokenPolicy, training: Counting, run: Run | None
) -> dict[str, Any]:
    show = Show(Console(file=io.StringIO()))
    with Start("tune", show, run).begin(given) as course:
        course.settle_speed(given, policy, batch())
        course.fit(training, training)
        course.finish(then="")
    return json.loads((course.run.folder / "machine.json").read_text())


def test_a_field_forces_it_and_it_is_over_with_the_run(tmp_path: Path, policy: TokenPolicy) -> None:
    training = Counting()
    machine = go(config(tmp_path / "run", steps=3, threads=1), policy, training, None)
    assert training.threads == {1: 1, 2: 1, 3: 1}
    assert machine["threads"] == 1
    assert torch.get_num_threads() == 2


def test_an_agent_has_as_many_as_the_field_says_also_more_than_processors(tmp_path: Path) -> None:
    """As every other run has; with a small network too."""
    more = (os.cpu_count() or 1) + 1
    given = ControlConfig(world="CartPole-v1", threads=more, out=tmp_path / "run")
    with Start("control", Show(Console(file=io.StringIO())), None).begin(given) as course:
        pace = pace_agent(given, torch.device("cpu"), course)
        pace.begin(1)
        assert torch.get_num_threads() == more
    assert torch.get_num_threads() == 2


def test_a_run_that_goes_on_computes_each_step_with_the_threads_written_down(
    tmp_path: Path, policy: TokenPolicy
) -> None:
    """Also steps that were computed before it was killed, after its last checkpoint."""
    given, folder = config(tmp_path / "run", steps=9, save_every_s=0.0), tmp_path / "run"
    with pytest.raises(UserError, match="killed"):
        go(given, policy, Counting(fails_at=4), None)
    record = json.loads((folder / "machine.json").read_text())
    changes = [[2, 1], [5, 2], [7, 1]]
    (folder / "machine.json").write_text(json.dumps(record | {"thread_changes": changes}))
    resumed = Counting()
    with Run.open(folder, writing=True) as run:
        machine = go(given, policy, resumed, run)
    assert resumed.threads == {4: 1, 5: 2, 6: 2, 7: 1, 8: 1, 9: 1}
    assert machine["thread_changes"] == changes
