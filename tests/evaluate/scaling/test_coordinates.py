"""The coordinate check: what grows with the width under one rate for all weights, and not under
µP.
"""

from __future__ import annotations

import numpy as np
import pytest

from fledge.evaluate.scaling.coordinates import Coordinates, check_coordinates, draw_tokens
from fledge.models.language.transformer import TransformerConfig
from tests.subjects import chi_squared_bound

SIZES = TransformerConfig(vocab_size=64, context=32, layers=2, width=64, heads=4, kv_heads=4)
WIDTHS = (32, 64, 128, 256)


def check(*, mup: bool) -> Coordinates:
    return check_coordinates(
        SIZES, WIDTHS, mup=mup, steps=4, learning_rate=0.005, rows=4, seeds=(0, 1)
    )


def test_under_one_rate_all_that_blocks_give_grows_with_the_width_and_under_mup_nothing() -> None:
    """Of a step of Adam a product grows as width^1, less by what it was before; of several, each on
    what the others have added, faster.
    """
    usual, mup = check(mup=False), check(mup=True)
    blocks = [n for n, name in enumerate(usual.names) if name.startswith("block")]
    assert len(blocks) == 2
    assert (usual.slope(usual.size)[-1, blocks] > 0.6).all()
    assert (usual.slope(usual.change)[-1, blocks] > 0.6).all()
    assert usual.slope(usual.size)[-1, -1] > 0.15  # logits: what enters the last product is normed
    slopes, added = mup.slope(mup.size), mup.slope(mup.change)
    assert slopes[1:].max() < 0.15
    assert added.max() < 0.15
    assert slopes[1:, :-1].min() > -0.35
    assert slopes[1:, -1].min() > -0.5
    assert added.min() > -0.5
    # embeddings begin alike; before the first step logits are sums of as many independent numbers
    assert slopes[:, 0] == pytest.approx(0, abs=0.1)
    assert slopes[0, -1] == pytest.approx(-0.5, abs=0.1)


def test_a_slope_is_the_power_that_is_given() -> None:
    sizes = np.array(WIDTHS, float)[:, None, None] ** np.array([[0.0, 1.0, -0.5]])
    one = Coordinates(("a", "b", "c"), WIDTHS, sizes, sizes)
    np.testing.assert_allclose(one.slope(one.size), [[0.0, 1.0, -0.5]], atol=1e-12)


def test_tokens_come_as_often_as_zipf_says() -> None:
    """20,000 tokens, chi-squared with 15 degrees of freedom, false alarm 1e-4."""
    count = np.bincount(draw_tokens(16, (200, 100), 3).flatten().numpy(), minlength=16)
    wanted = 1 / np.arange(1, 17)
    wanted *= 20_000 / wanted.sum()
    assert ((count - wanted) ** 2 / wanted).sum() < chi_squared_bound(15)
