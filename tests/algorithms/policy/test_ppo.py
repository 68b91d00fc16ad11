"""PPO's bookkeeping: KL, early stop, and an update that is broken off between two optimizer steps
and continued.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fledge.errors import UserError
from fledge.log_prob import Decoding
from fledge.runs.checkpoint import load_state, save_state
from tests.every_algorithm import ALL_ROWS, Case, ppo


class Stop(Exception):
    """The process ends here."""


def alive(**settings: Any) -> Case:
    """A case whose optimizer really steps."""
    case = ppo(ALL_ROWS, 5, updates_per_step=4, epochs=2, **settings)
    del case.learner.optimizer.step
    return case


def weights(case: Case) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in case.learner.parameters])


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("stop_after", [1, 2, 3, 4])
def test_an_update_broken_off_between_two_steps_continues_with_the_same_bits(
    stop_after: int, shared: bool, tmp_path: Path
) -> None:
    """All of it through a checkpoint on disk: weights, optimizer, order of rows, text, β, figures
    so far; then a second batch.
    """
    straight = alive(shared=shared)
    first = straight.algorithm.update(straight.batch)
    broken = alive(shared=shared)
    made = 0

    def between_steps() -> None:
        nonlocal made
        made += 1
        if made == stop_after:
            save_state(tmp_path / "state", broken.algorithm.state_dict())
            raise Stop

    with pytest.raises(Stop):
        broken.algorithm.update(broken.batch, between_steps)

    resumed = alive(shared=shared)
    resumed.algorithm.load_state_dict(load_state(tmp_path / "state"))
    assert resumed.algorithm.unfinished is not None
    count = 0

    def counted() -> None:
        nonlocal count
        count += 1

    assert resumed.algorithm.update(resumed.algorithm.unfinished, counted) == first
    assert count == 4 - stop_after
    assert resumed.algorithm.unfinished is None
    assert torch.equal(weights(resumed), weights(straight))
    assert resumed.algorithm.kl.beta == straight.algorithm.kl.beta
    # the second batch is scored by both as their policies now are
    batch = straight.batch.replace(logp=straight.algorithm.actor_critic.policy.log_prob(
        straight.batch.obs, straight.batch.action, straight.batch.chosen).detach())  # fmt: skip
    assert resumed.algorithm.update(batch) == straight.algorithm.update(batch)
    assert torch.equal(weights(resumed), weights(straight))


def test_an_update_between_batches_continues_with_the_same_bits(tmp_path: Path) -> None:
    straight, resumed = alive(), alive()
    straight.algorithm.update(straight.batch)
    save_state(tmp_path / "state", straight.algorithm.state_dict())
    resumed.algorithm.load_state_dict(load_state(tmp_path / "state"))
    assert resumed.algorithm.unfinished is None
    text, same = (case.algorithm.pretraining.texts for case in (straight, resumed))
    assert text.given == same.given > 0
    batch = straight.batch.replace(logp=None)
    assert resumed.algorithm.update(batch) == straight.algorithm.update(batch)
    assert torch.equal(weights(resumed), weights(straight))


def test_a_policy_that_has_moved_far_enough_ends_the_update() -> None:
    """The first step is made at ratio 1, where the KL is 0; the second is the first that can see
    one.
    """
    case = alive(update_kl=1e-9)
    steps = 0

    def counted() -> None:
        nonlocal steps
        steps += 1

    figures = case.algorithm.update(case.batch, counted)
    assert figures["updates"] == steps == 2
    assert case.learner.steps == 2
    patient = alive(update_kl=1e9)
    assert patient.algorithm.update(patient.batch)["updates"] == patient.learner.steps == 4


def test_an_update_that_ended_early_and_was_broken_off_there_stays_ended(tmp_path: Path) -> None:
    straight, broken, resumed = (alive(update_kl=1e-9) for _ in range(3))
    figures = straight.algorithm.update(straight.batch)

    def between_steps() -> None:
        if broken.learner.steps == 2:
            save_state(tmp_path / "state", broken.algorithm.state_dict())
            raise Stop

    with pytest.raises(Stop):
        broken.algorithm.update(broken.batch, between_steps)
    resumed.algorithm.load_state_dict(load_state(tmp_path / "state"))
    assert resumed.algorithm.update(resumed.algorithm.unfinished) == figures
    assert torch.equal(weights(resumed), weights(straight))


def test_the_kl_is_the_completions_k1_and_steers_beta_once_a_batch() -> None:
    case = alive()
    batch, reference = case.batch, case.algorithm.reference
    gap = batch.logp - reference.log_prob(batch.obs, batch.action, batch.chosen)
    expected = torch.where(batch.chosen, gap, 0.0).sum(1).mean().item()
    figures = case.algorithm.update(batch)
    assert figures["kl_k1"] == pytest.approx(expected, rel=1e-9)
    assert figures["kl_coefficient"] == 0.1
    assert case.algorithm.kl.beta == pytest.approx(
        0.1 * (1 + 0.1 * max(-0.2, min(0.2, expected / 0.5 - 1)))
    )


def test_the_kl_penalty_stands_in_the_reward_of_every_token() -> None:
    case = alive()
    batch, reference = case.batch, case.algorithm.reference
    scored, *_ = case.algorithm.score(batch)
    gap = batch.logp - reference.log_prob(batch.obs, batch.action, batch.chosen)
    torch.testing.assert_close(
        scored.reward, torch.where(batch.chosen, batch.reward - 0.1 * gap, 0.0)
    )


def test_advantages_are_whitened_over_the_whole_batch() -> None:
    case = alive()
    judged, _ = case.algorithm.weigh(*case.algorithm.score(case.batch))
    inside = judged.weight[judged.chosen]
    assert inside.mean().item() == pytest.approx(0, abs=1e-12)
    assert inside.std().item() == pytest.approx(1, abs=1e-12)
    assert not judged.weight[~judged.chosen].any()


def test_samples_of_another_policy_are_refused() -> None:
    case = alive()
    with pytest.raises(UserError, match="disagree"):
        case.algorithm.update(case.batch.replace(logp=case.batch.logp + 0.5))
    assert case.learner.steps == 0


@pytest.mark.parametrize("rule", [Decoding(top_k=3), Decoding(0.7, top_p=0.6)])
def test_under_top_k_and_top_p_the_kl_is_measured_from_the_whole_reference(rule: Decoding) -> None:
    """log π_ref written out: over every action, at the temperature."""
    case = alive()
    algorithm, batch = case.algorithm, case.batch
    algorithm.actor_critic.policy.rule = rule
    algorithm.reference = algorithm.reference.with_rule(rule)
    *_, kl = algorithm.score(batch)
    with torch.no_grad():
        logits = (
            algorithm.reference.hidden(batch.obs[:, :-1])
            @ algorithm.reference.network.unembedding.T
        )
        logits[..., :2] = -torch.inf  # what is no action
        whole = (
            (logits / rule.temperature)
            .log_softmax(-1)
            .gather(-1, batch.action[..., None])
            .squeeze(-1)
        )
        mine = algorithm.actor_critic.policy.log_prob(batch.obs, batch.action, batch.chosen)
    torch.testing.assert_close(kl[batch.chosen], (mine - whole)[batch.chosen], rtol=1e-9, atol=1e-9)


def test_ppos_second_estimate_of_the_kl_is_k3_of_the_completions() -> None:
    case = alive()
    batch, reference = case.batch, case.algorithm.reference
    gap = (batch.logp - reference.log_prob(batch.obs, batch.action, batch.chosen))[batch.chosen]
    wanted = (gap.neg().exp() - 1 + gap).sum().item() / len(batch)
    assert case.algorithm.update(batch)["kl_k3"] == pytest.approx(wanted, rel=1e-9)
