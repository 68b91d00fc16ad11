"""A reward model on pairs and a student of a teacher's whole distribution, each beside its gradient
written down.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from fledge.algorithms.likelihood.distillation import Distillation
from fledge.algorithms.preference.reward_model import RewardModelling
from fledge.divergence import jensen_shannon, reverse_kl
from fledge.exact.enumerable import optimum
from fledge.exact.problem import random_problem
from fledge.learner import Learner, Schedule
from fledge.optimizers import Recorder
from fledge.policy import TokenPolicy
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Pairs
from fledge.verify.laboratory import Bench, Hardware
from fledge.verify.preference_rows import (
    BETA,
    LANGUAGE,
    PREFERRED,
    REJECTED,
    compare_figures,
    pairs_of,
    relative,
    sigmoid,
)
from fledge.verify.rows import TableRow
from fledge.verify.table import TableNetwork, speak


class TableOfScores(nn.Module):
    """A number for every prefix, read at the last real token."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.places = TableNetwork(LANGUAGE.vocabulary, LANGUAGE.length)
        random = torch.Generator().manual_seed(seed)
        size = sum(LANGUAGE.vocabulary**t for t in range(LANGUAGE.length + 1))
        self.numbers = nn.Parameter(torch.randn(size, dtype=torch.float64, generator=random))
        self.places.requires_grad_(False)

    def score(self, tokens: Tensor, last: Tensor) -> Tensor:
        return self.numbers[
            self.places.place(tokens)[torch.arange(len(tokens), device=tokens.device), last]
        ]


def reward_model_row(hardware: Hardware) -> TableRow:
    """−log σ(r(y_w) − r(y_l) − margin): the score of each answer is pulled by σ of the gap that is
    missing (Ouyang et al. 2022, eq. 1).
    """
    model, margin = TableOfScores(24).to(hardware.device, hardware.dtype), 0.25
    recorder = Recorder([model.numbers])
    learner = Learner(model, Schedule(1.0, 1), optimizer=lambda named, rate: recorder, clip=0.0)
    nothing = torch.zeros(len(LANGUAGE.sequences), device=hardware.device, dtype=hardware.dtype)
    sides = [
        speak(LANGUAGE, words, LANGUAGE.vocabulary, nothing) for words in (PREFERRED, REJECTED)
    ]
    algorithm = RewardModelling(
        model,  # pyright: ignore[reportArgumentType]
        learner,
        Stopwatch(),
        margin=margin,
    )
    figures = algorithm.update(Pairs(*sides))
    number = {word: i for i, word in enumerate(_heap_order())}
    score = {
        i: float(model.numbers[number[word]].detach()) for i, word in enumerate(LANGUAGE.sequences)
    }
    ascent = -recorder.taken[0][0].double().cpu()
    wanted = torch.zeros_like(ascent)
    gaps = [score[w] - score[r] for w, r in zip(PREFERRED, REJECTED, strict=True)]
    for w, r, gap in zip(PREFERRED, REJECTED, gaps, strict=True):
        wanted[number[LANGUAGE.sequences[w]]] += sigmoid(margin - gap) / len(gaps)
        wanted[number[LANGUAGE.sequences[r]]] -= sigmoid(margin - gap) / len(gaps)
    exact = {
        "loss": sum(-math.log(sigmoid(gap - margin)) for gap in gaps) / len(gaps),
        "pair_accuracy": sum(gap > 0 for gap in gaps) / len(gaps),
        "reward_gap": sum(gaps) / len(gaps),
    }
    error = max(relative(ascent, wanted), compare_figures(figures, exact))
    statement = f"gradient, loss and figures of four pairs to {error:.1e}"
    return TableRow(
        "L1",
        "reward model",
        "the gradient is that of its formula",
        error,
        hardware.tolerance,
        statement,
    )


def demonstrations_row(hardware: Hardware) -> TableRow:
    """Answers of U4's optimum beside the reference's, each pair as often as both are said: the
    score that is left where nothing pulls is r/β up to a constant.
    """
    shown, own = (3, 1, 5, 2, 1, 3, 1), (1, 4, 2, 2, 3, 2, 2)  # in 16 answers of either
    log_shown, log_own = ((torch.tensor(x).double() / 16).log() for x in (shown, own))
    reward = BETA * (log_shown - log_own) + 0.7  # by enumeration its optimum says `shown`
    apart = float((optimum(reward, log_own, BETA) - log_shown).abs().max())
    every = range(len(shown))
    words = [(i, j) for i in every for j in every for _ in range(shown[i] * own[j])]
    model = TableOfScores(25).to(hardware.device, hardware.dtype)
    number = {word: i for i, word in enumerate(_heap_order())}
    places = [number[word] for word in LANGUAGE.sequences]
    with torch.no_grad():
        model.numbers[places] = (reward / BETA + 0.3).to(model.numbers)
    recorder = Recorder([model.numbers])
    learner = Learner(model, Schedule(1.0, 1), optimizer=lambda named, rate: recorder, clip=0.0)
    nothing = torch.zeros(len(LANGUAGE.sequences), device=hardware.device, dtype=hardware.dtype)
    sides = [
        speak(LANGUAGE, side, LANGUAGE.vocabulary, nothing) for side in zip(*words, strict=True)
    ]
    algorithm = RewardModelling(
        model,  # pyright: ignore[reportArgumentType]
        learner,
        Stopwatch(),
    )
    algorithm.update(Pairs(*sides))
    left = float(recorder.taken[0][0].double().norm())
    return TableRow(
        "U10.3", "reward out of demonstrations of text", "rests at r/β of U4's optimum",
        max(left, apart), hardware.tolerance,
        f"a gradient of {left:.1e} is left, over all {len(words)} pairs of 16 and 16 answers",
    )  # fmt: skip


def _heap_order() -> list[tuple[int, ...]]:
    """All prefixes, shorter ones first, as a heap with V children to a node numbers them."""
    level: list[tuple[int, ...]] = [()]
    order = list(level)
    for _ in range(LANGUAGE.length):
        level = [(*word, symbol) for word in level for symbol in range(LANGUAGE.vocabulary)]
        order += level
    return order


def distillation_row(
    id: str, name: str, kind: Callable[[Tensor, Tensor], Tensor], beta: float, hardware: Hardware
) -> TableRow:
    """The mean over all steps of β·KL(T‖m) + (1 − β)·KL(S‖m), m = βT + (1 − β)S (Agarwal et al.
    2024, eq. 1); β = 0: KL(S‖T).
    """
    problem = random_problem(LANGUAGE, seed=25, beta=BETA)
    assert problem.reference is not None
    teacher = TokenPolicy(TableNetwork(3, 2).hold(LANGUAGE, problem.reference)).to(
        hardware.device, hardware.dtype
    )
    bench = Bench(
        problem, partial(Distillation, teacher=teacher.frozen_copy(), kind=kind), hardware
    )
    words = list(range(len(LANGUAGE.sequences)))
    ascent, figures = bench.update(pairs_of(bench, words, words).preferred)
    student = problem.logits.clone().requires_grad_(True)
    s, t = student.softmax(-1), problem.reference.softmax(-1)
    middle = beta * t + (1 - beta) * s if beta else t
    # [P]
    apart = beta * (t * (t / middle).log()).sum(-1) + (1 - beta) * (s * (s / middle).log()).sum(-1)
    number = {prefix: i for i, prefix in enumerate(LANGUAGE.prefixes)}
    steps = [number[word[:k]] for word in LANGUAGE.sequences for k in range(len(word))]
    loss = apart[steps].mean()
    exact = -torch.autograd.grad(loss, student)[0]
    error = max(relative(ascent, exact), compare_figures(figures, {"loss": loss.item()}))
    statement = f"gradient and loss over all sequences to {error:.1e}"
    return TableRow(
        id,
        f"distillation, {name}",
        "the gradient is that of its formula",
        error,
        hardware.tolerance,
        statement,
    )


def lesson_rows(hardware: Hardware) -> list[TableRow]:
    return [
        reward_model_row(hardware),
        demonstrations_row(hardware),
        distillation_row("L2", "from the student's side", reverse_kl, 0.0, hardware),
        distillation_row(
            "L3", "from between the two", partial(jensen_shannon, beta=0.3), 0.3, hardware
        ),
    ]
