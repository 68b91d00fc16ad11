"""The losses of routers are their formulas over all tokens of a step, in any number of pieces and
on any number of ranks; and both ways of keeping experts in use do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.algorithms.likelihood.routed import Routed, RoutingSettings
from fledge.algorithms.likelihood.routing_losses import balance_loss, correct_bias, router_z_loss
from fledge.models.language.mixture import Experts, list_mixtures, watch_routing
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from tests.every_rank import on_ranks
from tests.subjects import Gradients, figures_close, learner, policy_of, rollouts, transformer

EXPERTS = Experts(5, 2, 8)
CORRECTED = Experts(5, 2, 8, corrected=True)
STRONG = RoutingSettings(balance_loss=2.0, router_z_loss=0.3, capacity=1.2)


def make(experts: Experts, settings: RoutingSettings, **how: Any) -> tuple[Routed, Trajectories]:
    policy = policy_of(transformer(dtype=torch.float64, experts=experts))
    rows = rollouts(policy_of(transformer(dtype=torch.float64)))
    return Routed(policy, learner(policy, **how), Stopwatch(), settings), rows


def test_losses_are_their_formulas() -> None:
    even = torch.full((4,), 0.25, dtype=torch.float64)
    assert balance_loss(even, even) == 1
    p = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64, requires_grad=True)
    loss = balance_loss(p, p)
    assert float(loss.detach()) == pytest.approx(4 * (0.16 + 0.09 + 0.04 + 0.01))
    # the share that is chosen is a count, and has no gradient
    [gradient] = torch.autograd.grad(loss, p)
    torch.testing.assert_close(gradient, 4 * p.detach())
    # where what is scored high is chosen often no other is lower: Σ p² ≥ 1 / E
    for other in torch.rand(50, 4, dtype=torch.float64).softmax(-1):
        assert balance_loss(other, other) >= 1 - 1e-12
    logits = torch.tensor([[0.0, 0.0], [1.0, 3.0]], dtype=torch.float64)
    lse = torch.tensor([2.0, torch.e + torch.e**3], dtype=torch.float64).log()
    torch.testing.assert_close(router_z_loss(logits), lse**2)
    moved = correct_bias(torch.tensor([0.5, 0, 0]), torch.tensor([0.5, 0.2, 0.3]), 0.1)
    torch.testing.assert_close(moved, torch.tensor([0.4, 0.1, 0.1]))


def judge_whole(routed: Routed, batch: Trajectories) -> tuple[Tensor, Tensor]:
    """What is minimised, of the whole batch at once, and each expert's share of choices [L, E]: by
    loops over layers and experts, of rows without a limit.
    """
    network, s = routed.policy.network, routed.settings
    with watch_routing(network) as said:
        logp = routed.policy.log_prob(batch.obs, batch.action)
    loss = -(logp * batch.chosen).sum() / batch.chosen.sum()
    real = torch.zeros_like(batch.chosen)
    for row, last in enumerate(batch.last().tolist()):
        real[row, :last] = True
    flat, number = real.flatten(), EXPERTS.number
    loads = []
    for one in said:
        p = one.logits.softmax(-1)[flat]
        f = [float((one.expert[flat] == e).sum()) / (2 * len(p)) for e in range(number)]
        loss = loss + s.balance_weight * number * sum(
            share * p[:, e].mean() for e, share in enumerate(f)
        )
        loss = loss + s.router_z_loss * (one.logits[flat].logsumexp(-1) ** 2).mean()
        loads.append(f)
    return loss, torch.tensor(loads)


def test_the_gradient_is_that_of_the_formula_over_the_whole_step() -> None:
    for how in ({}, {"rows_per_micro_batch": 3}):
        routed, batch = make(EXPERTS, STRONG.model_copy(update={"capacity": None}), **how)
        taken = Gradients(routed.learner)
        figures = routed.update(batch)
        loss, loads = judge_whole(routed, batch)
        expected = torch.autograd.grad(loss, routed.learner.parameters)
        torch.testing.assert_close(taken.flat, torch.cat([g.flatten() for g in expected]))
        torch.testing.assert_close(torch.tensor(figures["expert_load"]), loads, atol=1e-4, rtol=0)
        assert figures["busiest_expert"] == pytest.approx(5 * float(loads.max()), rel=1e-6)


def update(micro: int | None, again: bool = False) -> list[Any]:
    """Gradients, figures and biases of a step of each kind of network. again: activations are
    computed again in the backward pass.
    """
    said = []
    for experts, settings in (
        (EXPERTS, STRONG), (CORRECTED, RoutingSettings(bias_rate=0.1)),
    ):  # fmt: skip
        routed, batch = make(experts, settings, rows_per_micro_batch=micro)
        routed.policy.network.gradient_checkpointing = again
        taken = Gradients(routed.learner)
        figures = routed.update(batch)
        biases = [m.bias for m in list_mixtures(routed.policy.network) if experts.corrected]
        said.append((taken.flat, figures, biases))
    return said


def test_a_step_is_the_same_in_pieces_and_on_ranks(tmp_path: Path) -> None:
    whole = update(None)
    assert 0 < whole[0][1]["dropped_share"] < 0.5
    sides = [update(3), update(1), update(5, again=True)]
    sides += on_ranks(2, lambda: update(3), tmp_path / "two")
    for side in sides:
        for (gradient, figures, biases), (other, others, moved) in zip(whole, side, strict=True):
            torch.testing.assert_close(other, gradient, rtol=1e-6, atol=1e-9)
            assert others["expert_load"] == figures["expert_load"]
            plain = figures.keys() - {"expert_load"}
            figures_close({k: others[k] for k in plain}, {k: figures[k] for k in plain}, 1e-6)
            torch.testing.assert_close(moved, biases)
            assert all(bias.unique().numel() > 1 for bias in biases)


def test_both_ways_spread_the_load() -> None:
    """Which without either stays as uneven as it is at first; and the likelihood rises in all."""
    busiest = {}
    for name, experts, settings in (
        ("neither", EXPERTS, RoutingSettings(balance_loss=0.0)),
        ("loss", EXPERTS, RoutingSettings(balance_loss=2.0)),
        ("bias", CORRECTED, RoutingSettings(bias_rate=0.01)),
    ):
        routed, batch = make(experts, settings, rate=1e-3)
        with torch.no_grad():
            for mixture in routed.mixtures:
                mixture.router.weight[:2] *= 4  # the first two stand out
        figures = [routed.update(batch) for _ in range(45)]
        assert figures[-1]["loss"] < 0.8 * figures[0]["loss"]
        busiest[name] = sum(one["busiest_expert"] for one in figures[-10:]) / 10
    assert busiest["neither"] > 1.7
    assert max(busiest["loss"], busiest["bias"]) < busiest["neither"] - 0.1
