"""A search teaches what enumeration says it should: the gradient is that of the cross entropy to
the optimum, and to visit shares.
"""

from __future__ import annotations

import pytest
import torch

from fledge.algorithms.likelihood.search_teacher import SearchTeacher, mark_groups
from fledge.exact.enumerable import optimum
from fledge.plan.token_tree import Path, weigh_by_visits, weigh_by_worth
from fledge.sample.searched import join_branches, list_branches
from fledge.sample.token_search import TokenSearch
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Sampled
from tests.sample.small_searches import LANGUAGE, Small
from tests.subjects import Gradients, learner

BETA = 0.4


def teach(small: Small, searches: list[tuple[TokenSearch, dict[Path, float]]]) -> torch.Tensor:
    """The gradient of one update, as a table of the language.  [P, V]"""
    batch = join_branches(
        [[0]] * len(searches), [list_branches(one, edges) for one, edges in searches]
    )
    fit = learner(small.policy)
    look = Gradients(fit)
    SearchTeacher(small.policy, fit, Stopwatch()).update(batch)
    return look.flat.view(small.network.table.shape)[:, small.network.row_of(LANGUAGE)].T


def cross_entropy_gradient(small: Small, target: torch.Tensor) -> torch.Tensor:
    """∇ −Σ_y q(y) log π(y), through the enumeration.  [S] -> [P, V]"""
    table = small.logits.clone().requires_grad_(True)
    return torch.autograd.grad(-(target * LANGUAGE.log_prob(table)).sum(), table)[0]


@pytest.mark.parametrize("seed", range(3))
def test_of_an_exhausted_tree_the_soft_lesson_is_the_cross_entropy_to_the_optimum(
    seed: int,
) -> None:
    small = Small(seed, scale=0.3)
    tree = small.search(simulations=400, exploration=1e4)
    gradient = teach(small, [(tree, weigh_by_worth(tree.tree, BETA))])
    wanted = cross_entropy_gradient(small, optimum(small.reward, small.logp, BETA).exp())
    torch.testing.assert_close(gradient, wanted, rtol=0, atol=2e-6)  # shares are float32
    assert wanted.abs().max() > 0.01


def test_the_lesson_of_visits_is_the_cross_entropy_to_their_shares() -> None:
    """Edge by edge out of the tree: Σ N(edge)/N(root) (−∇ log π), the mean over two prompts."""
    small = Small(1)
    trees = [small.search(simulations=n) for n in (30, 50)]
    gradient = teach(small, [(one, weigh_by_visits(one.tree)) for one in trees])
    table = small.logits.clone().requires_grad_(True)
    logp = table.log_softmax(-1)
    loss = torch.zeros((), dtype=torch.float64)
    for one in trees:
        for node in one.tree.nodes():
            for edge, n in enumerate(node.visits.tolist()):
                at = LANGUAGE.prefixes.index(node.path)
                share = n / float(one.tree.root.visits.sum())
                loss = loss - share * logp[at, node.tokens[edge]] / 2
    wanted = torch.autograd.grad(loss, table)[0]
    torch.testing.assert_close(gradient, wanted, rtol=0, atol=2e-6)
    assert wanted.abs().max() > 0.01


def test_every_edge_is_taught_once_and_at_its_place() -> None:
    small = Small(2)
    tree = small.search(simulations=60)
    edges = weigh_by_visits(tree.tree)
    batch = join_branches([[0]], [list_branches(tree, edges)])
    said: dict[Path, float] = {}
    for row in range(len(batch)):
        for t in batch.chosen[row].nonzero().flatten().tolist():
            path = tuple(batch.obs[row, 1 : t + 2].tolist())
            assert path not in said
            said[path] = float(batch.reward[row, t])
    assert said == pytest.approx(edges)
    assert float(batch.reward[~batch.chosen].abs().sum()) == 0


def test_a_policy_that_is_taught_earns_more() -> None:
    """By enumeration: E[r] after 60 lessons of 24 simulations each."""
    small = Small(4)
    fit = learner(small.policy, rate=0.1)
    teacher = SearchTeacher(small.policy, fit, Stopwatch())

    def earns() -> float:
        logp = LANGUAGE.log_prob(small.network.logits(LANGUAGE).detach())
        return float((logp.exp() * small.reward).sum())

    before = earns()
    for _ in range(60):
        tree = small.search(simulations=24)
        teacher.update(join_branches([[0]], [list_branches(tree, weigh_by_visits(tree.tree))]))
    highest = float(small.reward.max())
    assert earns() > before + 0.6 * (highest - before)


def test_one_row_of_every_group_is_marked() -> None:
    group = torch.tensor([3, 1, 3, 1, 7])
    rows = torch.zeros(5, 2, dtype=torch.long)
    flags = torch.ones(5, 1, dtype=torch.bool)
    batch = Sampled(
        rows, rows[:, 1:], flags, torch.zeros(5, 1), flags, ~flags, logp=torch.zeros(5, 1),
        group=group,
    )  # fmt: skip
    assert mark_groups(batch).tolist() == [True, True, False, False, True]
