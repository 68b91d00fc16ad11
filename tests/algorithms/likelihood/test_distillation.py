"""A student of the teacher's own capacity becomes the teacher, by every kind of distillation: KL <
1e-4 by enumeration.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from fledge.algorithms.likelihood.distillation import Distillation
from fledge.algorithms.likelihood.supervised import Supervised
from fledge.divergence import Divergence, forward_kl, jensen_shannon, reverse_kl
from fledge.exact.enumerable import Language, kl
from fledge.learner import Learner, Schedule
from fledge.optimizers import adamw
from fledge.policy import TokenPolicy
from fledge.sample.either import Either
from fledge.sample.generate import generate
from fledge.sample.rollouts import build_trajectories
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from tests.every_algorithm import policy
from tests.subjects import TableNetwork, learner, rollouts, seeded, speak

LANGUAGE = Language(3, 3, stop=0)  # 3 symbols, 3 steps: 15 sequences, 7 prefixes
WORDS = range(len(LANGUAGE.sequences))
OPENING = 3
KINDS: dict[str, Divergence] = {
    "forward": forward_kl,
    "reverse": reverse_kl,
    "jsd": partial(jensen_shannon, beta=0.3),
}


def table(seed: int) -> TokenPolicy:
    return TokenPolicy(TableNetwork(LANGUAGE.vocabulary, LANGUAGE.length, seed=seed))


def read(actor: TokenPolicy) -> Tensor:
    """log π of every sequence.  [S]"""
    with torch.no_grad():
        return LANGUAGE.log_prob(actor.network.logits(LANGUAGE))


def proportional(teacher: TokenPolicy, rows: int) -> Trajectories:
    """The teacher's answers as often as it gives them, in expectation: each sequence
    round(rows·π(y)) times.
    """
    times = (rows * read(teacher).exp()).round().long().tolist()
    words = [i for i in WORDS for _ in range(times[i])]
    return speak(LANGUAGE, words, OPENING, torch.zeros(len(WORDS)))


class Answers:
    """Endless answers of a policy as it is at the time."""

    def __init__(self, actor: TokenPolicy, seed: int, rows: int = 64) -> None:
        self.actor, self.random, self.rows = actor, seeded(seed), rows
        self.figures: dict[str, float] = {"rows": float(rows)}

    def __next__(self) -> Trajectories:
        said = generate(
            self.actor,
            [[OPENING]],
            max_new_tokens=3,
            stop=0,
            samples=self.rows,
            generator=self.random,
        )
        return build_trajectories(said, [0.0] * len(said), [0] * len(said))


def taught(
    make: Callable[[TokenPolicy, Learner, TokenPolicy], Distillation | Supervised],
    lessons: Callable[[TokenPolicy, TokenPolicy], Callable[[], Trajectories]],
    steps: int = 400,
) -> tuple[Tensor, Tensor, Tensor]:
    """log π of the student before and after, and of the teacher.  [S] each"""
    student, teacher = table(1), table(5).requires_grad_(False)
    fit = Learner(
        student, Schedule(0.1, steps, shape="cosine", final=1e-3), optimizer=adamw(weight_decay=0.0)
    )
    algorithm, give, before = make(student, fit, teacher), lessons(student, teacher), read(student)
    for _ in range(steps):
        algorithm.update(give())
    return before, read(student), read(teacher)


def expect_the_teacher(before: Tensor, student: Tensor, teacher: Tensor) -> None:
    assert kl(teacher, before) > 0.3
    assert kl(teacher, student) < 1e-4
    assert kl(student, teacher) < 1e-4


def test_sequence_level_distillation() -> None:
    """Kim & Rush 2016: likelihood of the teacher's own answers."""

    def lessons(student: TokenPolicy, teacher: TokenPolicy) -> Callable[[], Trajectories]:
        batch = proportional(teacher, 3000)
        return lambda: batch

    expect_the_teacher(
        *taught(
            lambda student, fit, teacher: Supervised(student, fit, Stopwatch()), lessons, steps=150
        )
    )


@pytest.mark.parametrize("name", KINDS)
def test_token_level_distillation_on_given_rows(name: str) -> None:
    every = speak(LANGUAGE, WORDS, OPENING, torch.zeros(len(WORDS)))
    expect_the_teacher(
        *taught(
            lambda student, fit, teacher: Distillation(
                student, fit, Stopwatch(), teacher=teacher, kind=KINDS[name]
            ),
            lambda student, teacher: lambda: every,
        )
    )


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_on_policy_distillation(name: str, share: float) -> None:
    """Rows that the student samples as it goes, with the teacher's own between them (GKD's λ = ½)
    and without (λ = 1).
    """

    def lessons(student: TokenPolicy, teacher: TokenPolicy) -> Callable[[], Trajectories]:
        sampler = Either(
            Answers(student, 3),
            Answers(teacher, 4),
            names=("student", "teacher"),
            share=share,
            seed=0,
        )
        return lambda: next(sampler)

    expect_the_teacher(
        *taught(
            lambda student, fit, teacher: Distillation(
                student, fit, Stopwatch(), teacher=teacher, kind=KINDS[name]
            ),
            lessons,
            steps=250,
        )
    )


def test_the_lot_that_decides_between_samplers_is_resumed() -> None:
    class Count:
        def __init__(self) -> None:
            self.given = 0
            self.figures: dict[str, float] = {}

        def __next__(self) -> int:
            self.given += 1
            self.figures = {"given": float(self.given)}
            return self.given

        def state_dict(self) -> dict[str, int]:
            return {"given": self.given}

        def load_state_dict(self, state: dict[str, int]) -> None:
            self.given = state["given"]

    make = lambda: Either(Count(), Count(), names=("a", "b"), share=0.3, seed=2)  # noqa: E731
    whole, taken = make(), []
    for _ in range(1000):
        next(whole)
        taken.append(next(iter(whole.figures)))
    assert taken.count("a_given") == pytest.approx(300, abs=60)
    first, second = make(), make()
    for _ in range(500):
        next(first)
    second.load_state_dict(first.state_dict())
    for name in taken[500:]:
        next(second)
        assert next(iter(second.figures)) == name
    assert second.state_dict() == whole.state_dict()


def test_the_loss_is_the_mean_divergence_of_a_chosen_token() -> None:
    student, teacher = policy(), policy(5)
    batch = rollouts(student)
    figures = Distillation(student, learner(student), Stopwatch(), teacher=teacher).update(batch)
    with torch.no_grad():
        p, q = (
            (each.hidden(batch.obs[:, :-1]) @ each.network.unembedding.T)[..., 2:].log_softmax(-1)
            for each in (teacher, policy())
        )
    each = (p.exp() * (p - q)).sum(-1)
    assert figures["loss"] == pytest.approx(float(each[batch.chosen].mean()), rel=1e-9)
    assert figures["tokens"] == int(batch.chosen.sum())
    assert all(parameter.grad is None for parameter in teacher.parameters())
