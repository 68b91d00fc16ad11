"""PPO's loss by C has the value and the gradient of its equations, written down anew in float64
with torch's own distributions.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.algorithms.policy.ppo import PPO, Proximal
from fledge.algorithms.policy.proximal_kernel import fit_by_kernel, load_kernel
from fledge.learner import Learner, Schedule
from fledge.models.control.actor_critic import ActorCritic
from fledge.models.control.perceptron_kernel import load_kernel as load_perceptron
from fledge.optimizers import adamw
from fledge.worlds.world import Box, Choices
from tests.subjects import seeded

pytestmark = pytest.mark.skipif(
    load_kernel() is None or load_perceptron() is None, reason="no compiler"
)
CLOSE = 1e-5
ROWS = 48


def policy_over(kind: str) -> ActorCritic:
    limit = torch.full((5,), 10.0)
    action = Choices((3,)) if kind == "choice" else Box(-torch.ones(2), torch.ones(2))
    policy = ActorCritic(
        Box(-limit, limit), action, generator=seeded(0), widths=(8, 8), normalise=True
    )
    with torch.no_grad():
        for i, p in enumerate(policy.parameters()):
            p.add_(0.3 * torch.randn(p.shape, generator=seeded(i)))
    return policy


def draw_rows(kind: str, policy: ActorCritic) -> Proximal:
    """Far enough from the old policy and value for every clip, and two rows that do not count."""
    random = seeded(3)
    obs = torch.randn(ROWS, 2, 5, generator=random)
    action = torch.randn(ROWS, 1, 2, generator=random)
    if kind == "choice":
        action = torch.randint(3, (ROWS, 1), generator=random)
    chosen = torch.ones(ROWS, 1, dtype=torch.bool)
    with torch.no_grad():
        logp, _, value = policy.evaluate(obs[:, :-1], action, chosen)
    noise = torch.randn(4, ROWS, 1, generator=random)
    far = torch.zeros(ROWS, 1)
    far[:2] = torch.tensor([[30.0], [-30.0]])  # beyond the bound of a log-ratio
    chosen[5:7] = False
    weight = noise[1].clone()
    weight[5] = torch.nan  # of a row that does not count
    return Proximal(
        obs=obs, action=action, chosen=chosen, reward=0 * far, terminated=~chosen,
        truncated=~chosen, logp=logp, weight=weight, target=value + noise[2],
        old_logp=logp + 0.3 * noise[0] + far, old_value=value + 0.4 * noise[3],
    )  # fmt: skip


def write_down(
    policy: ActorCritic, rows: Proximal, s: PPO.Settings, count: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """The equations, row by row, in float64."""
    x = rows.obs[:, 0].double()
    encoder = policy.encoder
    x = ((x - encoder.mean) / (encoder.variance + 1e-8).sqrt()).clamp(-10, 10)
    out, value = policy.actor(x), policy.critic(x)[:, 0]
    if policy.log_std is None:
        choices = torch.distributions.Categorical(logits=out)
        logp, entropy = choices.log_prob(rows.action[:, 0]), choices.entropy()
    else:
        normal = torch.distributions.Normal(out, policy.log_std.exp())
        logp = normal.log_prob(rows.action[:, 0].double()).sum(-1)
        entropy = normal.entropy().sum(-1)
    old, advantage, target, was = (
        getattr(rows, name)[:, 0].double() for name in ("old_logp", "weight", "target", "old_value")
    )
    counts = rows.chosen[:, 0]
    advantage = torch.where(counts, advantage, 0.0)
    change = logp - old
    ratio = change.clamp(-20, 20).exp()
    inside = ratio.clamp(1 - s.clip_low, 1 + s.clip_high)
    policy_loss = -torch.minimum(ratio * advantage, inside * advantage)
    error = (value - target).square()
    if s.value_clip is not None:
        held = was + (value - was).clamp(-s.value_clip, s.value_clip)
        error = torch.maximum(error, (held - target).square())
    outside = (change.exp() < 1 - s.clip_low) | (change.exp() > 1 + s.clip_high)
    each = {
        "policy_loss": policy_loss,
        "value_loss": 0.5 * error,
        "clip_fraction": outside.double(),
        "policy_kl": (change.clamp(max=20).exp() - 1 - change).detach(),
        "entropy": entropy,
    }
    said = {name: x[counts].sum() / count for name, x in each.items()}
    loss = said["policy_loss"] + s.value_coefficient * said["value_loss"]
    return loss - s.entropy_coefficient * said["entropy"], said


@pytest.mark.parametrize("kind", ["choice", "gaussian"])
@pytest.mark.parametrize(
    "said",
    [
        {},
        {"entropy_coefficient": 0.1},
        {"value_clip": None, "clip_low": 0.1, "clip_high": 0.4, "value_coefficient": 0.7},
    ],
)
def test_loss_gradient_and_figures_are_those_of_the_equations(
    kind: str, said: dict[str, Any]
) -> None:
    settings, policy = PPO.InWorlds(**said), policy_over(kind)
    every = draw_rows(kind, policy)
    # Beside a ratio of e^20 nothing of the other rows would be seen in a figure.
    for rows in (every, every[2:]):
        learner = Learner(policy, Schedule(1e-3, 10))
        fitted = fit_by_kernel(policy, rows, settings, torch.tensor(40.0), learner)
        assert fitted is not None
        twin = copy.deepcopy(policy).double()
        twin.zero_grad()
        exact, figures = write_down(twin, rows, settings, 40.0)
        exact.backward()
        # Sums of numbers of either sign, each rounded to float32.
        assert float(fitted[0]) == pytest.approx(float(exact.detach()), rel=CLOSE, abs=1e-6)
        assert set(fitted[1]) == set(figures) - (
            set() if "entropy_coefficient" in said else {"entropy"}
        )
        for name, value in fitted[1].items():
            expected = float(figures[name].detach())
            assert float(value) == pytest.approx(expected, rel=CLOSE, abs=1e-6)
        largest = max(float(p.grad.abs().max()) for p in twin.parameters() if p.grad is not None)
        for (name, mine), other in zip(policy.named_parameters(), twin.parameters(), strict=True):
            assert mine.grad is not None, name
            assert other.grad is not None, name
            assert (mine.grad - other.grad).abs().max() < CLOSE * largest, name
        learner.gradient.clear()


@pytest.mark.parametrize("kind", ["choice", "gaussian"])
def test_a_step_is_torchs_own_and_no_other_in_pieces(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the kernel, in one piece and in four, and without it."""
    after = []
    for pieces, by_kernel in ((None, True), (13, True), (None, False)):
        policy = policy_over(kind)
        rows = draw_rows(kind, policy)
        if not by_kernel:
            name = "fledge.algorithms.policy.ppo.fit_by_kernel"
            monkeypatch.setattr(name, lambda *given: None)
        learner = Learner(
            policy, Schedule(1e-3, 10), optimizer=adamw(eps=1e-3), clip=0.5,
            rows_per_micro_batch=pieces,
        )  # fmt: skip
        algorithm = PPO(policy, learner, Any, PPO.InWorlds(), generator=seeded(0))  # pyright: ignore[reportArgumentType]
        # NaN off the mask is the algorithm's to keep out: torch's gradient of w·log π has 0·NaN.
        rows = rows.replace(weight=rows.weight.nan_to_num())
        figures = algorithm.fit(rows)
        after.append((figures, [p.detach().clone() for p in policy.parameters()]))
    first = after[0]
    for figures, weights in after[1:]:
        assert figures == pytest.approx(first[0], rel=1e-5, abs=1e-7)
        for mine, other in zip(first[1], weights, strict=True):
            # A gradient's error is at most 1 / ε of its size in a step, in units of the rate.
            assert (mine - other).abs().max() < 1e-6


def test_what_is_not_its_own_is_left_to_torch() -> None:
    policy = policy_over("choice")
    rows, settings = draw_rows("choice", policy), PPO.InWorlds()
    count = torch.tensor(40.0)
    hooked = ("hook of a network", "hook of a weight")
    for name in ("frozen", "another network", "other learner", *hooked):
        policy = policy_over("choice")
        learner = Learner(policy, Schedule(1e-3, 10))
        if name == "frozen":
            policy.critic.requires_grad_(False)
            learner = Learner(policy, Schedule(1e-3, 10))
        if name == "another network":
            policy.actor = torch.nn.Linear(5, 3)
            learner = Learner(policy, Schedule(1e-3, 10))
        if name == "other learner":
            learner = Learner(policy.critic, Schedule(1e-3, 10))
        if name == "hook of a network":
            policy.actor.register_forward_hook(lambda module, given, said: said)
        if name == "hook of a weight":
            next(policy.critic.parameters()).register_hook(lambda slope: 2 * slope)
        assert fit_by_kernel(policy, rows, settings, count, learner) is None
        assert not learner.gradient.added
        assert all(p.grad is None for p in policy.parameters())
