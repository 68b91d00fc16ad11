"""Each head against torch.distributions, and its samples against its own probabilities."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, Normal, kl_divergence

from fledge.models.control.action_heads import (
    ActionHead,
    DiagonalGaussian,
    OneChoice,
    SeveralChoices,
    head_for,
)
from fledge.models.control.actor_critic import ActorCritic
from fledge.worlds.world import Box, Choices
from tests.subjects import seeded

HEADS: dict[str, ActionHead] = {
    "one choice": OneChoice(5),
    "several choices": SeveralChoices((2, 3, 4)),
    "gaussian": DiagonalGaussian((2, 2)),
}
N = 40_000


def reference(name: str, numbers: Tensor) -> list[torch.distributions.Distribution]:
    """Independent parts whose log-probabilities add up."""
    if name == "one choice":
        return [Categorical(logits=numbers)]
    if name == "several choices":
        return [Categorical(logits=part) for part in numbers.split([2, 3, 4], -1)]
    mean, log_std = numbers.chunk(2, -1)
    return [Independent(Normal(mean, log_std.exp()), 1)]


def parts_of(name: str, action: Tensor) -> list[Tensor]:
    return (
        list(action.unbind(-1))
        if name == "several choices"
        else [action.flatten(1) if name == "gaussian" else action]
    )


@pytest.mark.parametrize("name", HEADS)
def test_a_head_is_the_distribution_it_says(name: str) -> None:
    head, random = HEADS[name], torch.Generator().manual_seed(0)
    numbers, other = (
        torch.randn(6, head.size, dtype=torch.float64, generator=random) for _ in range(2)
    )
    action = head.sample(numbers, random)
    one, two = reference(name, numbers), reference(name, other)
    wanted = sum(d.log_prob(a) for d, a in zip(one, parts_of(name, action), strict=True))
    torch.testing.assert_close(head.log_prob(numbers, action), wanted)
    torch.testing.assert_close(head.entropy(numbers), sum(d.entropy() for d in one))
    torch.testing.assert_close(
        head.kl(numbers, other), sum(kl_divergence(a, b) for a, b in zip(one, two, strict=True))
    )
    best = head.log_prob(numbers, head.mode(numbers))
    assert (
        best[None]
        >= torch.stack([head.log_prob(numbers, head.sample(numbers, random)) for _ in range(50)])
    ).all()


@pytest.mark.parametrize("name", HEADS)
def test_samples_have_the_distributions_entropy(name: str) -> None:
    """−mean log p over 40,000 samples within 5 standard errors: a false alarm in 2 million."""
    head, random = HEADS[name], torch.Generator().manual_seed(1)
    numbers = torch.randn(1, head.size, dtype=torch.float64, generator=random).expand(N, -1)
    surprise = -head.log_prob(numbers, head.sample(numbers, random))
    assert (
        abs(float(surprise.mean() - head.entropy(numbers[:1]))) < 5 * float(surprise.std()) / N**0.5
    )


def test_the_head_follows_the_actions() -> None:
    one = torch.ones(3)
    assert isinstance(head_for(Choices((4,))), OneChoice)
    assert isinstance(head_for(Choices((4, 2))), SeveralChoices)
    assert head_for(Box(-one, one)).size == 6


def test_how_much_a_step_would_move_the_numbers() -> None:
    """‖e_a − p‖² of logits; of means and log spreads, with z = (a − μ)/σ, Σ (z/σ)² + (z² − 1)²."""
    obs, chosen = (
        torch.randn(3, 5, 2, generator=seeded(0)),
        torch.rand(3, 4, generator=seeded(1)) < 0.7,
    )
    far = torch.full((2,), torch.inf)
    picks = ActorCritic(Box(-far, far), Choices((3,)), generator=seeded(2), widths=(8,))
    p = picks.actor(obs[:, :4]).softmax(-1)
    action = torch.randint(3, (3, 4), generator=seeded(3))
    wanted = (torch.nn.functional.one_hot(action, 3) - p).square().sum(-1)
    torch.testing.assert_close(
        picks.score_norm(obs, action, chosen), torch.where(chosen, wanted, 0.0)
    )

    moves = ActorCritic(
        Box(-far, far), Box(-far, far), generator=seeded(2), widths=(8,), log_std=-0.3
    )
    z = torch.randn(3, 4, 2, generator=seeded(4))
    spread = torch.tensor(-0.3).exp()
    done = moves.actor(obs[:, :4]) + spread * z
    wanted = ((z / spread).square() + (z.square() - 1).square()).sum(-1)
    torch.testing.assert_close(
        moves.score_norm(obs, done, chosen), torch.where(chosen, wanted, 0.0), rtol=1e-4, atol=1e-5
    )
