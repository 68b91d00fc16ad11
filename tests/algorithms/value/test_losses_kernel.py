"""DQN's and SAC's losses by C have the values and the gradients of their equations, written down
anew in float64.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fledge.algorithms.parts.target_network import TargetNetwork
from fledge.algorithms.value import losses_kernel
from fledge.algorithms.value.library import load_kernel
from fledge.algorithms.value.losses_kernel import (
    fit_actor_by_kernel,
    fit_choices_by_kernel,
    fit_critics_by_kernel,
)
from fledge.algorithms.value.soft_actor_critic import Noisy, SoftActorCritic
from fledge.learner import Learner, Schedule
from fledge.models.control.actor_critic import Encoder
from fledge.models.control.mlp import Perceptron
from fledge.models.control.perceptron_kernel import load_kernel as load_perceptron
from fledge.models.control.q_network import QNetwork
from fledge.models.control.squashed_actor import GaussianActor
from fledge.models.control.twin_critic import TwinCritic
from fledge.sample.replay import Replay, Transitions
from fledge.stopwatch import Stopwatch
from fledge.worlds.world import Box, Choices
from tests.subjects import seeded

pytestmark = pytest.mark.skipif(
    load_kernel() is None or load_perceptron() is None, reason="no compiler"
)
ROWS, COUNT = 40, 50.0
CLOSE = 1e-5  # of the largest number of its kind
SEEN = Box(torch.full((5,), -10.0), torch.full((5,), 10.0))
REACH = torch.tensor([1.0, 3.0])


def shake(module: nn.Module, seed: int) -> None:
    """No two networks alike, and no bias of 0."""
    with torch.no_grad():
        for i, p in enumerate(module.parameters()):
            p.add_(0.3 * torch.randn(p.shape, generator=seeded(seed + i)))


def draw_rows(action: Tensor) -> Transitions:
    """Errors on either side of 1, and ends of the world."""
    random = seeded(3)
    return Transitions(
        obs=torch.randn(ROWS, 5, generator=random),
        action=action,
        reward=2 * torch.randn(ROWS, generator=random),
        next_obs=torch.randn(ROWS, 5, generator=random),
        discount=0.9 + 0.1 * torch.rand(ROWS, generator=random),
        terminated=torch.rand(ROWS, generator=random) < 0.3,
        weight=0.5 + torch.rand(ROWS, generator=random),
        index=torch.arange(ROWS),
    )


def compare(
    modules: Sequence[tuple[nn.Module, nn.Module]],
    loss: Tensor,
    exact: Tensor,
    figures: Mapping[str, Tensor],
    exact_figures: Mapping[str, Tensor],
) -> None:
    assert float(loss) == pytest.approx(float(exact.detach()), rel=CLOSE, abs=1e-6)
    assert set(figures) == set(exact_figures)
    for name, value in figures.items():
        expected = float(exact_figures[name].detach())
        assert float(value) == pytest.approx(expected, rel=CLOSE, abs=1e-6), name
    exact.backward()
    for mine, twin in modules:
        slopes = [p.grad for p in twin.parameters() if p.grad is not None]
        assert len(slopes) == len(list(twin.parameters()))
        largest = max(float(slope.abs().max()) for slope in slopes)
        for (name, p), slope in zip(mine.named_parameters(), slopes, strict=True):
            assert p.grad is not None, name
            assert float((p.grad.double() - slope).abs().max()) < CLOSE * largest, name


def q_networks(**said: Any) -> tuple[QNetwork, TargetNetwork]:
    told: dict[str, Any] = {"widths": (40, 24)} | said
    network = QNetwork(SEEN, Choices((3,)), generator=seeded(0), **told)
    shake(network, 0)
    target = TargetNetwork(network)
    shake(target.network, 100)
    return network, target


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("said", [{}, {"layer_norm": False}, {"widths": (40,)}, {"widths": ()}])
def test_dqn_is_that_of_its_equations(double: bool, said: dict[str, Any]) -> None:
    network, target = q_networks(**said)
    rows = draw_rows(torch.randint(3, (ROWS,), generator=seeded(1)))
    learner = Learner(network, Schedule(1e-3, 10))
    fitted = fit_choices_by_kernel(
        network, target.network, rows, double, torch.tensor(COUNT), learner
    )
    assert fitted is not None
    twin, lagging = copy.deepcopy(network).double(), copy.deepcopy(target.network).double()
    twin.zero_grad()
    obs, following = rows.obs.double(), rows.next_obs.double()
    with torch.no_grad():
        future = plain(lagging, following)
        best = (plain(twin, following) if double else future).argmax(-1)
        worth = future[range(ROWS), best]
        wanted = rows.reward + rows.discount * worth * (~rows.terminated)
    q = plain(twin, obs)[range(ROWS), rows.action]
    exact = (rows.weight * F.huber_loss(q, wanted, reduction="none")).sum() / COUNT
    size = (q - wanted).abs().detach()
    assert bool((size > 1).any())
    assert bool((size < 1).any())
    said_exactly = {"q": q.sum() / COUNT, "td_error": size.sum() / COUNT}
    compare([(network, twin)], fitted[0], exact, fitted[1], said_exactly)
    assert float((fitted[2] - size).abs().max()) < CLOSE * float(size.max())


def plain(network: Any, obs: Tensor) -> Tensor:
    return network.streams[0](network.trunk[1](obs))


def soft(micro: int | None = None) -> SoftActorCritic:
    action = Box(torch.tensor([-1.0, -1.0]), torch.tensor([1.0, 5.0]))
    encoder = Encoder(SEEN, normalise=True)
    encoder.observe(torch.tensor([30.0, *[0.4] * 5, *[2.0] * 5], dtype=torch.float64))
    random = seeded(0)
    actor = GaussianActor(SEEN, action, generator=random, widths=(40, 24), encoder=encoder)
    critic = TwinCritic(SEEN, action, generator=random, widths=(40, 24), encoder=encoder)
    shake(actor, 0)
    shake(critic, 50)
    with torch.no_grad():
        actor.log_temperature.fill_(-0.7)
        last = actor.network[-1]
        assert isinstance(last, nn.Linear)
        last.bias[2:] += torch.tensor([2.0, -1.0])  # some deviations are held at e²
    learners: Any = [
        Learner(m, Schedule(1e-3, 10), rows_per_micro_batch=micro) for m in (actor, critic)
    ]
    algorithm = SoftActorCritic(
        actor, critic, learners[0], learners[1], Stopwatch(),
        replay=Replay(100, generator=seeded(0)), generator=seeded(5),
    )  # fmt: skip
    shake(algorithm.target_critic.network, 200)
    return algorithm


def noisy_rows() -> Noisy:
    random = seeded(6)
    noise = torch.randn(3, ROWS, 2, generator=random)
    action = 2 + noise[2].tanh() * REACH
    return Noisy.of(draw_rows(action), noise=noise[0], next_noise=noise[1])


def in_float64(
    algorithm: SoftActorCritic,
) -> tuple[GaussianActor, TwinCritic, Any]:
    parts: Any = (algorithm.actor, algorithm.critic, algorithm.target_critic.network)
    actor, critic, target = (copy.deepcopy(part).double() for part in parts)
    for part in (actor, critic):
        part.zero_grad()
    return actor, critic, target


def normalised(algorithm: SoftActorCritic, obs: Tensor) -> Tensor:
    encoder = algorithm.actor.encoder
    away = (obs.double() - encoder.mean.double()) / (encoder.variance.double() + 1e-8).sqrt()
    return away.clamp(-10, 10)


def draw_action(actor: GaussianActor, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """In units of the bounds, and its log-density, by torch's own normal distribution."""
    mean, log_std = actor.network(x).chunk(2, -1)
    std = log_std.clamp(-20, 2).exp()
    u = mean + std * noise.double()
    # 1 − tanh² u is 1/cosh² u; the noise made u, so that the density's slope goes through it.
    logp = torch.distributions.Normal(mean, std).log_prob(u) + 2 * u.cosh().log()
    return u.tanh(), logp.sum(-1)


def judge(critic: TwinCritic, x: Tensor, unit: Tensor) -> list[Tensor]:
    return [net(torch.cat([x, unit], -1))[:, 0] for net in critic.networks]


def test_critics_are_those_of_their_equations() -> None:
    algorithm, rows = soft(), noisy_rows()
    fitted = fit_critics_by_kernel(algorithm, rows, torch.tensor(COUNT))
    assert fitted is not None
    actor, critic, target = in_float64(algorithm)
    x, following = (normalised(algorithm, obs) for obs in (rows.obs, rows.next_obs))
    with torch.no_grad():
        unit, logp = draw_action(actor, following, rows.next_noise)
        worth = torch.minimum(*judge(target, following, unit)) - math.exp(-0.7) * logp
        wanted = rows.reward + rows.discount * worth * (~rows.terminated)
    done = (rows.action.double() - algorithm.actor.bounds.centre) / algorithm.actor.bounds.reach
    errors = [q - wanted for q in judge(critic, x, done)]
    exact = sum((0.5 * rows.weight * e.square()).sum() / COUNT for e in errors)
    assert isinstance(exact, Tensor)
    q = sum((e + wanted).sum() / COUNT / 2 for e in errors)
    assert isinstance(q, Tensor)
    size = torch.stack(errors).abs().mean(0).detach()
    compare([(algorithm.critic, critic)], fitted[0], exact, fitted[1], {"q": q})
    assert float((fitted[2] - size).abs().max()) < CLOSE * float(size.max())


def test_the_actor_is_that_of_its_equations() -> None:
    algorithm, rows = soft(), noisy_rows()
    fitted = fit_actor_by_kernel(algorithm, rows, torch.tensor(COUNT))
    assert fitted is not None
    actor, critic, _ = in_float64(algorithm)
    x = normalised(algorithm, rows.obs)
    held = actor.network(x).detach()[:, 2:] > 2
    assert bool(held.any())
    assert not bool(held.all())
    unit, logp = draw_action(actor, x, rows.noise)
    climbing = (math.exp(-0.7) * logp - torch.minimum(*judge(critic, x, unit))).sum() / COUNT
    surplus = -actor.log_temperature * (logp.detach() - 2).sum() / COUNT
    figures = {"policy_loss": climbing, "entropy": -logp.sum() / COUNT}
    compare([(algorithm.actor, actor)], fitted[0], climbing + surplus, fitted[1], figures)
    assert all(p.grad is None for p in algorithm.critic.parameters())


def test_where_both_critics_say_the_same_the_actor_climbs_it_once() -> None:
    algorithm, rows = soft(), noisy_rows()
    first, second = cast("Any", algorithm.critic.networks)
    second.load_state_dict(first.state_dict())
    assert fit_actor_by_kernel(algorithm, rows, torch.tensor(COUNT)) is not None
    mine = [p.grad for p in algorithm.actor.parameters()]
    shake(second, 7)
    with torch.no_grad():
        last = second[-1]
        assert isinstance(last, nn.Linear)
        last.bias.add_(1e3)  # never the smaller
    algorithm.actor_learner.gradient.clear()
    assert fit_actor_by_kernel(algorithm, rows, torch.tensor(COUNT)) is not None
    for half, whole in zip(mine, algorithm.actor.parameters(), strict=True):
        assert half is not None
        assert whole.grad is not None
        assert torch.allclose(half, whole.grad, rtol=1e-4, atol=1e-6)


def test_pieces_add_up() -> None:
    algorithm, rows = soft(), noisy_rows()
    slopes = []
    for cuts in ((0, ROWS), (0, 13, 14, ROWS)):
        for low, high in itertools.pairwise(cuts):
            piece = rows[low:high]
            assert fit_critics_by_kernel(algorithm, piece, torch.tensor(COUNT)) is not None
            assert fit_actor_by_kernel(algorithm, piece, torch.tensor(COUNT)) is not None
        parts = [*algorithm.critic.parameters(), *algorithm.actor.parameters()]
        slopes.append([p.grad.clone() for p in parts if p.grad is not None])
        assert len(slopes[-1]) == len(parts)
        for learner in (algorithm.actor_learner, algorithm.critic_learner):
            learner.gradient.clear()
    for whole, cut in zip(*slopes, strict=True):
        assert torch.allclose(whole, cut, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "case",
    [
        "no compiler", "hook", "hook on the trunk", "frozen", "no slope", "float64", "dueling",
        "another trunk",
    ],
)  # fmt: skip
def test_torch_computes_what_the_kernel_does_not(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, target = q_networks(dueling=case == "dueling")
    rows = draw_rows(torch.randint(3, (ROWS,), generator=seeded(1)))
    if case == "no compiler":
        monkeypatch.setattr(losses_kernel, "load_kernel", lambda: None)
    if case == "hook":
        cast("Any", network.streams[0])[0].register_forward_hook(lambda *told: None)
    if case == "hook on the trunk":
        network.trunk.register_forward_hook(lambda *told: None)
    if case == "frozen":
        network.streams[0].requires_grad_(False)
    if case == "float64":
        network.double()
    if case == "another trunk":
        network.trunk = cast("Any", nn.Sequential(nn.Identity(), *network.trunk))
    learner = Learner(network, Schedule(1e-3, 10))
    with torch.set_grad_enabled(case != "no slope"):
        fitted = fit_choices_by_kernel(
            network, target.network, rows, True, torch.tensor(COUNT), learner
        )
    assert fitted is None
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize("action", [-1, 3])
def test_an_action_that_is_none_is_left_to_torch_to_refuse(action: int) -> None:
    network, target = q_networks()
    chosen = torch.zeros(ROWS, dtype=torch.long)
    chosen[7] = action
    fitted = fit_choices_by_kernel(
        network, target.network, draw_rows(chosen), True, torch.tensor(COUNT),
        Learner(network, Schedule(1e-3, 10)),
    )  # fmt: skip
    assert fitted is None


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_best_is_what_is_no_number_as_torch_has_it(place: int) -> None:
    network, target = q_networks(widths=())
    bias = list(target.network.parameters())[-1]
    with torch.no_grad():
        bias[place] = math.nan
    rows = draw_rows(torch.zeros(ROWS, dtype=torch.long))
    fitted = fit_choices_by_kernel(
        network, target.network, rows, False, torch.tensor(COUNT),
        Learner(network, Schedule(1e-3, 10)),
    )  # fmt: skip
    assert fitted is not None
    assert math.isnan(float(fitted[0]))


class Doubled(Perceptron):
    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


@pytest.mark.parametrize(
    "case", ["no compiler", "hook", "subclass", "own perceptron", "own encoder", "no slope"]
)
def test_soft_losses_are_torchs_where_the_kernel_cannot(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Own(TwinCritic):
        pass

    algorithm, rows = soft(), noisy_rows()
    if case == "no compiler":
        monkeypatch.setattr(losses_kernel, "load_kernel", lambda: None)
    if case == "hook":
        algorithm.critic.networks[0].register_forward_hook(lambda *told: None)
    if case == "subclass":
        algorithm.critic.__class__ = Own
    if case == "own perceptron":
        algorithm.critic.networks[0].__class__ = Doubled
    if case == "own encoder":
        algorithm.critic.encoder = copy.deepcopy(algorithm.critic.encoder)
    with torch.set_grad_enabled(case != "no slope"):
        assert fit_critics_by_kernel(algorithm, rows, torch.tensor(COUNT)) is None
        assert fit_actor_by_kernel(algorithm, rows, torch.tensor(COUNT)) is None
