"""Bars of what was learned beside what needs no learning, and of runs that measured none."""

from __future__ import annotations

from fledge.report.yardsticks import draw_plans, draw_yardsticks


def test_learned_stands_beside_every_yardstick() -> None:
    ways = {"probe_accuracy": 0.5, "neighbour_accuracy": 0.75}
    summary = {
        "test": {"probe_accuracy": 0.8, "neighbour_accuracy": 0.7},
        "yardsticks": {"pixels": ways, "untrained": {"probe_accuracy": 0.4}},
    }
    probe, neighbours = draw_yardsticks(summary)
    assert "learned 80.0 % · pixels 50.0 % · untrained 40.0 %" in probe.caption
    assert neighbours.caption.endswith("learned 70.0 % · pixels 75.0 %")


def test_planned_stands_beside_random() -> None:
    (drawn,) = draw_plans({"planned": {"planned": 0.9, "random": 0.2}})
    assert drawn.caption.endswith("planned 90 % · random moves 20 %")
    assert "90 %" in drawn.svg
    assert "20 %" in drawn.svg


def test_a_run_that_measured_none_has_none() -> None:
    assert draw_yardsticks({}) == draw_plans({}) == []
