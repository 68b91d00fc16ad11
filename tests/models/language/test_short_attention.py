"""Attention in plain products is the attention that PyTorch computes, forwards and backwards,
whatever is taken together.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fledge.models.language import short_attention as module
from fledge.models.language.short_attention import is_faster, short_attention
from tests.subjects import seeded, transformer


def inputs(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of 5 rows, 3 heads, 7 tokens, width 4."""
    made = torch.randn(3, 5, 3, 7, 4, dtype=torch.float64, generator=seeded(0)).to(dtype)
    q, k, v = (x.clone().requires_grad_(True) for x in made)
    return q, k, v


def documents() -> Tensor:
    """Causal, and in each row nothing before a place of its own is seen from after it."""
    causal = torch.ones(7, 7, dtype=torch.bool).tril()
    part = torch.arange(7) >= torch.tensor([[0], [1], [3], [6], [7]])
    return (causal & (part[:, :, None] == part[:, None, :])).unsqueeze(1)


@pytest.mark.parametrize("at_a_time", [1, 2 * 3 * 7 * 7, 2**18])
@pytest.mark.parametrize("masked", [False, True])
def test_values_and_gradients_equal_fused_attention(
    masked: bool, at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_A_TIME", at_a_time)
    mask = documents() if masked else None
    slope = torch.randn(5, 3, 7, 4, dtype=torch.float64, generator=seeded(9))
    ours, expected = inputs(torch.float64), inputs(torch.float64)
    y = short_attention(*ours, mask)
    z = F.scaled_dot_product_attention(*expected, attn_mask=mask, is_causal=mask is None)
    torch.testing.assert_close(y, z)
    (y * slope).sum().backward()
    (z * slope).sum().backward()
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize("at_a_time", [1, 2**18])
def test_heads_that_share_keys_and_values(at_a_time: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_A_TIME", at_a_time)
    made = torch.randn(5, 10, 7, 4, dtype=torch.float64, generator=seeded(1))
    slope = torch.randn(5, 6, 7, 4, dtype=torch.float64, generator=seeded(2))
    ours, expected = (
        [x.clone().requires_grad_() for x in made.split([6, 2, 2], dim=1)] for _ in range(2)
    )
    y = short_attention(*ours, None)
    z = F.scaled_dot_product_attention(*expected, is_causal=True, enable_gqa=True)
    torch.testing.assert_close(y, z)
    (y * slope).sum().backward()
    (z * slope).sum().backward()
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_in_bfloat16_it_is_as_near_to_the_exact_values_as_fused_attention_is() -> None:
    exact = F.scaled_dot_product_attention(*inputs(torch.float64), is_causal=True)
    near = (short_attention(*inputs(torch.bfloat16), None) - exact).abs().max()
    fused = (
        (F.scaled_dot_product_attention(*inputs(torch.bfloat16), is_causal=True) - exact)
        .abs()
        .max()
    )
    assert near < 2 * fused


def test_it_is_taken_for_short_whole_rows_in_bfloat16_only() -> None:
    q, k, _ = inputs(torch.bfloat16)
    assert is_faster(q, k)
    assert not is_faster(q[:, :, :1], k)  # one token with a cache
    assert not is_faster(q.float(), k.float())
    long = torch.zeros(1, 1, module.LONGEST + 1, 2, dtype=torch.bfloat16)
    assert not is_faster(long, long)


def test_a_transformer_in_bfloat16_sees_neither_the_future_nor_other_documents() -> None:
    network = transformer(border=1)
    row = torch.randint(2, 11, (2, 12), generator=seeded(0))
    row[:, 6] = 1
    later, earlier = row.clone(), row.clone()
    later[:, 9] = 2 + (row[:, 9] - 1) % 9
    earlier[:, :6] = 2 + (row[:, :6] - 1) % 9
    with torch.autocast("cpu", torch.bfloat16):
        hidden, one, other = (network(x, network.document_mask(x)) for x in (row, later, earlier))
    assert torch.equal(one[:, :9], hidden[:, :9])
    assert not torch.equal(one[:, 9:], hidden[:, 9:])
    assert torch.equal(other[:, 6:], hidden[:, 6:])
    assert not torch.equal(other[:, :6], hidden[:, :6])
