"""Finding tasks by name, mixing them, and the start-up check."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from fledge.errors import UserError
from fledge.splits import SPLITS
from fledge.tasks.checking import check_task
from fledge.tasks.examples import Example, Verdict
from fledge.tasks.named import BUILT_IN, load_task
from fledge.tasks.words import WordTask


@pytest.mark.parametrize("spec", [*BUILT_IN, "words", "reverse, upper"])
@pytest.mark.parametrize(
    "knobs", [{}, {"shortest": 1, "longest": 1}, {"shortest": 20, "longest": 40}]
)
def test_the_built_in_tasks_pass_the_start_up_check(spec, knobs):
    for seed in range(20):
        task = load_task(spec, seed=seed, **knobs)
        check_task(task)
        assert (task.name, task.note) == (spec, None)


def test_a_mixture_gives_each_part_one_example_in_each_turn():
    task = load_task("words", seed=1)
    drawn = [task.example(i, "train").task for i in range(600)]
    assert all(Counter(drawn[i : i + 6]) == Counter(BUILT_IN) for i in range(0, 600, 6))
    assert len({tuple(drawn[i : i + 6]) for i in range(0, 600, 6)}) > 50  # of 720 orders
    assert drawn != [load_task("words", seed=2).example(i, "train").task for i in range(600)]


def test_a_mixture_draws_what_its_parts_draw():
    mixture, parts = (
        load_task("add,upper", seed=4),
        {name: load_task(name, seed=4) for name in ("add", "upper")},
    )
    for split in SPLITS:
        for turn in range(20):
            pair = {mixture.example(2 * turn + i, split) for i in (0, 1)}
            assert pair == {part.example(turn, split) for part in parts.values()}


def test_a_mixture_scores_as_its_parts_do():
    task = load_task("words", seed=1)
    examples = [task.example(i, "test") for i in range(60)]
    replies = [(e.answer or "")[: 2 + i % 3] for i, e in enumerate(examples)]
    alone = [
        load_task(e.task).judge([e], [reply])[0] for e, reply in zip(examples, replies, strict=True)
    ]
    assert task.judge(examples, replies) == alone
    assert 0 < sum(verdict.right for verdict in alone) < 60


def test_a_mixture_wants_a_completion_for_each_example():
    task = load_task("add,upper")
    with pytest.raises(ValueError, match="1 examples came with 2"):
        task.judge([task.example(0, "train")], ["a", "b"])


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            "revers",
            (
                r"no task 'revers': perhaps you meant reverse; give reverse, sort, numbers, add, "
                r"upper, last, or words"
            ),
        ),
        ("Upper", "perhaps you meant upper"),
        ("reverse,uper", "no task 'uper': perhaps you meant upper"),
        ("xyzzy", r"no task 'xyzzy': give reverse"),
        ("", "no task ''"),
        ("reverse,", "no task ''"),
        ("reverse,reverse", "names reverse twice"),
        ("words,add", "names add twice"),
        ("./tasks.csv", "neither a .py nor a .jsonl"),
        ("folder/task", "neither a .py nor a .jsonl"),
        ("./absent.py", "no task file absent.py"),
        ("absent.jsonl", "no task file absent.jsonl"),
        ("x" * 5000, "no task 'xxx"),
    ],
)
def test_a_task_that_is_not_there(spec, said):
    with pytest.raises(UserError, match=said):
        load_task(spec)


@pytest.mark.parametrize(
    "knobs", [{"shortest": 0}, {"shortest": 5, "longest": 4}, {"longest": 0}, {"longest": 1001}]
)
def test_lengths_that_make_no_range(knobs):
    with pytest.raises(UserError, match=r"lengths from -?\d+ to \d+ letters make no range"):
        load_task("reverse", **knobs)


@pytest.mark.parametrize(
    ("knobs", "expected"),
    [
        ({}, (4, 8)),
        ({"longest": 3}, (3, 3)),
        ({"shortest": 10}, (10, 10)),
        ({"longest": 6}, (4, 6)),
    ],
)
def test_a_length_that_is_not_given_makes_room_for_the_other(knobs, expected):
    task = load_task("sort", **knobs)
    assert isinstance(task, WordTask)
    assert (task.shortest, task.longest) == expected


@dataclass
class Judged:
    """A task of one question with a judge that a test makes up."""

    score: Callable[[str], float]
    answer: str | None = "dog"
    right: str = "dog"
    name: str = "judged"
    note: str | None = None
    holds_out: bool = True
    can_fail: bool = False

    def example(self, index: int, split: str) -> Example:
        return Example("god", self.answer, self.name)

    def judge(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Verdict]:
        return [
            Verdict(self.score(completion), completion == self.right) for completion in completions
        ]

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """There is none."""


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        (lambda c: 1.0, "the wrong 'eph' scores 1 and the right 'dog' 1"),
        (lambda c: float(c != "dog"), "the wrong 'eph' scores 1 and the right 'dog' 0"),
        (
            lambda c: 1.0 if c in ("dog", "") else 0.1,
            "the rubbish '' scores 1 and the right 'dog' 1",
        ),
        (
            lambda c: 1.0 if c == "dog" else 7.0 * ("?" in c),
            re.escape("the rubbish '???' scores 7"),
        ),
        (lambda c: float("nan"), "scores nan"),
        (lambda c: -float("inf"), "scores -inf"),
    ],
)
def test_the_check_refuses_a_judge_that_cannot_be_trusted(judge, said):
    with pytest.raises(UserError, match=said):
        check_task(Judged(judge))


def test_the_check_asks_only_for_numbers_where_no_answer_is_known():
    check_task(Judged(lambda c: 0.3, answer=None))
    check_task(Judged(lambda c: -500.0, answer=None))
    with pytest.raises(UserError, match="a score is a finite number"):
        check_task(Judged(lambda c: float("inf"), answer=None))


def test_the_scale_of_a_judge_is_its_own():
    check_task(Judged(lambda c: 40.0 if c == "dog" else -3.0))


def test_an_answer_that_its_judge_does_not_call_right_is_refused():
    with pytest.raises(UserError, match="its own answer 'dog' scores 1 and is not called right"):
        check_task(Judged(lambda c: float(c == "dog"), right="cat"))


def test_a_wrong_answer_that_its_judge_calls_right_is_refused():
    with pytest.raises(UserError, match="the wrong 'eph' is called right"):
        check_task(CallsAllRight(lambda c: float(c == "dog")))


class CallsAllRight(Judged):
    def judge(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Verdict]:
        return [Verdict(self.score(completion), True) for completion in completions]


def test_an_answer_that_begins_like_rubbish_is_not_called_rubbish():
    credit = {"???!": 1.0, "???": 0.9}
    task = Judged(lambda c: credit.get(c, 0.0), answer="???!", right="???!")
    check_task(task)
