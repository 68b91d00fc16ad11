"""Losses on pairs and on verdicts, each beside its gradient written down, and DPO and IPO at rest
at their optimum.

A loss pulls at whole answers: its gradient is Σ_y c(y)·∇log π(y), and c is worked out here in plain
    numbers from the papers' formulas.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from fledge.algorithms.preference.dpo import DPO, IPO, WeighedPairs
from fledge.algorithms.preference.kto import KTO
from fledge.algorithms.preference.orpo import ORPO
from fledge.algorithms.preference.simpo import SimPO
from fledge.exact.enumerable import Language, optimum
from fledge.exact.problem import Problem, random_problem
from fledge.trajectories import Pairs
from fledge.verify.laboratory import Bench, Hardware, Make
from fledge.verify.rows import TableRow
from fledge.verify.table import speak

LANGUAGE = Language(3, 2, stop=0)  # 7 sequences of one or two symbols
PREFERRED, REJECTED = (0, 5, 2, 6), (3, 1, 4, 0)  # answers of unequal length on either side
BETA = 0.5


@dataclass(frozen=True)
class Said:
    """What is known of one answer: its log-probability, that above the reference, and its
    length.
    """

    logp: float
    ratio: float
    length: int

    @property
    def mean(self) -> float:
        return self.logp / self.length


# Of a preferred and a rejected answer: the loss, how strongly each is pulled up, and the gap that
# is reported.
PairFormula = Callable[[Said, Said], tuple[float, float, float, float]]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def dpo_formula(one: Said, other: Said) -> tuple[float, float, float, float]:
    """−log σ(β·gap) (Rafailov et al. 2023, eq. 7)."""
    gap = BETA * (one.ratio - other.ratio)
    pull = BETA * sigmoid(-gap)
    return -math.log(sigmoid(gap)), pull, -pull, gap


def ipo_formula(one: Said, other: Said) -> tuple[float, float, float, float]:
    """(gap − 1/2β)² (Azar et al. 2024, eq. 17)."""
    apart = one.ratio - other.ratio - 1 / (2 * BETA)
    return apart**2, -2 * apart, 2 * apart, BETA * (one.ratio - other.ratio)


def simpo_formula(one: Said, other: Said) -> tuple[float, float, float, float]:
    """−log σ(β·mean(y_w) − β·mean(y_l) − γ) with β = 2 and γ = 1 (Meng et al. 2024, eq. 6)."""
    gap = 2.0 * (one.mean - other.mean)
    pull = 2.0 * sigmoid(1.0 - gap)
    return -math.log(sigmoid(gap - 1.0)), pull / one.length, -pull / other.length, gap


def orpo_formula(one: Said, other: Said) -> tuple[float, float, float, float]:
    """−mean(y_w) − λ·log σ(log of the ratio of odds) with λ = 0.3 (Hong et al. 2024, eqs. 6 and
    7).
    """
    odds = [side.mean - math.log(1 - math.exp(side.mean)) for side in (one, other)]
    gap = odds[0] - odds[1]
    # of the log odds with the mean
    rises = [1 / (1 - math.exp(side.mean)) for side in (one, other)]
    pull = 0.3 * sigmoid(-gap)
    loss = -one.mean - 0.3 * math.log(sigmoid(gap))
    return loss, (1 + pull * rises[0]) / one.length, -pull * rises[1] / other.length, gap


def answers(problem: Problem) -> list[Said]:
    logp = problem.log_prob(problem.logits)
    reference = logp if problem.reference is None else problem.log_prob(problem.reference)
    told = zip(logp.tolist(), (logp - reference).tolist(), problem.language.sequences, strict=True)
    return [Said(own, ratio, len(word)) for own, ratio, word in told]


def pull(problem: Problem, coefficient: Sequence[float]) -> Tensor:
    """Σ_y c(y)·∇log π(y).  [S] -> [P, V]"""
    table = problem.logits.clone().requires_grad_(True)
    whole = (torch.tensor(coefficient, dtype=table.dtype) * problem.log_prob(table)).sum()
    return torch.autograd.grad(whole, table)[0]


def relative(measured: Tensor, exact: Tensor) -> float:
    return float((measured - exact).norm() / exact.norm())


def compare_figures(measured: dict[str, float], exact: dict[str, float]) -> float:
    """Of the figures that are known, the largest relative error."""
    return max(abs(measured[name] - value) / max(1.0, abs(value)) for name, value in exact.items())


def pairs_of(
    bench: Bench, preferred: Sequence[int], rejected: Sequence[int], weight: Tensor | None = None
) -> Pairs:
    """weight [pairs]"""
    language, nothing = bench.problem.language, torch.zeros_like(bench.reward)
    upper, lower = (
        speak(language, words, language.vocabulary, nothing) for words in (preferred, rejected)
    )
    if weight is None:
        return Pairs(upper, lower)
    return WeighedPairs(upper, lower, weight.to(nothing))


def pair_row(
    id: str, subject: str, make: Make, formula: PairFormula, hardware: Hardware
) -> TableRow:
    """One update on four pairs: gradient, loss and the figures of pairs."""
    problem = random_problem(LANGUAGE, seed=21, beta=BETA)
    bench, said = Bench(problem, make, hardware), answers(problem)
    ascent, figures = bench.update(pairs_of(bench, PREFERRED, REJECTED))
    told = [formula(said[w], said[r]) for w, r in zip(PREFERRED, REJECTED, strict=True)]
    coefficient = [0.0] * len(said)
    for w, r, (_, up, down, _) in zip(PREFERRED, REJECTED, told, strict=True):
        coefficient[w] += up / len(told)
        coefficient[r] += down / len(told)
    mean = lambda numbers: sum(numbers) / len(told)  # noqa: E731
    exact = {
        "loss": mean(loss for loss, *_ in told),
        "reward_gap": mean(gap for *_, gap in told),
        "pair_accuracy": mean(gap > 0 for *_, gap in told),
        "preferred_logp": mean(said[w].logp for w in PREFERRED),
        "rejected_logp": mean(said[r].logp for r in REJECTED),
    }
    error = max(relative(ascent, pull(problem, coefficient)), compare_figures(figures, exact))
    statement = f"gradient, loss and figures of four pairs to {error:.1e}"
    return TableRow(
        id, subject, "the gradient is that of its formula", error, hardware.tolerance, statement
    )


def rest_row(
    id: str, subject: str, make: Make, worth: Tensor, share: Tensor, hardware: Hardware
) -> TableRow:
    """All pairs there are, each as often as it is preferred, in a policy at π_ref·exp(worth/β)/Z:
    nothing is left that pulls.

    worth [S], share [S, S]: how often the first of two is preferred.
    """
    problem = random_problem(LANGUAGE, seed=22, beta=BETA)
    assert problem.reference is not None
    best = optimum(worth, problem.log_prob(problem.reference), BETA)
    problem = replace(problem, logits=LANGUAGE.logits_of(best, problem.logits))
    bench = Bench(problem, make, hardware)
    every = [(i, j) for i in range(len(worth)) for j in range(len(worth)) if i != j]
    weight = torch.stack([share[i, j] for i, j in every])
    left = bench.update(pairs_of(bench, [i for i, _ in every], [j for _, j in every], weight))[0]
    figure = float(left.norm())
    statement = (
        f"at π_ref·exp(·/β)/Z a gradient of {figure:.1e} is left, over all {len(every)} pairs"
    )
    return TableRow(id, subject, "rests at its optimum", figure, hardware.tolerance, statement)


def kto_row(hardware: Hardware) -> TableRow:
    """λ·(1 − σ(±β(r − z₀))) with z₀ the mean log π/π_ref, no less than 0 (Ethayarajh et al. 2024,
    eq. 8; all prompts are one).
    """
    problem = random_problem(LANGUAGE, seed=23, beta=BETA)
    words, wanted, weights = (
        (0, 3, 5, 1, 6),
        (True, False, True, True, False),
        {True: 1.0, False: 1.5},
    )
    make = partial(KTO, settings=KTO.Settings(beta=BETA, undesirable_weight=weights[False]))
    bench, said = Bench(problem, make, hardware), answers(problem)
    rows = speak(LANGUAGE, words, LANGUAGE.vocabulary, torch.zeros_like(bench.reward))
    verdict = torch.where(torch.tensor(wanted), 1.0, -1.0).to(bench.reward)[:, None]
    ends = (torch.arange(1, rows.chosen.shape[1] + 1) == rows.last().cpu()[:, None]).to(
        verdict.device
    )
    ascent, figures = bench.update(rows.replace(reward=torch.where(ends, verdict, 0.0)))
    anchor = max(0.0, sum(said[w].ratio for w in words) / len(words))
    coefficient, loss = [0.0] * len(said), 0.0
    for w, good in zip(words, wanted, strict=True):
        sign = 1.0 if good else -1.0
        right = sigmoid(sign * BETA * (said[w].ratio - anchor))
        loss += weights[good] * (1 - right) / len(words)
        coefficient[w] += sign * weights[good] * BETA * right * (1 - right) / len(words)
    sides = {
        good: [said[w] for w, own in zip(words, wanted, strict=True) if own is good]
        for good in (True, False)
    }
    means = {good: sum(one.ratio for one in own) / len(own) for good, own in sides.items()}
    exact = {
        "loss": loss,
        "reference_point": anchor,
        "reward_gap": BETA * (means[True] - means[False]),
        "preferred_logp": sum(one.logp for one in sides[True]) / len(sides[True]),
        "rejected_logp": sum(one.logp for one in sides[False]) / len(sides[False]),
    }
    error = max(relative(ascent, pull(problem, coefficient)), compare_figures(figures, exact))
    statement = (
        f"gradient, loss, reference point {anchor:.3f} and figures of five verdicts to {error:.1e}"
    )
    return TableRow(
        "P5", "kto", "the gradient is that of its formula", error, hardware.tolerance, statement
    )


def preference_rows(hardware: Hardware) -> list[TableRow]:
    reward = random_problem(LANGUAGE, seed=22).reward
    preferred = torch.sigmoid(reward[:, None] - reward)  # Bradley–Terry, [S, S]
    return [
        pair_row(
            "P1", "dpo", partial(DPO, settings=DPO.Settings(beta=BETA)), dpo_formula, hardware
        ),
        pair_row("P2", "ipo", partial(DPO, settings=IPO.replace(beta=BETA)), ipo_formula, hardware),
        pair_row("P3", "simpo", SimPO, simpo_formula, hardware),
        pair_row(
            "P4", "orpo", partial(ORPO, settings=ORPO.Settings(beta=0.3)), orpo_formula, hardware
        ),
        kto_row(hardware),
        rest_row(
            "P6",
            "dpo, preferences of a reward",
            partial(DPO, settings=DPO.Settings(beta=BETA)),
            reward,
            preferred,
            hardware,
        ),
        rest_row(
            "P7",
            "ipo, preferences of any kind",
            partial(DPO, settings=IPO.replace(beta=BETA)),
            preferred.mean(1),
            preferred,
            hardware,
        ),
    ]
