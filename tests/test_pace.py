"""Threads of steps, tried anew where steps take another time: what is decided, and that a resumed
run makes the same changes. The machine is made up: a clock, and seconds by the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from fledge.pace import AGAIN_S, SETS_THREADS, Pace, SizedPace, list_choices


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class MadeUp:
    """A machine whose steps take `seconds` of their number and their threads."""

    def __init__(self, seconds: Callable[[int, int], float]) -> None:
        self.seconds, self.now = seconds, 0.0
        self.made: list[int] = []  # threads of every step, from the first
        self.kept: list[list[tuple[int, int]]] = []
        self.said: list[str] = []

    def pace(self, threads: int = 2, most: int = 2, **more: object) -> Pace:
        pace = Pace(
            threads,
            list_choices(most),
            keep=lambda: self.kept.append(list(pace.changes)),
            say=self.said.append,
            clock=lambda: self.now,
            **more,  # pyright: ignore[reportArgumentType]
        )
        return pace

    def run(self, pace: Pace, first: int, last: int, work: float = 1.0) -> None:
        for step in range(first, last + 1):
            planned = len(self.kept)
            pace.begin(step)
            threads = torch.get_num_threads()
            assert len(self.kept) == planned  # written down before the step, not in it
            self.made.append(threads)
            took = self.seconds(step, threads)
            self.now += took
            pace.end(step, took, work)


def beside_a_neighbour(first: int, last: int) -> Callable[[int, int], float]:
    """0.1 s with two threads and 0.16 with one; in between a neighbour takes nine tenths of two
    threads, which wait for each other, and a third of one.
    """

    def seconds(step: int, threads: int) -> float:
        if first <= step < last:
            return 1.0 if threads == 2 else 0.24
        return 0.1 if threads == 2 else 0.16

    return seconds


def test_one_thread_while_a_neighbour_is_there_and_two_again_when_it_is_gone() -> None:
    machine = MadeUp(beside_a_neighbour(200, 400))
    machine.run(machine.pace(), 1, 600)
    assert set(machine.made[:199]) == {2}  # nothing is tried without a reason
    assert machine.made[230:399].count(2) < 6  # once, whether the neighbour is still there
    assert set(machine.made[430:]) == {2}
    assert len(machine.said) == 2
    assert "1 thread: 4.2 times as fast as 2" in machine.said[0]


def test_every_change_was_written_down_before_its_first_step() -> None:
    machine = MadeUp(beside_a_neighbour(200, 400))
    pace = machine.pace()
    machine.run(pace, 1, 600)
    assert machine.kept[-1] == pace.changes
    again = MadeUp(lambda step, threads: 0.1)  # another day, and no neighbour
    repeated = again.pace(changes=pace.changes)
    again.run(repeated, 1, pace.changes[-1][0])
    assert again.made == machine.made[: len(again.made)]
    assert repeated.changes == pace.changes


def test_a_run_that_is_killed_within_a_trial_goes_on_with_what_it_had() -> None:
    machine = MadeUp(beside_a_neighbour(200, 10_000))
    pace = machine.pace()
    machine.run(pace, 1, 199)
    while not machine.kept:
        machine.run(pace, len(machine.made) + 1, len(machine.made) + 1)
    planned = machine.kept[0]  # all that a kill in the first step of the trial leaves
    begins, ends = planned[0][0], planned[-1][0]
    resumed = MadeUp(lambda step, threads: 0.1)
    resumed.run(resumed.pace(changes=planned), 200, ends + 50)
    assert set(resumed.made[begins - 200 : ends - 200]) == {1}
    assert set(resumed.made[ends - 200 :]) == {2}


def test_a_slower_machine_for_any_number_of_threads_changes_nothing_and_is_asked_more_rarely() -> (
    None
):
    def seconds(step: int, threads: int) -> float:
        return (0.1 if step % 400 < 200 else 0.3) * (1.0 if threads == 2 else 1.05)

    machine = MadeUp(seconds)
    pace = machine.pace()
    machine.run(pace, 1, 4000)
    assert not machine.said
    assert machine.made[-1] == 2
    begun = [first for first, threads in pace.changes if threads == 1]
    assert 2 <= len(begun) < 10  # 10 times steps came to take three times as long


def test_a_run_that_began_beside_a_neighbour_has_all_threads_when_it_is_alone() -> None:
    """One thread takes as long before as after, so that its steps do not tell."""
    machine = MadeUp(lambda step, threads: 0.16 if threads == 1 else 1.0 if step < 300 else 0.1)
    machine.run(machine.pace(threads=1), 1, 2500)
    begun = next(step for step, threads in enumerate(machine.made) if threads == 2)
    assert sum([0.16] * begun) >= AGAIN_S
    assert machine.made[280:298] == [1] * 18  # not yet
    assert set(machine.made[-100:]) == {2}
    assert len(machine.said) == 1


def test_where_one_thread_is_right_others_are_tried_more_and_more_rarely() -> None:
    machine = MadeUp(lambda step, threads: 0.01 * threads)
    machine.run(machine.pace(threads=1), 1, 200_000)  # half an hour
    tried = [a for a, b in zip(machine.made, machine.made[1:], strict=False) if (a, b) == (1, 2)]
    assert 4 <= len(tried) <= 8  # after 10, 20, 40 … seconds
    assert machine.made.count(2) < 1000
    assert not machine.said


@pytest.mark.parametrize("usual", [0.02, 0.5, 5.0, 60.0, 600.0])
@pytest.mark.parametrize("most", [2, 16])
def test_what_is_tried_without_a_reason_takes_little_of_the_time(usual: float, most: int) -> None:
    machine = MadeUp(lambda step, threads: usual if threads == 1 else 4 * usual)
    machine.run(machine.pace(threads=1, most=most), 1, 3000)
    lost = sum(4 * usual for threads in machine.made if threads > 1)
    assert lost < 0.15 * machine.now  # most in the beginning, where nothing is known of them
    assert machine.made.count(1) > 2800


def test_steps_of_twice_the_work_are_no_reason() -> None:
    machine = MadeUp(lambda step, threads: 0.1 if step < 100 else 0.3)
    pace = machine.pace()
    machine.run(pace, 1, 99)
    machine.run(pace, 100, 300, work=3.0)
    assert not pace.changes


def test_where_nothing_was_measured_a_trial_comes_first() -> None:
    machine = MadeUp(lambda step, threads: 0.01 * threads)  # as small networks are
    pace = machine.pace(eager=True)
    machine.run(pace, 1, 200)
    assert set(machine.made[-50:]) == {1}
    assert len(machine.kept) == 2  # the plan of the trial, and what it came to
    assert machine.now < 2 * AGAIN_S


@pytest.mark.parametrize("cost", [lambda step: 1 + 0.5 * step, lambda step: max(1, 40 - 2 * step)])
def test_steps_that_cost_more_and_more_or_less_and_less_prefer_no_number(
    cost: Callable[[int], float],
) -> None:
    """As those of longer and longer texts do, with one thread as with two."""
    machine = MadeUp(lambda step, threads: 0.1 * cost(step))
    pace = machine.pace(eager=True)
    machine.run(pace, 1, 100)
    assert {threads for _, threads in pace.changes} == {1, 2}  # it was tried
    assert not machine.said


def test_of_steps_that_are_left_out_nothing_is_concluded() -> None:
    machine = MadeUp(lambda step, threads: 0.1 * threads)
    pace = machine.pace(eager=True)
    for step in range(1, 100):
        pace.begin(step)
        machine.now += 0.1
        if torch.get_num_threads() == 2:  # with one thread all steps were unlike the others
            pace.end(step, 0.1)
    assert pace.changes
    assert not machine.said
    assert torch.get_num_threads() == 2


def test_nothing_is_tried_where_threads_are_not_to_change() -> None:
    machine = MadeUp(beside_a_neighbour(50, 10_000))
    pace = Pace(2, (), clock=lambda: machine.now)
    machine.run(pace, 1, 300)
    assert set(machine.made) == {2}


def test_all_half_of_them_and_one() -> None:
    assert list_choices(16) == [16, 8, 1]
    assert list_choices(2) == [2, 1]
    assert list_choices(1) == [1]


def test_every_size_of_a_server_s_steps_has_its_own_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rows that come after a single one, which one thread computes faster, are computed by two from
    their first step on but for a trial, and one that comes after them by one.
    """
    for name in SETS_THREADS:
        monkeypatch.delenv(name, raising=False)
    torch.set_num_threads(2)
    now = 0.0
    pace = SizedPace(None, clock=lambda: now)

    def run(rows: int, steps: int) -> list[int]:
        nonlocal now
        made: list[int] = []
        for _ in range(steps):
            pace.begin(rows)
            made.append(torch.get_num_threads())
            took = {1: 0.002, 2: 0.004}[made[-1]] if rows == 1 else 0.1 * rows / 32 / made[-1]
            now += took
            pace.end(took)
        return made

    assert set(run(1, 1000)[500:]) == {1}
    many = run(32, 100)
    assert set(many[:10]) == {2}
    assert many.count(1) < 20  # within one trial
    assert set(many[50:]) == {2}
    assert set(run(1, 100)) == {1}
    assert set(run(20, 100)) == {2}  # of the size of 32
    assert run(64, 100).count(1) < 20  # one trial
    pace.begin_large()
    assert torch.get_num_threads() == 2
    pace.end(9.0)  # of no size: nothing comes of it


def test_a_server_whose_threads_are_given_tries_no_other() -> None:
    pace = SizedPace(1)
    for rows in (1, 2, 32, 1):
        pace.begin(rows)
        assert torch.get_num_threads() == 1
        pace.end(1.0)
