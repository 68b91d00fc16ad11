"""RLHF by PPO arrives where its mathematics says: π* ∝ π_ref·exp(r/β); and text mixed in keeps what
pre-training taught.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fledge.algorithms.likelihood.supervised import Supervised
from fledge.algorithms.policy.ppo import PPO, Pretraining
from fledge.critics import SharedCritic
from fledge.exact.enumerable import Language, kl, optimum
from fledge.learner import Learner, Schedule
from fledge.models.language.heads import ScalarHead
from fledge.optimizers import adamw
from fledge.policy import TokenPolicy
from fledge.sample.generate import generate
from fledge.sample.rollouts import build_trajectories
from fledge.score.kl_control import KLControl
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from tests.every_algorithm import Repeat
from tests.subjects import TableNetwork, learner, network_logits, policy_of, seeded, transformer

BETA = 0.5
# 4 symbols, 3 steps: 40 sequences, of which 27 are cut by the length limit
LANGUAGE = Language(4, 3, stop=0)
OPENING = 4


def table_policy() -> tuple[TokenPolicy, Callable[[TokenPolicy], Tensor], nn.Module]:
    """A policy, a way to read it as a table [P, V], and a critic's head."""
    network = TableNetwork(4, 3, seed=1)
    return (
        TokenPolicy(network),
        lambda policy: policy.network.logits(LANGUAGE),
        ScalarHead(network.width).double(),
    )


def transformer_policy() -> tuple[TokenPolicy, Callable[[TokenPolicy], Tensor], nn.Module]:
    network = transformer(1, vocab_size=5, context=8, layers=1, width=32, mlp_width=64)
    policy = TokenPolicy(network, torch.arange(5) < 4)
    return policy, lambda policy: network_logits(policy, LANGUAGE, OPENING).double(), ScalarHead(32)


@pytest.mark.parametrize(
    ("make", "rate", "steps", "settings"),
    [
        (table_policy, 0.05, 80, {"gae_lambda": 1.0, "whiten_advantage": False}),
        (table_policy, 0.05, 80, {"gae_lambda": 0.95, "epochs": 2}),
        pytest.param(
            transformer_policy,
            0.003,
            300,
            {"gae_lambda": 0.95, "whiten_advantage": False},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_ppo_with_the_kl_in_its_reward_reaches_the_optimum(
    make: Callable[[], tuple[TokenPolicy, Callable[[TokenPolicy], Tensor], nn.Module]],
    rate: float,
    steps: int,
    settings: dict[str, float],
) -> None:
    """KL(π‖π*) < 5e-3 by enumeration, from about 1 at the start; samples, rewards and fitting go
    through the real code. Of 22 runs of the transformer, by other seeds and other rounding, 20
    ended below 2e-4 and two at 2e-3.
    """
    policy, read, head = make()
    reward = torch.randn(len(LANGUAGE.sequences), dtype=torch.float64, generator=seeded(11))
    number = {word: i for i, word in enumerate(LANGUAGE.sequences)}
    with torch.no_grad():
        best = optimum(reward, LANGUAGE.log_prob(read(policy)), BETA)
        far = kl(LANGUAGE.log_prob(read(policy)), best)
    both = SharedCritic(policy, head)
    given = PPO.Settings(value_clip=None, **settings)  # pyright: ignore[reportArgumentType]
    schedule = Schedule(rate, steps * given.count_updates()[0], shape="cosine", final=0.01)
    fit = Learner(both, schedule, optimizer=adamw(weight_decay=0.0))
    reference = policy.frozen_copy()
    algorithm = PPO(
        both, fit, Stopwatch(), given, generator=seeded(3), reference=reference, kl=KLControl(BETA)
    )
    random, figures = seeded(7), {}
    for _ in range(steps):
        completions = generate(
            policy, [[OPENING]], max_new_tokens=3, stop=0, samples=400, generator=random
        )
        worth = [float(reward[number[tuple(completion.tokens)]]) for completion in completions]
        figures = algorithm.update(build_trajectories(completions, worth, [0] * len(worth)))
    with torch.no_grad():
        near = kl(LANGUAGE.log_prob(read(policy)), best)
    assert far > 0.5
    assert near < 5e-3
    # The figure that the log shows is the KL that the enumeration finds: π* is E[log π*/π_ref] from
    # the reference.
    with torch.no_grad():
        exact = kl(best, LANGUAGE.log_prob(read(reference)))
    # 400 samples: four deviations and a half
    assert figures["kl_k1"] == pytest.approx(exact.item(), abs=0.25)


def text(random: torch.Generator) -> Trajectories:
    """Rows opened by token 3, in which every token of 4…11 is followed by the next or the one after
    it, as a coin says.
    """
    obs = torch.full((64, 9), 3)
    for t in range(1, 9):
        step = (
            torch.randint(1, 3, (64,), generator=random)
            if t > 1
            else torch.randint(0, 8, (64,), generator=random)
        )
        obs[:, t] = 4 + (obs[:, t - 1] - 4 + step) % 8
    yes = torch.ones(64, 8, dtype=torch.bool)
    return Trajectories(obs, obs[:, 1:], yes, torch.zeros(64, 8), ~yes, ~yes)


@pytest.mark.parametrize("coefficient", [0.0, 2.0])
def test_with_text_mixed_in_the_pretraining_loss_does_not_rise(coefficient: float) -> None:
    """The reward is for saying tokens of the upper half to another prompt. Without the text that
    unlearns it; with it, nothing is lost.
    """
    policy = policy_of(transformer(0, vocab_size=12, width=32, mlp_width=64))
    book = text(seeded(0))
    teacher = Supervised(policy, learner(policy, rate=5e-3, clip=1.0), Stopwatch())
    for _ in range(100):
        teacher.update(book)

    def loss() -> float:
        with torch.no_grad():
            return float(-policy.log_prob(book.obs, book.action).mean())

    before = loss()
    both = SharedCritic(policy, ScalarHead(32))
    mixed = Pretraining(policy, Repeat(book), coefficient) if coefficient else None
    fit = Learner(
        both, Schedule(4e-3, 160, shape="linear", final=0.0), optimizer=adamw(weight_decay=0.0)
    )
    algorithm = PPO(both, fit, Stopwatch(), generator=seeded(3), pretraining=mixed)
    random, scores, figures = seeded(7), [], {}
    for _ in range(40):
        completions = generate(
            policy, [[2]], max_new_tokens=6, stop=-1, samples=64, generator=random
        )
        reward = [sum(token >= 8 for token in completion.tokens) / 6 for completion in completions]
        figures = algorithm.update(build_trajectories(completions, reward, [0] * 64))
        scores.append(sum(reward) / 64)
    assert scores[0] < 0.8  # 0.69 expected, and 384 draws
    assert scores[-1] > 0.9
    if coefficient:
        assert loss() <= before
        assert figures["pretraining_loss"] <= before * 1.05  # a mean over the last update's steps
    else:
        assert loss() > before + 0.5
        assert "pretraining_loss" not in figures
