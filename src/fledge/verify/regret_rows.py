"""Games with hidden information beside Kuhn's poker in closed form: best responses, what regrets
lead to, and what sampled regrets are on average.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fledge.algorithms.regret.cfr import CFR_PLUS, CounterfactualRegret
from fledge.algorithms.regret.external_sampling import ExternalSampling
from fledge.exact.kuhn import VALUE, best_answers, equilibrium, value
from fledge.plan.game_tree import GameTree, read_tree
from fledge.plan.sampled_walks import Pick, walk
from fledge.plan.sequence_form import SequenceForm
from fledge.stopwatch import Stopwatch
from fledge.verify.rows import TableRow
from fledge.worlds.poker import Kuhn

# what a player knows at each of the six places of exact/kuhn.py
PLACES = (("J", "Q", "K", "J pb", "Q pb", "K pb"), ("J p", "Q p", "K p", "J b", "Q b", "K b"))


def find_bets(tree: GameTree) -> list[list[int]]:
    """The slot of betting at each of those places, by player."""
    first = {(one.player, one.name): one.first for one in tree.sets}
    return [[first[player, known] + 1 for known in PLACES[player]] for player in (0, 1)]


def lay_out(tree: GameTree, strategies: tuple[Tensor, Tensor]) -> np.ndarray:
    """Both players' bets as the tree's slots have them.  [6], [6] -> [slots]"""
    flat = np.empty(tree.slots)
    for slots, bets in zip(find_bets(tree), strategies, strict=True):
        flat[slots], flat[np.array(slots) - 1] = bets.numpy(), 1 - bets.numpy()
    return flat


def best_answer_row() -> TableRow:
    tree = read_tree(Kuhn())
    form, random = SequenceForm(tree), torch.Generator().manual_seed(81)
    error = 0.0
    drawn = [torch.rand(2, 6, dtype=torch.float64, generator=random) for _ in range(10)]
    pairs = [(one[0], one[1]) for one in drawn] + [equilibrium(alpha) for alpha in (0.0, 0.2)]
    for first, second in pairs:
        flat = lay_out(tree, (first, second))
        told = form.evaluate((flat[form.sides[0].tree_slot], flat[form.sides[1].tree_slot]))
        exact = sum(best_answers(first, second)) / 2
        error = max(error, abs(told["exploitability"] - exact))
        error = max(error, abs(told["game_value"] - float(value(first, second))))
    return TableRow(
        "CFR1", "best responses, Kuhn's poker", "exploitability is that by all 64 pure strategies",
        error, 1e-12,
        f"exploitability and value of {len(pairs)} pairs of strategies to {error:.1e}",
    )  # fmt: skip


def equilibrium_row(id: str, name: str, algorithm: CounterfactualRegret | ExternalSampling,
                    steps: int, bound: float) -> TableRow:  # fmt: skip
    """How much either could gain, by all pure strategies, and how far the value is from −1/18."""
    for _ in range(steps):
        algorithm.update(None)
    tree = algorithm.form.tree
    flat = np.empty(tree.slots)
    for side, own in zip(algorithm.form.sides, algorithm.average_strategies(), strict=True):
        flat[side.tree_slot] = own
    first, second = (torch.from_numpy(flat[slots]) for slots in find_bets(tree))
    gain = sum(best_answers(first, second)) / 2
    away = abs(float(value(first, second)) - VALUE)
    figure = max(gain, away / 2)  # in an equilibrium to within ε the value is to within 2ε
    return TableRow(
        id, f"{name}, Kuhn's poker", "its average comes to an equilibrium, worth −1/18",
        figure, bound,
        f"after {steps} iterations a best response wins {gain:.1e} more; value off by {away:.1e}",
    )  # fmt: skip


def sampled_row() -> TableRow:
    """Every deal and every answer of the other player's, each walk as often as it would be drawn,
    beside the derivative of the value in closed form: what betting wins more than passing.
    """
    tree, random = read_tree(Kuhn()), torch.Generator().manual_seed(82)
    both = torch.rand(2, 6, dtype=torch.float64, generator=random)
    flat, bets = lay_out(tree, (both[0], both[1])), find_bets(tree)
    error = 0.0
    for walker in (0, 1):
        mean = np.zeros(tree.slots)
        for deal in range(6):
            for answers in range(64):
                bet = [answers >> k & 1 for k in range(6)]
                chance = [p if b else 1 - p for p, b in zip(both[1 - walker].tolist(), bet,
                                                           strict=True)]  # fmt: skip
                pick = _answer(tree, deal, dict(zip(bets[1 - walker], bet, strict=True)))
                walked = walk(tree, walker, flat, 1, pick)
                mean += walked.regret * float(np.prod(chance)) / 6
        own = both[walker].clone().requires_grad_(True)
        pair = (own, both[1]) if walker == 0 else (both[0], own)
        worth = value(*pair) * (1 if walker == 0 else -1)
        slope = torch.autograd.grad(worth, own)[0]
        reach = torch.ones(6, dtype=torch.float64)
        if walker == 0:  # the derivative counts the first pass too, the regret does not
            reach[3:] = 1 - both[0, :3]
        wanted = (slope / reach).numpy()
        error = max(error, float(np.abs(mean[bets[walker]] - mean[np.array(bets[walker]) - 1]
                                        - wanted).max()))  # fmt: skip
    return TableRow(
        "CFR4", "mccfr, one walk", "on average the regret of the whole tree", error, 1e-12,
        f"mean over all 384 walks of either player to {error:.1e}",
    )  # fmt: skip


def _answer(tree: GameTree, deal: int, bet: dict[int, int]) -> Pick:
    """What is picked in one deal (0 to 5) by a pure strategy: {slot of betting: whether}."""

    def pick(nodes: np.ndarray, depth: int) -> np.ndarray:
        if depth < 2:
            return np.full(len(nodes), deal // 2 if depth == 0 else deal % 2)
        first = tree.first_child[nodes]
        return np.array([bet[int(tree.slot[one]) + 1] for one in first], np.int64)

    return pick


def regret_rows() -> list[TableRow]:
    tree = read_tree(Kuhn())
    return [
        best_answer_row(),
        equilibrium_row("CFR2", "cfr", CounterfactualRegret(tree, Stopwatch()), 2000, 2e-3),
        equilibrium_row(
            "CFR3", "cfr_plus", CounterfactualRegret(tree, Stopwatch(), CFR_PLUS), 500, 2e-3
        ),
        sampled_row(),
    ]
