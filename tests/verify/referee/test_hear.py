"""A row says the same whatever was drawn before it, and changes nothing of what is drawn after."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from fledge.generators import generator_state, seed_generators
from fledge.verify.referee.hear import hear
from fledge.verify.referee.second_way import tell_apart
from fledge.verify.referee.world_question import Rollout, WorldHearing, WorldProblem, world_problem
from fledge.verify.referee.world_ruling import WorldRuling
from tests.verify.referee.world_stub import StubActor

SHUFFLES: dict[str, Callable[[int], list[int]]] = {
    "python": lambda n: random.sample(range(n), n),
    "numpy": lambda n: np.random.permutation(n).tolist(),  # noqa: NPY002
    "torch": lambda n: torch.randperm(n).tolist(),
}


@dataclass
class Shuffling(StubActor):
    """Its minibatches are drawn by a generator of the whole process."""

    shuffle: Callable[[int], list[int]] = SHUFFLES["numpy"]

    def answer(self, rollout: Rollout, pieces: int = 1) -> Tensor:
        order = self.shuffle(len(rollout)) if pieces > 1 else range(len(rollout))
        worth = self.estimate(rollout)[list(order)]
        mixed = replace(
            rollout,
            state=tuple(rollout.state[i] for i in order),
            action=tuple(rollout.action[i] for i in order),
        )
        table = self.problem.table.clone().requires_grad_(True)
        each = len(rollout) // pieces
        parts = [
            self.lose(table, mixed, worth, slice(at, at + each))
            for at in range(0, len(rollout), each)
        ]
        return -torch.autograd.grad(torch.stack(parts).mean(), table)[0]


@pytest.mark.parametrize("generator", SHUFFLES)
def test_a_row_does_not_hang_on_what_was_drawn_before(generator: str) -> None:
    def build(problem: WorldProblem) -> Shuffling:
        return Shuffling(problem, shuffle=SHUFFLES[generator])

    problem = world_problem("actor", 0.9, 0.8)
    hearing = WorldHearing("stub:actor", {}, "", "", "actor", problem, build, minibatches=True)
    cuts = []
    for seed in (1, 2, 3):
        seed_generators(seed)
        before = generator_state()
        ruling = hear(hearing)
        assert generator_state() == before
        assert isinstance(ruling, WorldRuling)
        cuts.append(ruling.pieces)
    assert cuts[0] == cuts[1] == cuts[2] > 0.01


def test_weights_lie_apart_by_a_share_of_what_they_moved() -> None:
    start, end = torch.zeros(3), torch.tensor([3.0, 4.0, 0.0])
    assert tell_apart(start, end, end.clone()) == "same bits"
    assert tell_apart(start, end, torch.tensor([3.0, 4.0, 0.5])) == "10.0% apart"
