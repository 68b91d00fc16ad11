"""The curriculum, by the integral that its weight stands for, by how often parts come, and by a
learner whose chances are known.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fledge.errors import UserError
from fledge.sample.curriculum import FLOOR, Curriculum
from fledge.tasks.named import load_task


def make(parts: str = "reverse,sort,upper", seed: int = 0) -> Curriculum:
    return Curriculum(load_task(parts), seed)


def integrate_edge(right: float, wrong: float) -> float:
    """E[p (1 − p)] under Beta(right + 1, wrong + 1), by sums over a fine grid."""
    p = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    density = p**right * (1 - p) ** wrong
    return float((density * p * (1 - p)).sum() / density.sum())


def test_shares_are_those_of_the_integral() -> None:
    curriculum = make()
    assert torch.allclose(curriculum.shares, torch.full((3,), 1 / 3, dtype=torch.float64))
    curriculum.learn([("reverse", [1.0] * 6 + [0.0] * 2), ("sort", [0.0] * 8)])
    edges = torch.tensor([integrate_edge(6, 2), integrate_edge(0, 8), integrate_edge(0, 0)])
    wanted = FLOOR / 3 + (1 - FLOOR) * edges / edges.sum()
    torch.testing.assert_close(curriculum.shares.float(), wanted.float(), rtol=1e-6, atol=1e-7)


def test_parts_come_as_often_as_their_shares_say() -> None:
    """30,000 draws; each count within 4.5 standard deviations of its share, which chance alone
    leaves once in 50,000.
    """
    curriculum = make()
    curriculum.learn([("reverse", [1.0, 0.0] * 8), ("sort", [0.0] * 20)])
    shares, number = curriculum.shares, 30_000
    examples = curriculum.draw(number)
    for part, share in zip(("reverse", "sort", "upper"), shares.tolist(), strict=True):
        count = sum(example.task == part for example in examples)
        assert abs(count - number * share) < 4.5 * (number * share * (1 - share)) ** 0.5


def test_it_follows_a_learner_from_the_easiest_part_to_the_hardest() -> None:
    """The chance to be right in a part rises with the questions of it that were asked, and only
    once the part before is known: most questions go to one part after the other.
    """
    names, asked = ("household:1", "household:2", "household:3"), [0, 0, 0]
    curriculum = make(",".join(names))
    draw = torch.Generator().manual_seed(1)
    leaders = []
    for _ in range(150):
        answered: list[tuple[str, list[float]]] = []
        for example in curriculum.draw(8):
            k = names.index(example.task)
            ready = 1.0 if k == 0 else min(1.0, asked[k - 1] / 150)
            asked[k] += ready > 0.5
            chance = min(0.98, 0.02 + asked[k] / 200) if ready > 0.5 else 0.0
            marks = torch.rand(4, generator=draw) < chance
            answered.append((example.task, marks.double().tolist()))
        curriculum.learn(answered)
        leaders.append(int(curriculum.shares.argmax()))
    first = [leaders.index(k) for k in range(3)]
    assert first == sorted(first)
    assert leaders[-1] == 2
    assert min(asked) > 150


def test_it_goes_on_from_its_state() -> None:
    def go_on(curriculum: Curriculum) -> tuple[list[Any], list[Any]]:
        drawn = curriculum.draw(9)
        curriculum.learn([(example.task, [0.0, 1.0]) for example in drawn])
        return drawn, curriculum.draw(9)

    one, other = make(seed=4), make(seed=4)
    go_on(one)
    state = one.state_dict()
    other.load_state_dict(state)
    assert go_on(one) == go_on(other)
    assert torch.equal(one.shares, other.shares)
    assert len(state["right"]) == 3  # what was saved is not what went on
    assert state != one.state_dict()


def test_no_example_comes_twice_and_a_single_task_is_refused() -> None:
    examples = make().draw(300)
    assert len(set(examples)) == 300
    with pytest.raises(UserError, match=r"chooses among the parts of a task, and reverse is one"):
        make("reverse")
