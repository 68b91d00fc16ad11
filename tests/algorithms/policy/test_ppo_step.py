"""PPO's optimizer steps on languages that can be written down: the entropy bonus, the ratio,
whitening and KL by closed forms.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.algorithms.policy.grpo import GRPO
from fledge.algorithms.policy.ppo import PPO
from fledge.critics import SharedCritic
from fledge.exact.enumerable import Language
from fledge.learner import Learner
from fledge.models.language.heads import ScalarHead
from fledge.policy import TokenPolicy
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories, WeighedSamples
from fledge.verify.table import TableNetwork, speak
from tests.subjects import Gradients, learner, seeded

EXACT: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-12}
LANGUAGE = Language(3, 3, stop=0)
EIGHTHS = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64)  # of one decision among three


class Table:
    """PPO over a table, its critic a number for each prefix, and the gradients of its steps."""

    def __init__(
        self, language: Language = LANGUAGE, *, critic: bool = True, **settings: Any
    ) -> None:
        self.language = language
        self.network = TableNetwork(language.vocabulary, language.length, seed=1)
        self.policy = TokenPolicy(self.network)
        head = ScalarHead(self.network.width)
        torch.nn.init.normal_(head.linear.weight, std=float(critic), generator=seeded(2))
        both = SharedCritic(self.policy, head.double())
        self.learner: Learner = learner(both)
        self.gradients = Gradients(self.learner)
        given = {
            "updates_per_step": 1,
            "value_coefficient": 0.0,
            "whiten_advantage": False,
        } | settings
        self.algorithm = PPO(
            both, self.learner, Stopwatch(), PPO.Settings(**given), generator=seeded(3)
        )

    def batch(self, words: list[int], reward: Tensor | None = None) -> Trajectories:
        count = len(self.language.sequences)
        worth = (
            torch.randn(count, dtype=torch.float64, generator=seeded(4))
            if reward is None
            else reward
        )
        logp = self.language.step_log_prob(self.network.logits(self.language).detach())
        return speak(self.language, words, self.language.vocabulary, worth, logp)

    def steps(self) -> list[Tensor]:
        """What each optimizer step adds to the table.  [P, V] each"""
        columns = self.network.row_of(self.language)
        return [-taken[0][:, columns].T for taken in self.gradients.taken]


def test_the_entropy_bonus_raises_the_entropy() -> None:
    """Nothing earned and nothing expected: what is left is c times the gradient of the mean entropy
    of the steps that were made.
    """
    subject = Table(critic=False, entropy_coefficient=0.3)
    words = [0, 3, 7, 7, 14]
    figures = subject.algorithm.update(subject.batch(words, torch.zeros(15, dtype=torch.float64)))
    table = subject.network.logits(LANGUAGE).detach().requires_grad_(True)
    spread = -(table.softmax(-1) * table.log_softmax(-1)).sum(-1)  # [P]
    made = [
        LANGUAGE.prefixes.index(LANGUAGE.sequences[w][:t])
        for w in words
        for t in range(len(LANGUAGE.sequences[w]))
    ]
    mean = spread[made].mean()
    torch.testing.assert_close(
        subject.steps()[0], 0.3 * torch.autograd.grad(mean, table)[0], **EXACT
    )
    assert figures["loss"] == pytest.approx(-0.3 * mean.item(), rel=1e-10)


@pytest.mark.parametrize("updates", [1, 4])
def test_the_ratio_is_to_what_the_trainer_said_and_not_to_what_the_engine_said(
    updates: int,
) -> None:
    """Half precision in the engine moves its log-probabilities: ratios still begin at 1, and no
    figure but the drift sees it.
    """
    exact, drifted = (
        Table(updates_per_step=updates, clip_low=0.01, clip_high=0.01) for _ in range(2)
    )
    batch = exact.batch([0, 3, 7, 8, 9, 11, 13, 14])
    assert batch.logp is not None
    apart = 0.05 * torch.randn(batch.logp.shape, dtype=torch.float64, generator=seeded(5))
    said, other = (
        exact.algorithm.update(batch),
        drifted.algorithm.update(batch.replace(logp=batch.logp + apart)),
    )
    for step, same in zip(exact.steps(), drifted.steps(), strict=True):
        assert torch.equal(step, same)
    assert said["clip_fraction"] == other["clip_fraction"] == 0
    assert said["policy_kl"] == other["policy_kl"] == 0
    assert other["drift"] == pytest.approx(apart[batch.chosen].abs().mean().item(), rel=1e-9)


def test_the_steps_of_an_update_are_pieces_of_one_whitened_batch() -> None:
    """Weighted by their tokens, four steps that move nothing add up to the one step over the whole
    batch.
    """
    words = [0, 3, 7, 8, 9, 11, 13, 14]
    whole, pieces = Table(whiten_advantage=True), Table(whiten_advantage=True, updates_per_step=4)
    whole.algorithm.update(whole.batch(words))
    sizes: list[int] = []
    step = pieces.learner.step

    def sized(loss: Any, batch: Any, **given: Any) -> dict[str, float]:
        sizes.append(int(batch.chosen.sum()))
        return step(loss, batch, **given)

    pieces.learner.step = sized  # pyright: ignore[reportAttributeAccessIssue]
    pieces.algorithm.update(pieces.batch(words))
    together = sum(n * part for n, part in zip(sizes, pieces.steps(), strict=True)) / sum(sizes)
    torch.testing.assert_close(together, whole.steps()[0], **EXACT)


@pytest.mark.parametrize("name", ["ppo", "grpo"])
def test_the_policys_kl_is_from_the_old_policy_to_the_new_one(name: str) -> None:
    """Every action as often as the old policy takes it: the mean of k3 is KL(π_old‖π) exactly, and
    not KL(π‖π_old).
    """
    one = Language(3, 1)
    subject = Table(one, critic=False)
    subject.network.hold(one, EIGHTHS.log())
    batch = subject.batch([0, 0, 1, 2])
    new = torch.tensor([[0.1, 0.3, 0.6]], dtype=torch.float64)
    if name == "ppo":
        judged, _ = subject.algorithm.weigh(*subject.algorithm.score(batch))
        fit: Any = subject.algorithm.fit
    else:
        grpo = GRPO(
            subject.policy, subject.learner, Stopwatch(), settings=GRPO.Settings(updates_per_step=2)
        )
        judged, fit = WeighedSamples.of(batch, weight=torch.zeros_like(batch.reward)), grpo.fit
    subject.network.hold(one, new.log())
    forward = (EIGHTHS * (EIGHTHS / new).log()).sum().item()
    backward = (new * (new / EIGHTHS).log()).sum().item()
    assert abs(forward - backward) > 0.05
    assert fit(judged)["policy_kl"] == pytest.approx(forward, rel=1e-9)


def test_the_share_of_clipped_steps_is_that_of_the_ratios_outside() -> None:
    """Ratios of 0.2, 1.2 and 2.4 under a clip of 0.79 and 1.3: the likeliest half is below, a
    quarter above.
    """
    one = Language(3, 1)
    subject = Table(one, critic=False, clip_low=0.79, clip_high=1.3)
    subject.network.hold(one, EIGHTHS.log())
    judged, _ = subject.algorithm.weigh(*subject.algorithm.score(subject.batch([0, 0, 1, 2])))
    subject.network.hold(one, torch.tensor([[0.1, 0.3, 0.6]], dtype=torch.float64).log())
    assert subject.algorithm.fit(judged)["clip_fraction"] == pytest.approx(0.75)
