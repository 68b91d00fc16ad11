"""pass@k against all sets of k of the programs that were drawn, and without bias."""

from __future__ import annotations

from itertools import combinations
from math import comb

import pytest

from fledge.evaluate.pass_at_k import estimate_pass_at_k


def test_it_is_the_share_of_all_sets_that_have_a_right_one() -> None:
    for drawn in range(1, 8):
        for right in range(drawn + 1):
            for k in range(1, drawn + 1):
                sets = list(combinations(range(drawn), k))
                share = sum(min(one) < right for one in sets) / len(sets)
                assert estimate_pass_at_k(drawn, right, k) == pytest.approx(share, abs=1e-12)


def test_its_mean_over_draws_is_the_closed_form() -> None:
    """E over c ~ Binomial(n, p) of the estimate is 1 − (1 − p)^k, exactly."""
    p, n = 0.13, 20
    for k in (1, 5, 20):
        mean = sum(
            comb(n, c) * p**c * (1 - p) ** (n - c) * estimate_pass_at_k(n, c, k)
            for c in range(n + 1)
        )
        assert mean == pytest.approx(1 - (1 - p) ** k, abs=1e-12)


def test_more_than_were_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match="lie within"):
        estimate_pass_at_k(5, 2, 6)
