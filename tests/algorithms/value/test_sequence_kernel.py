"""The C that follows sequences in an ensemble, held against the same ways in torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.algorithms.value import sequence_kernel
from fledge.algorithms.value.sequence_kernel import load_kernel, weigh_sequences
from fledge.models.control.world_ensemble import WorldEnsemble
from fledge.plan.rolling_out import roll_out
from fledge.worlds.world import Box, Choices
from tests.subjects import seeded

CANDIDATES, HORIZON = 40, 6


def some_world(action: Any, **given: Any) -> tuple[WorldEnsemble, Tensor, Tensor]:
    """An ensemble that has seen a little, two observations, and sequences from each."""
    random = seeded(0)
    space = Box(torch.full((3,), -torch.inf), torch.full((3,), torch.inf))
    kind: dict[str, Any] = {"members": 3} | given
    world = WorldEnsemble(space, action, generator=random, **kind)
    for part in (world.layers, world.ends):
        for weight, bias in zip(part.weight, part.bias, strict=True):
            weight.data.mul_(3)  # so that every action counts
            bias.data.normal_(0, 0.5, generator=random)
    seen = 2 + torch.randn(50, 3, generator=random)
    world.watch(seen, seen[:, 0], seen + 0.3 * torch.randn(50, 3, generator=random))
    shape = (2, CANDIDATES, HORIZON)
    drawn = (
        torch.randint(3, shape, generator=random)
        if isinstance(action, Choices)
        else torch.rand(*shape, 2, generator=random) - 0.5
    )
    return world, 2 + torch.randn(2, 3, generator=random), drawn


@pytest.mark.skipif(load_kernel() is None, reason="no C compiler here")
@pytest.mark.parametrize("action", [Choices((3,)), Box(-torch.ones(2), torch.ones(2))])
@pytest.mark.parametrize(
    "given", [{"widths": (21, 37)}, {"widths": (30,), "members": 1}, {"sampled": False}]
)
def test_every_way_is_that_of_torch(action: Any, given: dict[str, Any]) -> None:
    """3 members, 80 rows, which no vector divides; the same noise, for 3·80·4 numbers a step are
    whole blocks of 16 of torch's. A terminal value that reads where the ways have led.
    """
    world, obs, sequences = some_world(action, **given)
    final = lambda state: state.sin().sum(-1)  # noqa: E731
    with torch.no_grad():
        expected = roll_out(world, obs, sequences, 0.9, seeded(3), final)
        said = weigh_sequences(world, obs, sequences, 0.9, seeded(3), final)
        without = weigh_sequences(world, obs, sequences, 0.9, seeded(3))
    assert expected.std() > 0.1
    torch.testing.assert_close(said, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        without, roll_out(world, obs, sequences, 0.9, seeded(3)), rtol=1e-4, atol=1e-4
    )


def test_threads_change_no_bit() -> None:
    world, obs, sequences = some_world(Choices((3,)))
    before = torch.get_num_threads()
    said = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            said.append(weigh_sequences(world, obs, sequences, 0.9, seeded(3)))
    finally:
        torch.set_num_threads(before)
    assert load_kernel() is None or torch.equal(*said)


def test_a_slope_and_a_machine_without_a_compiler_get_it_from_torch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, obs, sequences = some_world(Box(-torch.ones(2), torch.ones(2)))
    sequences.requires_grad_(True)
    worth = weigh_sequences(world, obs, sequences, 0.9, seeded(3))
    assert torch.autograd.grad(worth.sum(), sequences)[0].abs().min(3).values.min() > 0
    monkeypatch.setattr(sequence_kernel, "load_kernel", lambda: None)
    with torch.no_grad():
        said = weigh_sequences(world, obs, sequences, 0.9, seeded(3))
    torch.testing.assert_close(said, worth.detach())
