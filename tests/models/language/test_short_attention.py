"""Attention in plain products is the attention that PyTorch computes, forwards and backwards,
whatever is taken together.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fledge.models.language import short_attention as module
from fledge.models.language.attention_kernel import load_kernel
from fledge.models.language.short_attention import is_faster, short_attention
from tests.subjects import seeded, transformer

needs_kernel = pytest.mark.skipif(load_kernel() is None, reason="no compiler, or no AVX-512")


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
    (q, k, v), (eq, ek, ev) = ours, expected
    y = short_attention(q, k, v, None)
    z = F.scaled_dot_product_attention(eq, ek, ev, is_causal=True, enable_gqa=True)
    torch.testing.assert_close(y, z)
    (y * slope).sum().backward()
    (z * slope).sum().backward()
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize("kernel", [True, False])
def test_in_bfloat16_it_is_as_near_to_the_exact_values_as_fused_attention_is(
    kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not kernel:
        monkeypatch.setattr(module, "suits_kernel", lambda *given: False)
    exact = F.scaled_dot_product_attention(*inputs(torch.float64), is_causal=True)
    near = (short_attention(*inputs(torch.bfloat16), None) - exact).abs().max()
    fused = (
        (F.scaled_dot_product_attention(*inputs(torch.bfloat16), is_causal=True) - exact)
        .abs()
        .max()
    )
    assert near < 2 * fused


def test_without_the_kernel_it_is_taken_for_short_whole_rows_in_bfloat16_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "suits_kernel", lambda *given: False)
    q, k, v = inputs(torch.bfloat16)
    assert is_faster(q, k, v)
    assert not is_faster(q[:, :, :1], k, v)  # one token with a cache
    assert not is_faster(q.float(), k.float(), v.float())
    long = torch.zeros(1, 1, module.LONGEST + 1, 2, dtype=torch.bfloat16)
    assert not is_faster(long, long, long)


@needs_kernel
def test_with_the_kernel_it_is_taken_for_all_but_short_rows_in_float32() -> None:
    q, k, v = inputs(torch.bfloat16)
    assert is_faster(q, k, v)
    assert not is_faster(q[:, :, :1], k, v)
    assert not is_faster(q.float(), k.float(), v.float())
    for dtype in (torch.float32, torch.bfloat16):
        long = torch.zeros(1, 1, module.LONGEST + 1, 2, dtype=dtype)
        assert is_faster(long, long, long)
    for wide in (torch.zeros(1, 1, 600, 300), torch.zeros(1, 1, 100, 2, dtype=torch.float64)):
        assert not is_faster(wide, wide, wide)


def exact_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, slope: Tensor
) -> list[Tensor]:
    """By PyTorch, in float64: y and the slopes of q, k and v."""
    given = [x.detach().double().requires_grad_() for x in (q, k, v)]
    y = F.scaled_dot_product_attention(
        *given, attn_mask=mask, is_causal=mask is None, enable_gqa=True
    )
    return [y.detach(), *torch.autograd.grad(y, given, slope.double())]


def draw_mask(kind: str, rows: int, queries: int, keys: int) -> Tensor | None:
    """Each query sees some key."""
    if kind == "causal":
        return None
    mask = torch.ones(rows, 1, queries, keys, dtype=torch.bool)
    if kind == "scattered":
        mask = torch.rand(mask.shape, generator=seeded(4)) < 0.3
    if kind == "documents":
        part = torch.rand(rows, keys, generator=seeded(5)).lt(0.1).cumsum(-1)
        same = part[:, None, -queries:, None] == part[:, None, None, :]
        mask = same & mask.tril(keys - queries)
    if kind == "one for all rows":
        mask = mask[:1].tril(keys - queries)
    mask[..., 0] |= ~mask.any(-1)
    return mask


@needs_kernel
@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("causal", (3, 4, 2, 7, 7, 16)), ("causal", (2, 2, 2, 33, 33, 64)),
        ("causal", (1, 6, 2, 200, 200, 64)), ("causal", (2, 1, 1, 97, 97, 20)),
        ("causal", (1, 1, 1, 64, 64, 256)),
        ("scattered", (3, 4, 2, 50, 50, 32)), ("documents", (3, 3, 1, 70, 70, 16)),
        ("documents", (2, 2, 2, 40, 131, 24)), ("one for all rows", (3, 2, 2, 35, 49, 8)),
        ("all", (2, 2, 1, 65, 65, 48)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernel_says_what_float64_says(
    dtype: torch.dtype, kind: str, shape: tuple[int, ...]
) -> None:
    rows, heads, kv_heads, queries, keys, width = shape
    random = seeded(1)
    # As projections make them: one piece of memory, heads inside.
    q = torch.randn(rows, queries, heads, width, generator=random).to(dtype).transpose(1, 2)
    both = torch.randn(rows, keys, 2 * kv_heads, width, generator=random).to(dtype).transpose(1, 2)
    k, v = both.split(kv_heads, dim=1)
    slope = torch.randn(q.shape, generator=random).to(dtype)
    mask = draw_mask(kind, rows, queries, keys)
    assert module.suits_kernel(q, k, v)
    exact = exact_attention(q, k, v, mask, slope)
    answers = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        try:
            given = (a, b, c) = tuple(x.detach().requires_grad_() for x in (q, k, v))
            y = short_attention(a, b, c, mask)
            answers.append([y.detach(), *torch.autograd.grad(y, given, slope)])
        finally:
            torch.set_num_threads(1)
    close = 3e-6 if dtype == torch.float32 else 6e-3  # bfloat16 rounds by 2e-3 what is said
    for mine, other, its in zip(*answers, exact, strict=True):
        assert mine.dtype == dtype
        assert float((mine.double() - its).abs().max()) < close * float(its.abs().max())
        assert torch.equal(mine, other)


@needs_kernel
def test_in_bfloat16_it_is_float32_rounded_once_to_the_nearest() -> None:
    given = torch.randn(4, 2, 3, 70, 24, generator=seeded(1)).bfloat16()
    answers = []
    for dtype in (torch.bfloat16, torch.float32):
        q, k, v, slope = (x.to(dtype).requires_grad_() for x in given)
        y = short_attention(q, k, v, None)
        answers.append([y.detach(), *torch.autograd.grad(y, [q, k, v], slope.detach())])
    for narrow, wide in zip(*answers, strict=True):
        assert torch.equal(narrow, wide.bfloat16())


@needs_kernel
def test_other_rows_change_no_bit_of_a_row() -> None:
    q, k, v = torch.randn(3, 5, 2, 40, 16, generator=seeded(1))
    whole = short_attention(q, k, v, None)
    assert torch.equal(whole[2:3], short_attention(q[2:3], k[2:3], v[2:3], None))


@needs_kernel
def test_what_is_no_number_stays_none_and_huge_scores_are_certain() -> None:
    q, k, v = torch.randn(3, 1, 1, 40, 8, generator=seeded(1))
    v[0, 0, 7, 0] = torch.nan
    said = short_attention(q, k, v, None)[0, 0]
    assert bool(said[7:, 0].isnan().all())
    assert not bool(said[:, 1:].isnan().any())
    v[0, 0, 7, 0] = 1.0
    sure = short_attention(1e4 * q, k, v, None)
    best = (q @ k.mT).masked_fill(~torch.ones(40, 40, dtype=torch.bool).tril(), -torch.inf)
    assert torch.equal(sure[0, 0], v[0, 0][best.argmax(-1)[0, 0]])


@needs_kernel
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_who_sees_nothing_says_nothing_and_learns_nothing(dtype: torch.dtype) -> None:
    given = torch.randn(3, 1, 2, 40, 16, generator=seeded(1)).to(dtype)
    q, k, v = (x.clone().requires_grad_() for x in given)
    mask = torch.ones(1, 1, 40, 40, dtype=torch.bool).tril()
    mask[0, 0, 5] = False
    y = short_attention(q, k, v, mask)
    assert bool((y[:, :, 5] == 0).all())
    slope = torch.randn(y.shape, generator=seeded(2)).to(dtype)
    g_q, g_k, g_v = torch.autograd.grad(y, [q, k, v], slope)
    assert bool((g_q[:, :, 5] == 0).all())
    assert not bool(torch.stack([g_q, g_k, g_v]).isnan().any())


@needs_kernel
def test_other_shapes_and_masks_are_left_to_torch() -> None:
    q, k, v = torch.randn(3, 3, 4, 40, 8, generator=seeded(1))
    assert module.suits_kernel(q, k, v)
    others = [
        (q, k[:1], v[:1]), (q, k, v[:, :, :39]), (q, k[..., :4], v[..., :4]),
        (q, k[:, :3], v[:, :3]), (q, k, v.bfloat16()), (q.double(), k.double(), v.double()),
        (q[0], k[0], v[0]),
    ]  # fmt: skip
    for other in others:
        assert not module.suits_kernel(*other)
    assert not module.suits_kernel(q, k, v, torch.zeros(3, 1, 40, 40))


@needs_kernel
def test_fewer_heads_than_threads_are_pytorchs() -> None:
    q, k, v = torch.randn(3, 1, 1, 100, 8, generator=seeded(1))
    assert is_faster(q, k, v)
    torch.set_num_threads(2)
    try:
        assert not is_faster(q, k, v)
    finally:
        torch.set_num_threads(1)


def test_whoever_differentiates_many_rows_at_once_sees_torchs_operations() -> None:
    q, k, v = torch.randn(3, 2, 1, 40, 8, generator=seeded(1)).bfloat16()

    def read(rows: Tensor) -> Tensor:
        assert not is_faster(rows, k, v)
        return rows.sum()

    torch.func.grad(read)(q)
    assert is_faster(q, k, v)


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
