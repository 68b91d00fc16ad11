"""Where in its schedule a batch begins and ends, whatever a batch holds."""

from __future__ import annotations

import math

import pytest

from fledge.schedule import Clock, Schedule


def places(
    clock: Clock, batches: list[float], steps: int, after: float, last: float
) -> list[float]:
    """Of each optimizer step, where it begins."""
    begun = []
    for units in batches:
        clock.pace(units, steps, after, last)
        for _ in range(steps):
            begun.append(clock.place)
            clock.tick()
    return begun


def test_a_schedule_begins_after_what_is_not_learned_from_and_ends_before_what_is_over() -> None:
    """Batches of 4 units in two steps each, the first 6 units before the schedule, which has 7: the
    second batch is half of it, the last one has a unit left.
    """
    assert places(Clock(), [4, 4, 4, 4], 2, 6, 7) == [0, 0, 0, 1, 2, 4, 6, 6.5]


def test_a_clock_goes_on_from_its_state() -> None:
    straight, resumed = Clock(), Clock()
    whole = places(straight, [3, 5, 2], 1, 1, 8)
    first = Clock()
    begun = places(first, [3, 5], 1, 1, 8)
    resumed.load_state_dict(first.state_dict())
    assert begun + places(resumed, [2], 1, 1, 8) == whole == [0, 2, 7]
    assert resumed == straight


def test_wsd_stands_at_the_peak_up_to_the_last_fifth_and_falls_by_a_root() -> None:
    schedule = Schedule(0.01, 1000, 50, "wsd", final=0.0)
    assert schedule.rate(0) == pytest.approx(0.01 / 51)
    assert {schedule.rate(step) for step in range(50, 801)} == {0.01}
    for step in range(801, 1000):
        assert schedule.rate(step) == pytest.approx(0.01 * (1 - math.sqrt((step - 800) / 200)))
    assert schedule.rate(1000) == 0.0


def test_wsd_that_ends_elsewhere_and_is_nearly_all_rise() -> None:
    assert Schedule(1.0, 100, 0, "wsd", final=0.1).rate(100) == pytest.approx(0.1)
    short = Schedule(1.0, 100, 90, "wsd", final=0.0)
    assert short.rate(90) == 1.0
    assert short.rate(92.5) == pytest.approx(0.5)
