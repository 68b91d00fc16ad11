"""Where in its schedule a batch begins and ends, whatever a batch holds."""

from __future__ import annotations

from fledge.schedule import Clock


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
