"""What top-k and the nucleus keep is what a stable sort of the whole vocabulary would keep,
whatever its size, its shape and its ties.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fledge.log_prob import LARGE_VOCABULARY, PIECE, Decoding, draw, log_prob, restrict
from fledge.truncation import PRESELECTED, find_largest, keep_nucleus, keep_top_k


def order_of(row: np.ndarray) -> np.ndarray:
    """Token numbers, likeliest first, of equals the lowest number first."""
    return np.argsort(-row, kind="stable")


def nucleus_of(p: np.ndarray, mass: float) -> set[int]:
    """By its definition, added up in the order and precision of the numbers."""
    kept, before = set[int](), np.float64(0)
    for token in order_of(p):
        if before >= mass:
            break
        kept.add(int(token))
        before += np.float64(p[token])
    return kept


def logits_of(seed: int, size: int, spread: float, ties: str) -> torch.Tensor:
    """[1, size]. ties: numbers as they come, rounded to bfloat16, or to halves."""
    numbers = np.random.default_rng(seed).standard_normal(size) * spread
    if ties == "halves":
        numbers = np.round(numbers * 2) / 2
    row = torch.from_numpy(numbers)[None].float()
    return row.bfloat16().float() if ties == "bfloat16" else row


rows = st.builds(
    logits_of,
    st.integers(0, 10_000),
    # around the sizes at which more is put in order, and a vocabulary that is no multiple of 32
    st.sampled_from([1, 7, 31, 300, 1023, 1024, 1025, 16_384, 20_011, 49_152]),
    st.sampled_from([0.0, 0.3, 1.0, 3.0, 12.0]),
    st.sampled_from(["none", "bfloat16", "halves"]),
)


@settings(max_examples=200, deadline=None)
@given(rows, st.sampled_from([1, 2, 40, 255, 256, 257, 4096, 5000]))
def test_the_k_most_likely_are_the_first_of_a_stable_sort(row: torch.Tensor, k: int) -> None:
    kept = keep_top_k(row, k)[0].nonzero()[:, 0].tolist()
    assert kept == sorted(order_of(row[0].numpy())[:k].tolist())


@settings(max_examples=200, deadline=None)
@given(rows, st.sampled_from([1, 40, 256, 4096]))
def test_the_largest_are_the_largest(row: torch.Tensor, n: int) -> None:
    n = min(n, row.shape[-1])
    np.testing.assert_array_equal(find_largest(row, n)[0].numpy(), -np.sort(-row[0].numpy())[:n])


@settings(max_examples=200, deadline=None)
@given(rows, st.floats(0.01, 0.999))
def test_the_nucleus_is_that_of_a_stable_sort(row: torch.Tensor, mass: float) -> None:
    p = row.double().softmax(-1)
    kept = set(keep_nucleus(p, mass)[0].nonzero()[:, 0].tolist())
    expected = nucleus_of(p[0].numpy(), mass)
    if kept != expected:  # where the mass meets it to the last digits either set is right
        ordered = np.cumsum(-np.sort(-p[0].numpy()))
        assert np.abs(ordered - mass).min() < 1e-12
        assert abs(len(kept) - len(expected)) <= 1


def test_a_nucleus_larger_than_what_is_put_in_order_is_found_whole_beside_a_small_one() -> None:
    """Rows side by side that end among the first hundreds, and later."""
    size = 64 * PRESELECTED
    spread = (9.0, 3.0, 0.5, 0.0)
    p = torch.cat([logits_of(i, size, s, "none") for i, s in enumerate(spread)]).softmax(-1)
    kept = keep_nucleus(p, 0.9)
    sizes = kept.sum(-1).tolist()
    assert sizes[0] < PRESELECTED < sizes[1] < sizes[2] < sizes[3] < size
    for row, mask in zip(p, kept, strict=True):
        inside = float(row[mask].double().sum())
        least = float(row[mask].min())
        assert inside - least < 0.9 + 1e-5
        assert inside > 0.9 - 1e-5
        assert bool((row[~mask] <= least).all())  # nothing likelier was left out


def test_equal_tokens_are_kept_in_the_order_of_their_numbers() -> None:
    p = torch.full((1, 5000), 1 / 5000, dtype=torch.float64)
    assert keep_nucleus(p, 0.1)[0].nonzero()[:, 0].tolist() == list(range(500))
    assert keep_top_k(p, 300)[0].nonzero()[:, 0].tolist() == list(range(300))


RULES = (
    Decoding(top_k=50),
    Decoding(top_p=0.95),
    Decoding(temperature=0.7, top_k=300, top_p=0.8),
    Decoding(temperature=1.3, top_p=0.9, min_p=0.01),
)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_what_is_said_of_a_sampled_token_is_what_the_trainer_computes(rule: Decoding) -> None:
    random = torch.Generator().manual_seed(0)
    hidden, weight = (
        torch.randn(64, 16, generator=random),
        torch.randn(20_011, 16, generator=random),
    )
    uniform = torch.rand(64, generator=random, dtype=torch.float64)
    token, logp = draw(restrict(hidden @ weight.T, rule), uniform)
    trained, _ = log_prob(hidden, weight, token, rule, chunk=10)
    torch.testing.assert_close(logp, trained, atol=1e-5, rtol=0)


def test_a_draw_inverts_the_cumulative_distribution_of_a_large_vocabulary() -> None:
    """Against numpy in double precision, at points in the middle of each token's step; a third of
    the tokens cannot be drawn, among them the first and the last.
    """
    size = LARGE_VOCABULARY + 3 * PIECE + 7
    logits = logits_of(3, size, 2.0, "none").double()
    logits[:, ::3] = float("-inf")
    logits[:, -5:] = float("-inf")
    logits[:, 2 * PIECE : 3 * PIECE] = float("-inf")  # a piece without any
    p = np.exp(logits[0].numpy())
    p /= p.sum()
    able = np.flatnonzero(p)
    middles = torch.from_numpy((np.cumsum(p) - p / 2)[able])
    token, logp = draw(logits.expand(len(able), -1), middles)
    np.testing.assert_array_equal(token.numpy(), able)
    np.testing.assert_allclose(logp.numpy(), np.log(p[able]), atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_impossible_is_drawn_at_either_end(dtype: torch.dtype) -> None:
    size = 2 * LARGE_VOCABULARY
    logits = logits_of(1, size, 30.0, "none").to(dtype)
    logits[:, : size // 3] = logits[:, -size // 3 :] = float("-inf")
    ends = torch.tensor([0.0, 1e-300, 0.5, 1 - 2**-53, 1 - 2**-30], dtype=torch.float64)
    token, logp = draw(logits.expand(5, -1), ends)
    assert bool(logits[0, token].isfinite().all())
    assert bool(logp.isfinite().all())
