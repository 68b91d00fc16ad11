"""Rows of logits read by C have the log-probabilities and slopes that float64 has."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from fledge import log_prob as module
from fledge.log_prob import Decoding, log_prob
from fledge.log_prob_kernel import load_kernel, score_rows, slope_rows
from tests.subjects import seeded

pytestmark = pytest.mark.skipif(load_kernel() is None, reason="no compiler, or no AVX-512")
TYPES = [torch.float32, torch.bfloat16]


def draw_logits(rows: int, width: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    logits = (4 * torch.randn(rows, width, generator=seeded(0))).to(dtype)
    return logits, torch.randint(width, (rows,), generator=seeded(1))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("scale", [1.0, 0.4])
@pytest.mark.parametrize(("rows", "width"), [(1, 3), (17, 16), (9, 31), (40, 300), (3, 4099)])
def test_rows_and_slopes_are_those_of_float64(
    rows: int, width: int, scale: float, dtype: torch.dtype
) -> None:
    logits, action = draw_logits(rows, width, dtype)
    banned = torch.arange(0, width, 7)
    action[action % 7 == 0] = 1
    weight = torch.randn(rows, generator=seeded(2))
    exact = (logits.double() * scale).index_fill(-1, banned, -math.inf)
    normaliser = exact.logsumexp(-1)
    p = (exact - normaliser[:, None]).exp()
    away = (torch.nn.functional.one_hot(action, width) - p) * weight[:, None]
    answers = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        try:
            score, least = score_rows(logits, banned, action, scale)
            slope = slope_rows(logits, banned, action, scale, least, weight)
        finally:
            torch.set_num_threads(1)
        answers.append((score, least, slope))
    assert all(map(torch.equal, *answers))
    score, least, slope = answers[0]
    assert float((score - exact[range(rows), action]).abs().max()) < 1e-5
    assert float((least - normaliser).abs().max()) < 1e-5
    assert slope.dtype == dtype
    # Of each number what its type rounds, and what e^x of a float32 near 30 has lost.
    close = (8e-3 if dtype == torch.bfloat16 else 1e-5) * away.abs() + 1e-6
    assert bool(((slope.double() - away).abs() <= close).all())
    assert bool((slope[:, banned] == 0).all())


def test_in_bfloat16_it_is_float32_rounded_once_to_the_nearest() -> None:
    logits, action = draw_logits(40, 300, torch.bfloat16)
    _, least = score_rows(logits, None, action, 1.0)
    wide = slope_rows(logits.float(), None, action, 1.0, least)
    assert torch.equal(slope_rows(logits, None, action, 1.0, least), wide.bfloat16())


def test_the_impossible_has_no_slope_at_all_and_the_certain_hardly_one() -> None:
    """A slope of 1e-38 would be a step for an optimizer that divides by its size."""
    logits = torch.zeros(1, 20)
    logits[0, 3], logits[0, 5] = 100.0, -30.0
    action = torch.tensor([3])
    _, least = score_rows(logits, None, action, 1.0)
    slope = slope_rows(logits, None, action, 1.0, least)[0]
    assert slope.tolist() == [0.0] * 20
    logits[0, 3] = 12.0
    _, least = score_rows(logits, None, action, 1.0)
    slope = slope_rows(logits, None, action, 1.0, least)[0]
    assert float(slope[3]) == pytest.approx(18 * math.exp(-12), rel=0.02)


def test_what_is_no_number_stays_none() -> None:
    logits, action = draw_logits(3, 40, torch.float32)
    logits[1, 20] = math.nan
    logits[2, 7] = math.inf
    _, least = score_rows(logits, None, action, 1.0)
    assert least.isnan().tolist() == [False, True, True]
    assert least.isnan().tolist() == logits.logsumexp(-1).sub(logits.amax(-1)).isnan().tolist()


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("kept", [0, 40 * 50, 10**9])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("dtype", TYPES)
def test_log_prob_and_its_gradient_are_those_of_float64(
    dtype: torch.dtype, temperature: float, kept: int, fixed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logits that are kept, and such as are made again; weights that learn, and such as do not."""
    monkeypatch.setattr(module, "KEPT", kept)
    random = seeded(3)
    hidden = torch.randn(100, 24, generator=random).to(dtype).requires_grad_()
    weight = torch.randn(50, 24, generator=random).to(dtype).requires_grad_(not fixed)
    action = torch.randint(4, 50, (100,), generator=random)
    allowed, slope = torch.arange(50) >= 4, torch.randn(100, generator=random)
    logp, _ = log_prob(hidden, weight, action, Decoding(temperature=temperature), allowed, chunk=40)
    given = [hidden] if fixed else [hidden, weight]
    mine = torch.autograd.grad(logp, given, slope)
    twins = [x.detach().double().requires_grad_() for x in (hidden, weight)]
    # The product is rounded to its type, as it is on any way through bfloat16.
    product = twins[0] @ twins[1].T
    rounded = product + ((hidden @ weight.T).double() - product).detach()
    logits = (rounded / temperature).masked_fill(~allowed, -math.inf)
    exact = logits.log_softmax(-1)[range(100), action]
    assert logp.dtype == torch.float32
    assert float((logp.double() - exact).abs().max().detach()) < 2e-5
    close = 2e-5 if dtype == torch.float32 else 2e-2
    for one, its in zip(mine, torch.autograd.grad(exact, twins, slope.double()), strict=False):
        assert float((one.double() - its).abs().max()) < close * float(its.abs().max())


def test_it_may_be_asked_for_its_gradient_twice() -> None:
    hidden = torch.randn(10, 8, generator=seeded(0)).requires_grad_()
    weight = torch.randn(20, 8, generator=seeded(1)).requires_grad_()
    logp, _ = log_prob(hidden, weight, torch.arange(10))
    first = torch.autograd.grad(logp.sum(), [hidden, weight], retain_graph=True)
    again = torch.autograd.grad(logp.sum(), [hidden, weight])
    assert all(map(torch.equal, first, again))


@pytest.mark.parametrize("token", [-1, 20])
def test_an_action_out_of_the_vocabulary_is_refused_as_torch_refuses_it(token: int) -> None:
    with pytest.raises((RuntimeError, IndexError)):
        log_prob(torch.zeros(1, 8), torch.zeros(20, 8), torch.tensor([token]))


def test_too_few_actions_and_columns_beyond_the_vocabulary_are_refused() -> None:
    hidden, weight = torch.zeros(6, 8), torch.zeros(20, 8)
    with pytest.raises(RuntimeError):
        log_prob(hidden, weight, torch.zeros(4, dtype=torch.long))
    with pytest.raises((RuntimeError, IndexError)):
        log_prob(hidden, weight, torch.zeros(6, dtype=torch.long), allowed=torch.arange(22) < 1)


def test_what_only_stands_for_numbers_is_not_read() -> None:
    """As a step is counted that is never made."""
    with FakeTensorMode():
        logp, _ = log_prob(torch.zeros(6, 8), torch.zeros(20, 8), torch.zeros(6, dtype=torch.long))
    assert logp.shape == (6,)


@pytest.mark.parametrize("dtype", TYPES)
def test_other_rows_and_chunks_change_no_bit(dtype: torch.dtype) -> None:
    logits, action = draw_logits(40, 300, dtype)
    whole = score_rows(logits, None, action, 1.0)
    piece = score_rows(logits[7:9].clone(), None, action[7:9], 1.0)
    for one, other in zip(whole, piece, strict=True):
        assert torch.equal(one[7:9], other)
