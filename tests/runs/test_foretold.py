"""After two steps of a long run its watcher says how long the rest takes."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from fledge.runs.show import Show, round_duration


def watch(steps: int, seconds: float, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is said of a run of so many steps that take so long each."""
    now = [0.0]
    monkeypatch.setattr("fledge.runs.show.time.monotonic", lambda: now[0])
    said = io.StringIO()
    with Show(Console(file=said)).progress("tune", steps, "loss") as watcher:
        for step in range(steps + 1):  # 0: an evaluation before the first step
            watcher.step(step, {"loss": 1.0})
            now[0] += seconds
    return said.getvalue()


def test_a_long_run_is_foretold_once_after_two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    said = watch(200, 3.6, monkeypatch)
    first, *rest = [line for line in said.splitlines() if "about" in line]
    assert first == "tune: about 12 min for the 198 steps left (3.6 s/step)"
    assert not rest
    assert said.splitlines()[0] == first


def test_a_slow_step_is_foretold_after_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "about 1.6 h for the 49 steps left (120.0 s/step)" in watch(50, 120.0, monkeypatch)


def test_a_short_run_is_not_foretold(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "about" not in watch(100, 0.1, monkeypatch)


@pytest.mark.parametrize(
    ("seconds", "said"), [(61, "1 min"), (712.8, "12 min"), (5400, "1.5 h"), (5399, "90 min")]
)
def test_durations_are_round(seconds: float, said: str) -> None:
    assert round_duration(seconds) == said
