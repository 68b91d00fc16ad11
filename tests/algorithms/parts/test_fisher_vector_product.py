"""The Fisher matrix, by enumeration and by formula, is the Hessian of the KL and what its products
say; the gradient is the score's.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, distributions

from fledge.algorithms.parts.fisher_vector_product import (
    FisherVectorProduct,
    conjugate_gradient,
    policy_parameters,
)
from fledge.models.control.actor_critic import ActorCritic
from fledge.trajectories import Trajectories
from fledge.weights_version import count_changes, read_version
from tests.algorithms.heads import EXACT, HEADS, actor_critic, distribution, flat, kl, said, samples
from tests.subjects import learner, seeded


def fisher_by_definition(name: str, both: ActorCritic, batch: Trajectories) -> Tensor:
    """E[∇log π ∇log πᵀ], the mean over states and the sum over all actions; of a Gaussian Jᵀ
    diag(1/σ², 2) J.  -> [P, P]
    """
    here = flat(policy_parameters(both))
    # [N, size, P]
    slope = torch.autograd.functional.jacobian(lambda at: said(both, batch, at), here)
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
            score = (torch.eye(p.shape[1], dtype=torch.float64)[a] - p)[:, None] @ slope[
                :, first : first + p.shape[1]
            ]
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
    hessian = torch.autograd.functional.hessian(
        lambda at: kl(name, old, said(both, batch, at)), here
    )
    assert isinstance(hessian, Tensor)
    torch.testing.assert_close(hessian, exact, **EXACT)
    near = FisherVectorProduct(both, batch, learner(both.critic))
    products = torch.stack(
        [near.product(unit, 0.0) for unit in torch.eye(len(here), dtype=torch.float64)]
    )
    torch.testing.assert_close(products, exact, **EXACT)
    assert exact.norm() > 0.1
    unit = torch.ones_like(here)
    torch.testing.assert_close(near.product(unit, 0.3), exact.sum(1) + 0.3, **EXACT)


@HEADS
def test_the_gradient_is_the_mean_score_times_the_advantage(name: str) -> None:
    both = actor_critic(name)
    batch = samples(both)
    here = flat(policy_parameters(both)).requires_grad_(True)
    action = batch.action[batch.chosen]
    each = distribution(name, said(both, batch, here))
    parts = [action] if len(each) == 1 else list(action.unbind(-1))
    logp = sum((of.log_prob(done) for of, done in zip(each, parts, strict=True)), torch.zeros(()))
    expected = torch.autograd.grad((logp * batch.weight[batch.chosen]).mean(), here)[0]
    near = FisherVectorProduct(both, batch, learner(both.critic))
    torch.testing.assert_close(near.gradient(), expected, **EXACT)
    assert near.measure() == (0.0, pytest.approx(0.0, abs=1e-15))


@pytest.mark.parametrize("size", [1, 5, 20])
def test_conjugate_gradient_solves_in_as_many_steps_as_there_are_unknowns(size: int) -> None:
    root = torch.randn(size, size, generator=seeded(size), dtype=torch.float64)
    matrix, wanted = (
        root @ root.T / size + torch.eye(size),
        torch.randn(size, generator=seeded(9), dtype=torch.float64),
    )
    solution = conjugate_gradient(lambda v: matrix @ v, wanted, size, tolerance=1e-12)
    np.testing.assert_allclose(solution, np.linalg.solve(matrix, wanted), rtol=0, atol=1e-8)
    assert not conjugate_gradient(lambda v: matrix @ v, torch.zeros_like(wanted), size).any()
    rough = conjugate_gradient(lambda v: matrix @ v, wanted, size, tolerance=0.5)
    assert (wanted - matrix @ rough).norm() <= 0.5 * wanted.norm()


@HEADS
def test_a_move_and_the_move_back_raise_the_version_of_the_weights(name: str) -> None:
    both = actor_critic(name)
    count_changes(both)
    near = FisherVectorProduct(both, samples(both), learner(both.critic))
    near.move(torch.full_like(flat(near.parameters), 0.1))
    assert read_version(both) == 1
    near.move_back()
    assert read_version(both) == 2
