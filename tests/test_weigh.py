"""Credit equals its definition, written out as sums over plain lists; and nobody else's steps have
any part in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fledge.weigh import (
    difference,
    effective_sample_size,
    equal_in_group,
    explained_variance,
    gae,
    group_mean,
    importance_weights,
    leave_one_out_mean,
    log_ratio,
    reward_to_go,
    whiten,
)
from tests.subjects import GARBAGE

Rates = st.floats(0, 1)


@dataclass(frozen=True)
class Steps:
    reward: Tensor
    value: Tensor
    chosen: Tensor
    terminated: Tensor
    truncated: Tensor

    def credit(self, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
        return gae(
            self.reward, self.value, self.chosen, self.terminated, self.truncated, gamma, lam
        )

    def future(self, gamma: float) -> Tensor:
        return reward_to_go(self.reward, self.chosen, self.terminated, self.truncated, gamma)


@st.composite
def batches(draw: st.DrawFn) -> Steps:
    """Gaps that were not chosen, several episodes in a row, terminations and truncations (both at
    once, too).
    """
    b, t = draw(st.integers(1, 3)), draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    often = draw(st.sampled_from([0.1, 0.5, 0.9, 1.0]))
    ends = draw(st.sampled_from([0.0, 0.2, 0.5]))
    mask = lambda p: torch.from_numpy(rng.random((b, t)) < p)  # noqa: E731
    return Steps(
        torch.from_numpy(rng.normal(size=(b, t))),
        torch.from_numpy(rng.normal(size=(b, t + 1))),
        mask(often),
        mask(ends),
        mask(ends),
    )


def episodes(steps: Steps, row: int) -> list[list[int]]:
    """The chosen steps of a row, cut after every end."""
    parts: list[list[int]] = [[]]
    for t in range(steps.chosen.shape[1]):
        if steps.chosen[row, t]:
            parts[-1].append(t)
            if steps.terminated[row, t] or steps.truncated[row, t]:
                parts.append([])
    return [episode for episode in parts if episode]


def value_after(steps: Steps, row: int, episode: list[int], i: int) -> float:
    t = episode[i]
    if steps.terminated[row, t]:
        return 0.0
    if steps.truncated[row, t]:
        return float(steps.value[row, t + 1])
    if i + 1 < len(episode):
        return float(steps.value[row, episode[i + 1]])
    return float(steps.value[row, -1])


@settings(max_examples=200, deadline=None)
@given(batches(), Rates, Rates)
def test_gae_equals_the_double_sum(steps: Steps, gamma: float, lam: float) -> None:
    """Â_t = Σ_k (γλ)^k δ_{t+k} over the rest of the episode (Schulman et al. 2016, eq. 16)."""
    expected = torch.zeros_like(steps.reward)
    for row in range(len(steps.reward)):
        for episode in episodes(steps, row):
            delta = [
                float(steps.reward[row, t])
                + gamma * value_after(steps, row, episode, i)
                - float(steps.value[row, t])
                for i, t in enumerate(episode)
            ]
            for i, t in enumerate(episode):
                expected[row, t] = sum(
                    (gamma * lam) ** k * delta[i + k] for k in range(len(episode) - i)
                )
    advantage, target = steps.credit(gamma, lam)
    torch.testing.assert_close(advantage, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        target, torch.where(steps.chosen, expected + steps.value[:, :-1], 0.0), rtol=1e-9, atol=1e-9
    )


@settings(max_examples=100, deadline=None)
@given(batches(), Rates)
def test_reward_to_go_equals_the_sum_of_discounted_rewards(steps: Steps, gamma: float) -> None:
    expected = torch.zeros_like(steps.reward)
    for row in range(len(steps.reward)):
        for episode in episodes(steps, row):
            for i, t in enumerate(episode):
                expected[row, t] = sum(
                    gamma**k * float(steps.reward[row, later])
                    for k, later in enumerate(episode[i:])
                )
    torch.testing.assert_close(steps.future(gamma), expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=100, deadline=None)
@given(batches(), Rates)
def test_gae_without_trace_is_the_td_error(steps: Steps, gamma: float) -> None:
    advantage, _ = steps.credit(gamma, 0.0)
    for row in range(len(steps.reward)):
        for episode in episodes(steps, row):
            for i, t in enumerate(episode):
                delta = (
                    steps.reward[row, t]
                    + gamma * value_after(steps, row, episode, i)
                    - steps.value[row, t]
                )
                assert float(advantage[row, t]) == pytest.approx(float(delta), abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(batches(), Rates)
def test_gae_with_full_trace_is_return_minus_value(steps: Steps, gamma: float) -> None:
    """Where episodes terminate, the return is the rewards alone."""
    last = torch.zeros_like(steps.chosen)
    last[:, -1] = True
    ended = Steps(
        steps.reward,
        steps.value,
        steps.chosen | last,
        steps.terminated | last,
        torch.zeros_like(last),
    )
    advantage, target = ended.credit(gamma, 1.0)
    back = ended.future(gamma)
    torch.testing.assert_close(
        advantage, torch.where(ended.chosen, back - ended.value[:, :-1], 0.0), rtol=1e-9, atol=1e-9
    )
    torch.testing.assert_close(target, back, rtol=1e-9, atol=1e-9)


def two_steps(**ends: Tensor) -> Steps:
    no = torch.tensor([[False, False]])
    return Steps(
        torch.tensor([[1.0, 2.0]]),
        torch.tensor([[10.0, 20.0, 40.0]]),
        ~no,
        **({"terminated": no, "truncated": no} | ends),
    )


def test_truncation_bootstraps_and_termination_does_not() -> None:
    end = torch.tensor([[False, True]])
    truncated = two_steps(truncated=end).credit(0.5, 1.0)[0]
    terminated = two_steps(terminated=end).credit(0.5, 1.0)[0]
    assert truncated.tolist() == [[1 + 0.5 * (2 + 0.5 * 40) - 10, 2 + 0.5 * 40 - 20]]
    assert terminated.tolist() == [[1 + 0.5 * 2 - 10, 2 - 20]]


def test_nothing_leaks_from_one_episode_into_the_one_before() -> None:
    for name in ("terminated", "truncated"):
        steps = two_steps(**{name: torch.tensor([[True, False]])})
        other = Steps(
            torch.tensor([[1.0, 99.0]]),
            torch.tensor([[10.0, 20.0, -7.0]]),
            steps.chosen,
            steps.terminated,
            steps.truncated,
        )
        assert steps.credit(0.9, 0.9)[0][0, 0] == other.credit(0.9, 0.9)[0][0, 0]


def test_a_gap_neither_decays_nor_discounts() -> None:
    """The policy's own steps, with strangers' steps between them or without: the same credit."""
    own = torch.tensor([[True, False, False, True, False, True]])
    end = torch.tensor([[False, False, False, False, False, True]])
    no = torch.zeros_like(own)
    reward, value = torch.arange(6.0)[None], torch.arange(7.0)[None] ** 2
    keep = own[0]
    short = gae(
        reward[:, keep],
        torch.cat([value[:, :-1][:, keep], value[:, -1:]], 1),
        own[:, keep],
        end[:, keep],
        no[:, keep],
        0.9,
        0.8,
    )
    long = gae(reward, value, own, end, no, 0.9, 0.8)
    assert torch.equal(long[0][:, keep], short[0])
    assert torch.equal(long[1][:, keep], short[1])
    future = reward_to_go(reward, own, end, no, 0.9)
    assert torch.equal(
        future[:, keep], reward_to_go(reward[:, keep], own[:, keep], end[:, keep], no[:, keep], 0.9)
    )


@pytest.mark.parametrize("kind", GARBAGE)
def test_what_stands_at_unchosen_steps_reaches_no_credit(kind: float) -> None:
    rng = np.random.default_rng(3)
    chosen = torch.from_numpy(rng.random((8, 10)) < 0.6)
    chosen[:, -1] = True  # the last value counts: the row may run on
    ends = torch.from_numpy(rng.random((8, 10)) < 0.2)
    steps = Steps(
        torch.from_numpy(rng.normal(size=(8, 10))),
        torch.from_numpy(rng.normal(size=(8, 11))),
        chosen,
        ends,
        ~ends & chosen.roll(1, 1),
    )
    # a true last observation
    after = torch.cat([torch.zeros(8, 1, dtype=torch.bool), steps.truncated & chosen], 1)
    kept = torch.cat([chosen, torch.ones(8, 1, dtype=torch.bool)], 1) | after
    spoiled = Steps(
        torch.where(chosen, steps.reward, kind),
        torch.where(kept, steps.value, kind),
        chosen,
        steps.terminated | ~chosen,
        steps.truncated | ~chosen,
    )
    for clean, dirty in zip(steps.credit(0.9, 0.8), spoiled.credit(0.9, 0.8), strict=True):
        assert torch.equal(clean, dirty)
    assert torch.equal(steps.future(0.9), spoiled.future(0.9))
    assert torch.equal(whiten(steps.reward, chosen), whiten(spoiled.reward, chosen))
    assert torch.equal(
        log_ratio(steps.reward, steps.value[:, 1:], chosen),
        log_ratio(spoiled.reward, steps.value[:, 1:], chosen),
    )


def test_gae_refuses_a_value_without_the_last_observation() -> None:
    steps = two_steps()
    with pytest.raises(ValueError, match=r"\[B, T\+1\]"):
        gae(steps.reward, steps.value[:, 1:], steps.chosen, steps.terminated, steps.truncated)


def test_whitened_steps_have_mean_zero_and_deviation_one() -> None:
    rng = np.random.default_rng(0)
    x, mask = torch.from_numpy(rng.normal(3, 5, (7, 9))), torch.from_numpy(rng.random((7, 9)) < 0.5)
    inside = x[mask].numpy()
    np.testing.assert_allclose(
        whiten(x, mask)[mask], (inside - inside.mean()) / inside.std(ddof=1), rtol=1e-12
    )
    np.testing.assert_allclose(whiten(x, mask, shift=False)[mask].mean(), inside.mean(), rtol=1e-12)
    assert not whiten(x, mask)[~mask].any()


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_whitening_steps_without_spread_only_centres_them(steps: int) -> None:
    mask = torch.arange(6)[None] < steps
    out = whiten(torch.full((1, 6), 2.5), mask)
    assert not out.any()


EQUAL = pytest.mark.parametrize("value", [0.1, 0.3, -0.2, 1.0, 1 / 3, 1e6, 1e-6, 0.0])
SIZES = pytest.mark.parametrize("shape", [(64, 16), (7, 3), (3, 2000)])
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


@EQUAL
@SIZES
@DTYPES
def test_equal_numbers_have_no_spread_in_any_precision_and_number(
    value: float, shape: tuple[int, int], dtype: torch.dtype
) -> None:
    """The mean of n times 0.3 is not 0.3, and what is left over is no spread to divide by, nor one
    to explain.
    """
    x, yes = torch.full(shape, value, dtype=dtype), torch.ones(shape, dtype=torch.bool)
    assert not whiten(x, yes).any()
    assert torch.equal(whiten(x, yes, shift=False), x)
    assert explained_variance(torch.zeros_like(x), x, yes) == 0.0
    row, group = x[:, 0], torch.arange(len(x)) % 3 // 2
    assert torch.equal(group_mean(row, group), row)
    if shape[0] > 3:
        assert torch.equal(leave_one_out_mean(row, group), row)


@SIZES
@DTYPES
def test_numbers_that_differ_in_their_last_places_have_none_either(
    shape: tuple[int, int], dtype: torch.dtype
) -> None:
    random = torch.Generator().manual_seed(0)
    last = torch.randint(-2, 3, shape, generator=random) * torch.finfo(dtype).eps
    for value in (0.3, -1e5, 1e-7):
        x, yes = value * (1 + last.to(dtype)), torch.ones(shape, dtype=torch.bool)
        assert not whiten(x, yes).any()
        assert explained_variance(torch.zeros_like(x), x, yes) == 0.0
        assert equal_in_group(x[:, 0], torch.zeros(len(x), dtype=torch.long)).all()
        assert not difference(x, torch.full_like(x, value)).any()


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_not_taken_for_no_spread(broken: float) -> None:
    """Or a run would go on from it in silence."""
    x = torch.tensor([[0.3, broken, 0.3, 0.3]])
    assert not whiten(x, torch.ones(1, 4, dtype=torch.bool)).isfinite().all()
    assert not difference(x, torch.full_like(x, 0.3)).isfinite().all()


@pytest.mark.parametrize("scale", [1e-20, 1e-6, 1.0, 1e6])
def test_a_small_spread_is_one_all_the_same(scale: float) -> None:
    """One part in a thousand of the mean, and no mean at all, at any size."""
    noise = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    yes = torch.ones(64, 16, dtype=torch.bool)
    for x in (scale * (1 + 1e-3 * noise), scale * noise):
        white = whiten(x.double(), yes)
        assert white.std().item() == pytest.approx(1, rel=1e-6)
        assert whiten(x, yes).std().item() == pytest.approx(1, rel=1e-2)
        assert not difference(x[:, 1:], x[:, :-1])[x[:, 1:] != x[:, :-1]].eq(0).all()


def test_group_means_by_hand() -> None:
    x, group = torch.tensor([1.0, 2.0, 10.0, 6.0, 4.0]), torch.tensor([7, 3, 7, 3, 3])
    assert group_mean(x, group).tolist() == [5.5, 4.0, 5.5, 4.0, 4.0]
    assert leave_one_out_mean(x, group).tolist() == [10.0, 5.0, 1.0, 3.0, 4.0]


def test_a_group_of_one_has_nobody_to_be_compared_with() -> None:
    with pytest.raises(ValueError, match="samples_per_prompt"):
        leave_one_out_mean(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 0, 1]))


def test_log_ratio_stays_finite_and_passes_its_gradient_inside_the_bound() -> None:
    logp = torch.tensor([[-1.0, -500.0, -math.inf]], requires_grad=True)
    mask = torch.tensor([[True, True, False]])
    out = log_ratio(logp, torch.tensor([[-2.0, 0.0, math.nan]]), mask)
    assert out.tolist() == [[1.0, -20.0, 0.0]]
    out.sum().backward()
    assert logp.grad is not None
    assert logp.grad.tolist() == [[1.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("gap", "held"), [(11.0, 11.0), (19.9, 19.9), (-19.9, -19.9), (25.0, 20.0), (-25.0, -20.0)]
)
def test_a_log_ratio_is_itself_up_to_20_nats(gap: float, held: float) -> None:
    out = log_ratio(torch.full((1, 1), gap), torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool))
    assert out.item() == pytest.approx(held)


@pytest.mark.parametrize(
    ("gap", "held"), [(10.0, 50.0), (-10.0, -50.0), (15.0, 60.0), (-15.0, -60.0)]
)
def test_a_product_of_ratios_is_itself_up_to_60_nats(gap: float, held: float) -> None:
    """Five steps, of which each may make 20."""
    logp = torch.full((1, 5), gap, dtype=torch.float64)
    weight = importance_weights(logp, torch.zeros_like(logp), torch.ones(1, 5, dtype=torch.bool))
    assert weight[0, -1].log().item() == pytest.approx(held)
    assert weight[0, 0].log().item() == pytest.approx(gap)


def test_explained_variance_of_a_perfect_a_constant_and_an_inverted_critic() -> None:
    target, mask = torch.tensor([[1.0, 2.0, 3.0, 99.0]]), torch.tensor([[True, True, True, False]])
    assert explained_variance(target, target, mask) == 1
    assert explained_variance(torch.full_like(target, 7), target, mask) == 0
    assert explained_variance(-target, target, mask) == -3
    assert explained_variance(target, torch.ones_like(target), mask) == 0


def test_the_effective_sample_size_of_huge_float32_weights_is_a_number() -> None:
    """Squares of e^60 are past float32; by hand, two equal ones are two samples, and beside one of
    them e^0 is nothing.
    """
    huge = torch.tensor([60.0]).exp()
    assert effective_sample_size(torch.cat([huge, huge])) == pytest.approx(2)
    assert effective_sample_size(torch.cat([huge, torch.ones(2)])) == pytest.approx(1)
    assert effective_sample_size(torch.cat([huge, huge / 2])) == pytest.approx(1.5**2 / 1.25)


@pytest.mark.parametrize("gamma", [0.9, 0.99])
def test_a_critic_that_is_right_to_the_last_place_leaves_no_advantage_to_whiten(
    gamma: float,
) -> None:
    value = torch.tensor(
        [[sum(gamma**k for k in range(10 - t)) for t in range(11)]], dtype=torch.float64
    ).float()
    yes = torch.ones(1, 10, dtype=torch.bool)
    ends = torch.arange(10)[None] == 9
    advantage = gae(torch.ones(1, 10), value, yes, ends, ~yes, gamma, 0.95)[0]
    assert not whiten(advantage, yes).any()


def test_gae_is_undiscounted_with_lambda_095_unless_told_otherwise() -> None:
    value, yes = torch.tensor([[1.0, -2.0, 0.5, 3.0]]), torch.ones(1, 3, dtype=torch.bool)
    reward, no = torch.tensor([[0.5, 1.0, -1.0]]), ~torch.ones(1, 3, dtype=torch.bool)
    delta = [0.5 - 2.0 - 1.0, 1.0 + 0.5 + 2.0, -1.0 + 3.0 - 0.5]
    wanted = [delta[0] + 0.95 * delta[1] + 0.95**2 * delta[2], delta[1] + 0.95 * delta[2], delta[2]]
    assert gae(reward, value, yes, no, no)[0][0].tolist() == pytest.approx(wanted)
