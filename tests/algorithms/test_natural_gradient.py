"""The Fisher matrix, by enumeration and by formula, is the Hessian of the KL and what its products say; the step is F⁻¹g; and it is saved."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, distributions, nn

from fledge.algorithms.natural_gradient import FixedRate, NaturalGradient, NaturalGradientSettings
from fledge.algorithms.neighbourhood import Neighbourhood, conjugate_gradient, policy_parameters
from fledge.algorithms.trpo import trpo
from fledge.errors import UserError
from fledge.learner import Learner, Schedule
from fledge.models.actor_critic import ActorCritic
from fledge.runs.checkpoint import load_state, save_state
from fledge.sample.episodes import Episodes
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from fledge.worlds.world import Box, Choices, Space
from tests.algorithms.small_worlds import Circle
from tests.subjects import GARBAGE, learner, seeded

EXACT: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-12}
ACTIONS: dict[str, Space] = {
    "one choice": Choices((3,)),
    "several choices": Choices((2, 3)),
    "Gaussian": Box(torch.full((2,), -1.0), torch.full((2,), 1.0)),
}
HEADS = pytest.mark.parametrize("name", ACTIONS)


def vectors(width: int) -> Box:
    return Box(torch.full((width,), -math.inf), torch.full((width,), math.inf))


def actor_critic(name: str, *, width: int = 3, actor: nn.Module | None = None, seed: int = 0) -> ActorCritic:
    """In float64, its numbers far enough from 0 that no two actions are alike."""
    made = ActorCritic(
        vectors(width), ACTIONS[name], generator=seeded(seed), widths=(4,), normalise=True, log_std=-0.3, actor=actor
    ).double()
    with torch.no_grad():
        for parameter in policy_parameters(made):
            parameter += 0.5 * torch.randn(parameter.shape, generator=seeded(seed + 1), dtype=torch.float64)
    return made


def samples(actor_critic: ActorCritic, rows: int = 6, steps: int = 5, seed: int = 2) -> Trajectories:
    """Of the policy's own, some steps not chosen, some ends of both kinds; `weight` an advantage drawn at random."""
    random, width = seeded(seed), actor_critic.encoder.width
    obs = torch.randn(rows, steps + 1, width, generator=random, dtype=torch.float64)
    action, logp = actor_critic.act(obs[:, :-1].flatten(0, 1), random)
    chosen = torch.rand(rows, steps, generator=random) > 0.2
    terminated, truncated = (chosen & (torch.rand(rows, steps, generator=random) < p) for p in (0.2, 0.1))
    reward, weight = torch.randn(2, rows, steps, generator=random, dtype=torch.float64)
    action = action.view(rows, steps, *action.shape[1:])
    logp = logp.view(rows, steps)
    return Trajectories(obs, action, chosen, reward, terminated, truncated & ~terminated, logp=logp, weight=weight)


def algorithm(
    both: ActorCritic, make: Callable[..., NaturalGradient] = trpo, micro: int | None = None, **settings: Any
) -> NaturalGradient:
    fit = learner(both.critic, rows_per_micro_batch=micro)
    given = replace(NaturalGradientSettings(critic_updates=4, critic_epochs=2), **settings)
    return make(both, fit, Stopwatch(), given, generator=seeded(4))


def flat(tensors: Any) -> Tensor:
    return torch.cat([x.detach().reshape(-1) for x in tensors])


def said(both: ActorCritic, batch: Trajectories, at: Tensor) -> Tensor:
    """The head's numbers for the chosen steps where the policy's parameters are `at`.  [P] -> [N, size]"""
    names = [name for name, _ in both.named_parameters() if not name.startswith("critic")]
    own = dict(both.named_parameters())
    parts = at.split([own[name].numel() for name in names])
    given = {name: part.view_as(own[name]) for name, part in zip(names, parts, strict=True)}
    encoded = both.encoder(batch.obs[:, :-1][batch.chosen])
    actor = {name.removeprefix("actor."): value for name, value in given.items() if name.startswith("actor.")}
    out = torch.func.functional_call(both.actor, actor, (encoded,))
    return torch.cat([out, given["log_std"].expand_as(out)], -1) if "log_std" in given else out


def distribution(name: str, numbers: Tensor) -> list[distributions.Distribution]:
    """By torch's own distributions: one for each part of the action."""
    if name == "Gaussian":
        mean, log_std = numbers.chunk(2, -1)
        return [distributions.Independent(distributions.Normal(mean, log_std.exp()), 1)]
    space = ACTIONS[name]
    assert isinstance(space, Choices)
    return [distributions.Categorical(logits=part) for part in numbers.split(list(space.sizes), -1)]


def kl(name: str, old: Tensor, new: Tensor) -> Tensor:
    """Mean over states."""
    pairs = zip(distribution(name, old), distribution(name, new), strict=True)
    return sum((distributions.kl_divergence(a, b) for a, b in pairs), torch.zeros(())).mean()


def fisher_by_definition(name: str, both: ActorCritic, batch: Trajectories) -> Tensor:
    """E[∇log π ∇log πᵀ], the mean over states and the sum over all actions; of a Gaussian Jᵀ diag(1/σ², 2) J.  -> [P, P]"""
    here = flat(policy_parameters(both))
    slope = torch.autograd.functional.jacobian(lambda at: said(both, batch, at), here)  # [N, size, P]
    assert isinstance(slope, Tensor)
    numbers = said(both, batch, here)
    if name == "Gaussian":
        log_std = numbers.chunk(2, -1)[1]
        inside = torch.cat([(-2 * log_std).exp(), torch.full_like(log_std, 2.0)], -1)  # [N, size]
        return torch.einsum("nip,ni,niq->pq", slope, inside, slope) / len(numbers)
    whole, first = torch.zeros(len(here), len(here), dtype=torch.float64), 0
    for part in distribution(name, numbers):
        assert isinstance(part, distributions.Categorical)
        p = part.probs
        for a in range(p.shape[1]):
            score = (torch.eye(p.shape[1], dtype=torch.float64)[a] - p)[:, None] @ slope[:, first : first + p.shape[1]]
            whole += torch.einsum("n,np,nq->pq", p[:, a], score[:, 0], score[:, 0]) / len(p)
        first += p.shape[1]
    return whole


@HEADS
def test_the_fisher_matrix_is_the_hessian_of_the_kl_and_what_the_products_say(name: str) -> None:
    both = actor_critic(name)
    batch = samples(both)
    exact = fisher_by_definition(name, both, batch)
    here = flat(policy_parameters(both))
    old = said(both, batch, here)
    hessian = torch.autograd.functional.hessian(lambda at: kl(name, old, said(both, batch, at)), here)
    assert isinstance(hessian, Tensor)
    torch.testing.assert_close(hessian, exact, **EXACT)
    near = Neighbourhood(both, batch, learner(both.critic))
    products = torch.stack([near.fisher(unit, 0.0) for unit in torch.eye(len(here), dtype=torch.float64)])
    torch.testing.assert_close(products, exact, **EXACT)
    assert exact.norm() > 0.1
    unit = torch.ones_like(here)
    torch.testing.assert_close(near.fisher(unit, 0.3), exact.sum(1) + 0.3, **EXACT)


@HEADS
def test_the_gradient_is_the_mean_score_times_the_advantage(name: str) -> None:
    both = actor_critic(name)
    batch = samples(both)
    here = flat(policy_parameters(both)).requires_grad_(True)
    action = batch.action[batch.chosen]
    each = distribution(name, said(both, batch, here))
    parts = [action] if len(each) == 1 else list(action.unbind(-1))
    logp = sum((of.log_prob(done) for of, done in zip(each, parts, strict=True)), torch.zeros(()))
    assert batch.weight is not None
    expected = torch.autograd.grad((logp * batch.weight[batch.chosen]).mean(), here)[0]
    near = Neighbourhood(both, batch, learner(both.critic))
    torch.testing.assert_close(near.gradient(), expected, **EXACT)
    assert near.measure() == (0.0, pytest.approx(0.0, abs=1e-15))


@pytest.mark.parametrize("size", [1, 5, 20])
def test_conjugate_gradient_solves_in_as_many_steps_as_there_are_unknowns(size: int) -> None:
    root = torch.randn(size, size, generator=seeded(size), dtype=torch.float64)
    matrix, wanted = root @ root.T / size + torch.eye(size), torch.randn(size, generator=seeded(9), dtype=torch.float64)
    found = conjugate_gradient(lambda v: matrix @ v, wanted, size, tolerance=1e-12)
    np.testing.assert_allclose(found, np.linalg.solve(matrix, wanted), rtol=0, atol=1e-8)
    assert not conjugate_gradient(lambda v: matrix @ v, torch.zeros_like(wanted), size).any()
    rough = conjugate_gradient(lambda v: matrix @ v, wanted, size, tolerance=0.5)
    assert (wanted - matrix @ rough).norm() <= 0.5 * wanted.norm()


def test_on_a_table_the_step_is_the_solution_of_a_linear_system() -> None:
    """Softmax of a table over five places: F is a block d(s)·(diag π − π πᵀ) for each, and the advantage here is the reward."""
    table = nn.Linear(5, 3, bias=False)
    both = actor_critic("one choice", width=5, actor=table)
    with torch.no_grad():
        both.critic[-1].weight.zero_()  # pyright: ignore[reportCallIssue]
    batch = samples(both, rows=16, steps=8)
    place = torch.randint(0, 5, (16, 9), generator=seeded(7))
    batch = batch.with_(obs=torch.eye(5, dtype=torch.float64)[place])
    pi = torch.softmax(
        table.weight.detach().T / math.sqrt(1 + 1e-8), -1
    ).numpy()  # the encoder divides by a spread of 1
    seen, done, reward = (x[batch.chosen].numpy() for x in (place[:, :-1], batch.action, batch.reward))
    fisher, gradient = np.zeros((15, 15)), np.zeros(15)
    for s, a, r in zip(seen, done, reward, strict=True):
        block = slice(3 * s, 3 * s + 3)
        fisher[block, block] += (np.diag(pi[s]) - np.outer(pi[s], pi[s])) / len(seen)
        gradient[block] += r * (np.eye(3)[a] - pi[s]) / len(seen)
    expected = np.linalg.solve(fisher + 1e-3 * np.eye(15), gradient).reshape(5, 3)
    before = table.weight.detach().clone()
    made = NaturalGradient(
        both,
        learner(both.critic, rate=0.0),
        Stopwatch(),
        NaturalGradientSettings(0.0, 0.0, whiten_advantage=False, damping=1e-3, solver_steps=40, critic_updates=10),
        generator=seeded(0),
        step=FixedRate(0.7),
    )
    figures = made.update(batch.with_(logp=None))
    moved = (table.weight.detach() - before).T.numpy()
    np.testing.assert_allclose(moved, 0.7 * expected, rtol=1e-4, atol=1e-5)
    assert figures["policy_grad_norm"] == pytest.approx(np.linalg.norm(gradient), rel=1e-6)
    assert figures["policy_gain"] > 0


@pytest.mark.parametrize("make", [NaturalGradient, trpo])
@HEADS
def test_an_update_is_the_same_in_pieces_and_whatever_stands_where_nothing_was_chosen(
    name: str, make: Callable[..., NaturalGradient]
) -> None:
    found = []
    for micro, garbage in [(None, None), (1, None), (4, None), *((None, kind) for kind in GARBAGE)]:
        both = actor_critic(name)
        batch = samples(both)
        if garbage is not None:
            spoilt = torch.where(batch.chosen, batch.reward, garbage)
            logp = torch.where(batch.chosen, batch.logp, garbage)  # pyright: ignore[reportArgumentType,reportCallIssue]
            batch = batch.with_(reward=spoilt, logp=logp, weight=None)
        figures = algorithm(both, make, micro).update(batch)
        found.append((flat(both.parameters()), flat(both.buffers()), figures["policy_kl"]))
    for weights, seen, distance in found[1:]:
        torch.testing.assert_close(weights, found[0][0], rtol=1e-8, atol=1e-9)
        torch.testing.assert_close(seen, found[0][1], **EXACT)
        assert distance == pytest.approx(found[0][2], rel=1e-8)


class Stop(Exception):
    """The process ends here."""


@pytest.mark.parametrize("stop_after", [1, 3, 4])
@HEADS
def test_an_update_broken_off_between_two_steps_continues_with_the_same_bits(
    name: str, stop_after: int, tmp_path: Path
) -> None:
    """Through a checkpoint on disk, the statistics of observations included; then a second batch."""
    straight, broken, resumed = (algorithm(actor_critic(name, seed=seed)) for seed in (0, 0, 5))
    batch = samples(straight.actor_critic)
    first = straight.update(batch)
    made = 0

    def between_steps() -> None:
        nonlocal made
        made += 1
        if made == stop_after:
            save_state(tmp_path / "state", broken.state_dict())
            raise Stop

    with pytest.raises(Stop):
        broken.update(batch, between_steps)
    resumed.load_state_dict(load_state(tmp_path / "state"))
    assert resumed.unfinished is not None
    assert resumed.update(resumed.unfinished) == first
    assert resumed.unfinished is None
    for _ in range(2):
        for x, y in ((one.actor_critic.state_dict().values() for one in (straight, resumed)),):
            assert all(torch.equal(a, b) for a, b in zip(x, y, strict=True))
        again = samples(straight.actor_critic, seed=8)
        assert resumed.update(again) == straight.update(again)


def test_a_gradient_that_is_no_number_leaves_everything_as_it_was() -> None:
    both = actor_critic("Gaussian")
    made, batch = algorithm(both), samples(both)
    reward = batch.reward.clone()
    reward[batch.chosen.nonzero(as_tuple=True)[0][0], batch.chosen.nonzero(as_tuple=True)[1][0]] = math.inf
    before = flat(both.parameters())
    with pytest.raises(UserError, match="training cannot go on"):
        made.update(batch.with_(reward=reward))
    assert torch.equal(flat(both.parameters()), before)
    assert made.unfinished is None
    with pytest.raises(UserError, match="disagree"):
        made.update(batch.with_(logp=batch.logp + 1))  # pyright: ignore[reportOptionalOperand]


def test_a_learner_of_the_policy_too_is_refused() -> None:
    both = actor_critic("one choice")
    with pytest.raises(ValueError, match=r"actor_critic\.critic"):
        NaturalGradient(both, learner(both), Stopwatch(), generator=seeded(0))


@pytest.mark.parametrize("ends", [True, False])
def test_a_cut_episode_goes_on_being_worth_something_and_an_ended_one_does_not(ends: bool) -> None:
    """V = 1/(1−γ) in all places where each round is only cut; (1 − γ^(10−k))/(1−γ) where it ends after the tenth place."""
    world = Circle(16, ends=ends)
    both = ActorCritic(world.observation, world.action, generator=seeded(0), widths=(32,))
    fit = Learner(both.critic, Schedule(3e-2, 40 * 20, shape="cosine", final=0.01), weight_decay=0.0, clip=0.0)
    settings = NaturalGradientSettings(gamma=0.9, critic_updates=20, critic_epochs=5)
    made = trpo(both, fit, Stopwatch(), settings, generator=seeded(1))
    episodes = Episodes(world, both, Stopwatch(), steps=22, seed=0)
    for _ in range(40):
        made.update(next(episodes))
    left = torch.arange(10, 0, -1) if ends else torch.full((10,), math.inf)
    with torch.no_grad():
        value = both.value(torch.arange(10)[None])[0]
    torch.testing.assert_close(value, (1 - 0.9**left) / (1 - 0.9), rtol=0, atol=0.05)
