"""A target network begins as its leader, stays where it is, and then catches up or follows at its
rate; no gradient reaches it.
"""

from __future__ import annotations

import torch

from fledge.algorithms.parts.target_network import TargetNetwork
from tests.subjects import seeded


def leader() -> torch.nn.Linear:
    module = torch.nn.Linear(3, 2)
    module.register_buffer("mean", torch.zeros(3))
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=seeded(0)))
    return module


def held(module: torch.nn.Module) -> list[torch.Tensor]:
    return [x.clone() for x in module.state_dict().values()]


def test_it_lags_until_it_is_told() -> None:
    first = leader()
    target, before = TargetNetwork(first), held(first)
    with torch.no_grad():
        for x in first.state_dict().values():
            x.add_(1.0)
    assert all(torch.equal(a, b) for a, b in zip(held(target.network), before, strict=True))
    target.follow(0.25)
    for a, b in zip(held(target.network), before, strict=True):
        torch.testing.assert_close(a, b + 0.25)
    target.catch_up()
    assert all(torch.equal(a, b) for a, b in zip(held(target.network), held(first), strict=True))


def test_a_normaliser_is_the_leaders_own() -> None:
    """A part that has statistics and no parameters: both look through the same glasses at once, in
    whatever steps they follow.
    """
    first = torch.nn.Sequential(torch.nn.BatchNorm1d(3, affine=False), torch.nn.Linear(3, 2)).eval()
    target, x = TargetNetwork(first), torch.randn(5, 3, generator=seeded(1))
    normaliser = first[0]
    assert isinstance(normaliser, torch.nn.BatchNorm1d)
    assert normaliser.running_mean is not None
    normaliser.running_mean.add_(10.0)
    assert torch.equal(target.network(x), first(x))
    assert target.network[1] is not first[1]  # pyright: ignore[reportIndexIssue]
    target.follow(0.5)
    assert normaliser.running_mean.tolist() == [10.0] * 3


def test_it_is_not_differentiated_and_its_state_is_its_own() -> None:
    first, second = leader(), leader()
    target, other = TargetNetwork(first), TargetNetwork(second)
    assert not any(p.requires_grad for p in target.network.parameters())
    assert all(p.requires_grad for p in first.parameters())
    with torch.no_grad():
        first.weight.mul_(3)
    target.catch_up()
    other.load_state_dict(target.state_dict())
    assert all(
        torch.equal(a, b) for a, b in zip(held(other.network), held(target.network), strict=True)
    )
    other.follow(1.0)  # and still follows its own leader
    weight = other.network.weight  # pyright: ignore[reportAttributeAccessIssue]
    torch.testing.assert_close(weight, second.weight)
