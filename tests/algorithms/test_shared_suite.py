"""What every algorithm on rewards must do: the same numbers in pieces, under garbage, after a
stop; and it must learn.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fledge.algorithms.likelihood.expectation_maximisation import (
    BEST_OF_N,
    REST_EM,
    ExpectationMaximisation,
)
from fledge.algorithms.policy.cispo import CISPO
from fledge.algorithms.policy.control_variate import ControlVariate
from fledge.algorithms.policy.grpo import DAPO, DR_GRPO, GRPO
from fledge.algorithms.policy.gspo import GSPO
from fledge.algorithms.policy.off_policy import OffPolicy
from fledge.algorithms.policy.reinforce import RLOO, Reinforce
from fledge.algorithms.policy.reward_weighted import AWR, RewardWeighted
from fledge.algorithms.settings import AlgorithmSettings
from fledge.runs.checkpoint import load_state, save_state
from fledge.sample.generate import generate
from fledge.sample.rollouts import build_trajectories
from fledge.score.kl_control import KLControl
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Weighed
from tests.every_algorithm import ALL_ROWS, Case, policy
from tests.subjects import (
    GARBAGE,
    Gradients,
    figures_close,
    learner,
    policy_of,
    rollouts,
    seeded,
    spoil,
    transformer,
)

EXACT: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-12}  # float64; the promise is 1e-6


def linear(seed: int) -> nn.Module:
    """A guess at the value of every action, as it is for ever."""
    layer = nn.Linear(16, 11).requires_grad_(False)
    nn.init.normal_(layer.weight, generator=seeded(seed))
    nn.init.zeros_(layer.bias)
    return layer


FAMILY: dict[str, Callable[..., Any]] = {
    "reinforce, constant": partial(
        Reinforce, settings=Reinforce.Settings(baseline="constant", baseline_value=0.3, gamma=0.97)
    ),
    "reinforce, optimal": partial(Reinforce, settings=Reinforce.Settings(baseline="optimal")),
    "rloo": partial(Reinforce, settings=RLOO),
    "off policy, trajectory": partial(
        OffPolicy, settings=OffPolicy.Settings(importance="trajectory", baseline_value=0.2)
    ),
    "off policy, decision, truncated": partial(
        OffPolicy, settings=OffPolicy.Settings(truncate_at=1.5)
    ),
    "control variate": partial(ControlVariate, action_value=linear(11).double()),
    "grpo": GRPO,
    "dr grpo": partial(GRPO, settings=DR_GRPO),
    "dapo": partial(GRPO, settings=DAPO, length_limit=10),
    "gspo": partial(GRPO, settings=GSPO),
    "cispo": partial(GRPO, settings=CISPO),
    "reward weighted": RewardWeighted,
    "reward weighted, batch": partial(
        RewardWeighted, settings=RewardWeighted.Settings(weights="batch", reward_temperature=0.5)
    ),
    "awr": partial(RewardWeighted, settings=AWR.replace(weight_cap=2.0)),
    "em": partial(
        ExpectationMaximisation, settings=ExpectationMaximisation.Settings(threshold=0.1)
    ),
    "em, posterior": partial(
        ExpectationMaximisation, settings=ExpectationMaximisation.Settings(keep="posterior")
    ),
    "best of n": partial(ExpectationMaximisation, settings=BEST_OF_N),
    "rest em": partial(ExpectationMaximisation, settings=REST_EM.replace(threshold=0.1)),
}


def settings_of(name: str) -> AlgorithmSettings:
    make: Any = FAMILY[name]
    if not isinstance(make, partial):
        return make.Settings()
    algorithm: Any = make.func
    return make.keywords.get("settings") or algorithm.Settings()


def has(name: str, field: str) -> bool:
    return field in type(settings_of(name)).model_fields


SEVERAL = [name for name in FAMILY if has(name, "updates_per_step")]
EPOCHS_ALONE = [name for name in FAMILY if has(name, "epochs") and name not in SEVERAL]
WITH_GROUPS = [
    name for name in FAMILY if not name.startswith(("reinforce", "rloo", "off", "control"))
]


def case(
    name: str, rows: slice = ALL_ROWS, micro: int | None = None, updates: int = 1, epochs: int = 1
) -> Case:
    """Two groups have earned nothing at all; off-policy samples are another policy's, rewards of a
    posterior are not negative.
    """
    actor = policy()
    fit = learner(actor, rows_per_micro_batch=micro)
    several: dict[str, Any] = (
        {"updates_per_step": updates, "epochs": epochs} if name in SEVERAL else {}
    )
    several |= {"epochs": updates} if name in EPOCHS_ALONE else {}
    algorithm = FAMILY[name](
        actor,
        fit,
        Stopwatch(),
        reference=policy(5).frozen_copy(),
        kl=KLControl(0.1, 0.5),
        settings=settings_of(name).replace(**several),
    )
    batch = rollouts(policy(7) if name.startswith("off") else actor)
    reward = torch.where((torch.arange(16) // 2 % 3 == 1)[:, None], 0.0, batch.reward)
    batch = batch.replace(reward=reward.abs() if "posterior" in name else reward)
    return Case(algorithm, fit, Gradients(fit), batch[rows])


def alive(name: str, updates: int = 4, epochs: int = 2, micro: int | None = 5) -> Case:
    """Its optimizer really steps."""
    made = case(name, micro=micro, updates=updates, epochs=epochs)
    del made.learner.optimizer.step
    return made


def weights(made: Case) -> Tensor:
    return torch.cat([p.detach().flatten() for p in made.learner.parameters])


@pytest.mark.parametrize("name", FAMILY)
def test_the_gradient_is_the_same_in_pieces_of_any_size(name: str) -> None:
    whole, figures = case(name).gradient()
    assert whole.abs().max() > 1e-3
    for rows_per_micro_batch in (4, 5, 1):  # 16 rows: in equal and in unequal pieces
        pieces, same = case(name, micro=rows_per_micro_batch).gradient()
        torch.testing.assert_close(pieces, whole, **EXACT)
        figures_close(same, figures, 1e-9)


@pytest.mark.parametrize("name", [*SEVERAL, *EPOCHS_ALONE])
def test_every_step_of_an_update_is_the_same_in_pieces(name: str) -> None:
    """Not the first only, where ratios are 1."""
    straight = alive(name, micro=None)
    figures = straight.algorithm.update(straight.batch)
    assert figures["updates"] == straight.learner.steps == 4
    for rows_per_micro_batch in (3, 1):
        pieces = alive(name, micro=rows_per_micro_batch)
        same = pieces.algorithm.update(pieces.batch)
        torch.testing.assert_close(weights(pieces), weights(straight), rtol=1e-7, atol=1e-9)
        figures_close(same, figures, 1e-6)


@pytest.mark.parametrize("name", FAMILY)
def test_unchosen_steps_touch_neither_gradient_nor_figures(name: str) -> None:
    clean, figures = case(name).gradient()
    for kind in GARBAGE:
        made = case(name)
        made.batch = spoil(made.batch, kind)
        dirty, same = made.gradient()
        torch.testing.assert_close(dirty, clean, **EXACT)
        figures_close(same, figures, 1e-9)


@pytest.mark.parametrize("name", FAMILY)
def test_a_truncated_row_is_credited_like_a_terminated_one(name: str) -> None:
    """Nobody here has a critic, so that what a cut row would still have earned counts as nothing
    (PPO's does not).
    """
    gradients = []
    for swap in (False, True):
        made = case(name)
        if swap:
            made.batch = made.batch.replace(
                terminated=made.batch.truncated, truncated=made.batch.terminated
            )
        gradients.append(made.gradient()[0])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=0)


@pytest.mark.parametrize("end", ["terminated", "truncated"])
@pytest.mark.parametrize("name", ["reinforce, constant", "off policy, decision, truncated"])
def test_credit_does_not_cross_an_end(name: str, end: str) -> None:
    """In a row that holds two episodes, the second one's reward has no part in the first one's
    credit.
    """
    credit = []
    for late in (0.0, 50.0):
        made = case(name)
        batch, step = made.batch, 4
        flags = getattr(batch, end).clone()
        flags[:, step] = True
        reward = torch.where(batch.chosen & (torch.arange(12) > step), late, batch.reward)
        batch = batch.replace(
            reward=reward, chosen=batch.chosen | (torch.arange(12) == step), **{end: flags}
        )
        algorithm = made.algorithm
        given = (torch.ones_like(reward), reward) if isinstance(algorithm, OffPolicy) else (reward,)
        weighed = algorithm.weigh(batch, *given)
        weighed = weighed.weight if isinstance(weighed, Weighed) else weighed
        credit.append(weighed[:, : step + 1])
    torch.testing.assert_close(credit[0], credit[1], rtol=0, atol=0)


@pytest.mark.parametrize("name", FAMILY)
def test_the_figures_that_a_practitioner_watches_are_there(name: str) -> None:
    made = alive(name)
    figures = made.algorithm.update(made.batch)
    wanted = {"kl_k1", "kl_k3", "entropy", "drift", "loss", "grad_norm", "learning_rate"}
    if name in WITH_GROUPS:
        wanted |= {"zero_spread_groups", "updates"}
    if isinstance(made.algorithm, GRPO):
        wanted |= {"clip_fraction", "policy_kl", "kl_coefficient"}
    if not isinstance(made.algorithm, GRPO | Reinforce | ControlVariate):
        wanted |= {"effective_sample_size"}
    if isinstance(made.algorithm, ExpectationMaximisation):
        wanted |= {"log_success", "bound", "kept", "unsolved_groups"}
    assert wanted <= figures.keys()
    if name in WITH_GROUPS:
        assert figures["zero_spread_groups"] == 3 / 8
    if name in ("grpo", "gspo", "cispo"):
        assert 0 < figures["clip_fraction"] < 1 or name == "cispo"
    if not name.startswith("off"):
        batch, reference = made.batch, policy(5)
        gap = batch.logp - reference.log_prob(batch.obs, batch.action, batch.chosen)
        assert figures["kl_k1"] == pytest.approx(
            torch.where(batch.chosen, gap, 0.0).sum(1).mean().item(), rel=1e-9
        )
        assert figures["entropy"] == pytest.approx(
            -batch.logp[batch.chosen].mean().item(), rel=1e-9
        )


@pytest.mark.parametrize("name", FAMILY)
def test_every_claim_is_one_of_the_three(name: str) -> None:
    claim = case(name).algorithm.gradient_claim
    assert claim in ("unbiased", "unbiased up to scale (G-1)/G") or claim.startswith("biased: ")


class Stop(Exception):
    """The process ends here."""


@pytest.mark.parametrize("stop_after", [1, 2, 3, 4])
@pytest.mark.parametrize("name", [*SEVERAL, *EPOCHS_ALONE])
def test_an_update_broken_off_between_two_steps_continues_with_the_same_bits(
    name: str, stop_after: int, tmp_path: Path
) -> None:
    """Through a checkpoint on disk; then a second batch."""
    straight, broken, resumed = alive(name), alive(name), alive(name)
    first = straight.algorithm.update(straight.batch)
    made = 0

    def between_steps() -> None:
        nonlocal made
        made += 1
        if made == stop_after:
            save_state(tmp_path / "state", broken.algorithm.state_dict())
            raise Stop

    with pytest.raises(Stop):
        broken.algorithm.update(broken.batch, between_steps)
    # what a run was made with is not what it is resumed with
    if "base" in broken.algorithm.state_dict():
        with torch.no_grad():
            for parameter in resumed.learner.parameters:
                parameter += 1
    resumed.algorithm.load_state_dict(load_state(tmp_path / "state"))
    assert resumed.algorithm.unfinished is not None
    assert resumed.algorithm.update(resumed.algorithm.unfinished) == first
    assert resumed.algorithm.unfinished is None
    assert torch.equal(weights(resumed), weights(straight))
    assert resumed.algorithm.kl.beta == straight.algorithm.kl.beta
    batch = straight.batch if name.startswith("off") else straight.batch.replace(logp=None)
    assert resumed.algorithm.update(batch) == straight.algorithm.update(batch)
    assert torch.equal(weights(resumed), weights(straight))


@pytest.mark.parametrize("name", FAMILY)
def test_an_update_between_batches_continues_with_the_same_bits(name: str, tmp_path: Path) -> None:
    straight, resumed = alive(name), alive(name)
    straight.algorithm.update(straight.batch)
    save_state(tmp_path / "state", straight.algorithm.state_dict())
    resumed.algorithm.load_state_dict(load_state(tmp_path / "state"))
    assert resumed.algorithm.unfinished is None
    batch = straight.batch if name.startswith("off") else straight.batch.replace(logp=None)
    assert resumed.algorithm.update(batch) == straight.algorithm.update(batch)
    assert torch.equal(weights(resumed), weights(straight))
    assert resumed.algorithm.kl.beta == straight.algorithm.kl.beta


# whose guess here never learns
@pytest.mark.parametrize("name", [name for name in FAMILY if name != "control variate"])
def test_it_learns_to_say_what_is_rewarded(name: str) -> None:
    """Reward: the share of the four tokens that are 7, of which EM wants a half. Chance is 1 in 9;
    60 updates on 64 samples.
    """
    actor = policy_of(transformer())
    settings: dict[str, Any] = {}
    if name.startswith("reward weighted") or name == "awr":
        settings["reward_temperature"] = 0.1
    if name in ("em", "rest em"):
        settings["threshold"] = 0.5
    others: dict[str, Any] = {"length_limit": None} if name == "dapo" else {}
    if name == "rest em":
        settings["updates_per_step"] = 8  # from the base, fewer do not get there every time
    given = settings_of(name).replace(**settings)
    fit = learner(actor, rate=1e-2, clip=1.0)
    algorithm = FAMILY[name](actor, fit, Stopwatch(), settings=given, **others)
    random, scores = seeded(0), []
    for _ in range(60):
        completions = generate(
            actor, [[1]] * 8, max_new_tokens=4, stop=-1, samples=8, generator=random
        )
        reward = [completion.tokens.count(7) / 4 for completion in completions]
        algorithm.update(build_trajectories(completions, reward, [i // 8 for i in range(64)]))
        scores.append(sum(r >= 0.5 if "threshold" in settings else r for r in reward) / 64)
    assert scores[0] < 0.3
    assert scores[-1] > 0.9
