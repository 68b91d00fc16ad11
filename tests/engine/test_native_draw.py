"""The draw in C: the token at which the exact cumulative distribution passes the number."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fledge.engine.logits import draw_tokens
from fledge.engine.native import load_native
from fledge.engine.native_draw import draw_natively
from fledge.engine.request import Request
from fledge.engine.row import Row
from fledge.log_prob import PLAIN, Decoding

pytestmark = pytest.mark.skipif(load_native() is None, reason="no library of C here")

INFINITE = float("inf")


def make_logits(rows: int, size: int, scale: float, seed: int) -> torch.Tensor:
    """Some of them −∞."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(rows, size, generator=generator)
    gone = torch.rand(rows, size, generator=generator) < 0.3
    gone[:, size // 2] = False
    return logits.masked_fill(gone, -INFINITE)


@pytest.mark.parametrize("size", [1, 2, 15, 16, 17, 1023, 1024, 1025, 4096, 50_257, 262_147])
@pytest.mark.parametrize("scale", [0.1, 3.0, 30.0])
def test_it_is_the_token_where_the_cumulative_distribution_passes(size: int, scale: float) -> None:
    """In float64, by NumPy; where the number lies within rounding of a border it may be either of
    the two, and of 40 tokens no more than two are.
    """
    rows = 40
    logits = make_logits(rows, size, scale, size)
    uniform = torch.rand(rows, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    uniform[0], uniform[1] = 0.0, 1 - 2.0**-53
    token, logp, top = draw_natively(logits, uniform)
    z = logits.double().numpy()
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    ends = p.cumsum(1)
    unlike = 0
    for row, (drawn, number) in enumerate(zip(token.tolist(), uniform.tolist(), strict=True)):
        assert p[row, drawn] > 0
        exact = int(np.searchsorted(ends[row], number * ends[row, -1], side="right"))
        unlike += exact != drawn
        begin = ends[row, drawn] - p[row, drawn]
        assert begin - 1e-6 <= number <= ends[row, drawn] + 1e-6
    assert unlike <= 2
    chosen = p[np.arange(rows), token.numpy()]
    np.testing.assert_allclose(logp.numpy(), np.log(chosen), rtol=2e-6, atol=2e-6)
    assert torch.equal(top, logits.amax(-1))


def test_rows_without_a_token_say_so_and_leave_the_others_alone() -> None:
    logits = torch.randn(5, 300, generator=torch.Generator().manual_seed(0))
    logits[0] = -INFINITE
    logits[1, 299] = INFINITE
    logits[2, 17] = float("nan")
    logits[3] = float("nan")
    uniform = torch.full((5,), 0.4, dtype=torch.float64)
    token, logp, top = draw_natively(logits, uniform)
    assert top[0] == -INFINITE
    assert top[1] == INFINITE
    assert math.isnan(float(top[2]))
    assert math.isnan(float(top[3]))
    assert token[:4].tolist() == [0] * 4
    alone = draw_natively(logits[4:], uniform[4:])
    assert torch.equal(token[4:], alone[0])
    assert torch.equal(logp[4:], alone[1])


def test_a_row_is_drawn_alike_by_any_number_of_threads() -> None:
    logits = make_logits(64, 4096, 2.0, 5)
    uniform = torch.rand(64, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    before = torch.get_num_threads()
    try:
        told = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            told.append(draw_natively(logits, uniform))
    finally:
        torch.set_num_threads(before)
    for one, other in zip(*told, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("native", [True, False])
def test_rows_of_every_kind_are_chosen_for_side_by_side(
    native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sampled, greedy, without a token and with one that is no number: by the library and
    without it.
    """
    if not native:
        monkeypatch.setattr("fledge.engine.logits.can_draw", lambda logits: False)
    logits = torch.randn(6, 50, generator=torch.Generator().manual_seed(3))
    logits[2], logits[3, 4] = -INFINITE, float("nan")
    raw, uniform = logits.clone(), torch.linspace(0, 0.99, 6, dtype=torch.float64)
    greedy, warm = Decoding(temperature=0), Decoding(temperature=0.5)
    rules = {PLAIN: [0, 2, 3], greedy: [1, 5], warm: [4]}
    by_row = {i: rule for rule, members in rules.items() for i in members}
    rows = [Row(i, Request([1], 4, rule=by_row[i]), [1], 4) for i in range(6)]
    logits[4] /= 0.5
    choice = draw_tokens(raw, logits, uniform, rows, rules)
    for i in (1, 5):
        assert int(choice.token[i]) == int(raw[i].argmax())
        assert float(choice.logp[i]) == 0
    for i in (0, 4):
        ends = logits[i].double().softmax(-1).cumsum(-1)
        assert int(choice.token[i]) == int(torch.searchsorted(ends, uniform[i], right=True))
        chance = logits[i].double().log_softmax(-1)[choice.token[i]]
        assert float(choice.logp[i]) == pytest.approx(float(chance), abs=1e-6)
    for i in (0, 1, 4, 5):
        chance = raw[i].double().log_softmax(-1)[choice.token[i]]
        assert float(choice.raw_logp[i]) == pytest.approx(float(chance), abs=1e-6)
    assert choice.top.isfinite().tolist() == [True, True, False, False, True, True]
    assert choice.top[2] == -INFINITE


def test_a_number_for_each_row_is_wanted() -> None:
    numbers = torch.zeros(3, dtype=torch.float64)
    for logits, some in (
        (torch.zeros(3, 4), numbers[:2]),
        (torch.zeros(3, 4).double(), numbers),
        (torch.zeros(3, 4).bfloat16(), numbers),
    ):
        with pytest.raises(ValueError, match="float32"):
            draw_natively(logits, some)
