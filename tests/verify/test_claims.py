"""A claim holds where the measurement agrees with it, and fails where it does not: in both
directions.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch

from fledge.errors import UserError
from fledge.verify.claims import claim_of, judge, scale_of, statement
from fledge.verify.laboratory import Hardware, Measured

TRUE = torch.tensor([[1.0, -2.0, 3.0]]).double()
CPU = Hardware()


def measured(
    expected: torch.Tensor, samples: int = 2, radius: tuple[float, float] | None = None
) -> Measured:
    return Measured(TRUE, expected, samples, 1.0, 1.0, 1.0, radius)


class Claims:
    gradient_claim = "unbiased"

    def __init__(self, other: bool = False) -> None:
        if other:
            self.gradient_claim = "biased: its settings make it so"


def test_the_claim_is_the_objects_or_that_of_what_made_it() -> None:
    assert claim_of(Claims, Claims()) == "unbiased"
    assert claim_of(partial(partial(Claims)), Claims()) == "unbiased"
    assert (
        claim_of(partial(Claims, other=True), Claims(other=True))
        == "biased: its settings make it so"
    )
    assert claim_of(dict, {}) is None
    own = partial(Claims)
    own.gradient_claim = "biased: for a reason"  # pyright: ignore[reportAttributeAccessIssue]
    assert claim_of(partial(own), Claims()) == "biased: for a reason"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("(G-1)/G", 0.75),
        ("(G−1)/G", 0.75),
        ("1/T", 0.5),
        ("(G-1)/(G*T)", 0.375),
        ("0.5", 0.5),
        ("G/(G-1)", 4 / 3),
    ],
)
def test_scales_are_arithmetic_of_group_and_length(text: str, value: float) -> None:
    assert scale_of(f"unbiased up to scale {text}", 4, 2) == pytest.approx(value)


@pytest.mark.parametrize(
    "text", ["", "K/2", "1/0", "G**2", "__import__('os')", "(G-1", "0", "True and G"]
)
def test_other_scales_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="names no scale"):
        scale_of(f"unbiased up to scale {text}", 2, 2)


@pytest.mark.parametrize(
    ("claim", "expected", "holds"),
    [
        ("unbiased", TRUE, True),
        ("unbiased", TRUE * (1 + 1e-8), False),
        ("unbiased", TRUE / 2, False),
        ("unbiased", torch.full_like(TRUE, torch.nan), False),
        ("unbiased up to scale (G-1)/G", TRUE / 2, True),
        ("unbiased up to scale (G-1)/G", TRUE, False),
        ("unbiased up to scale 1/3", TRUE / 2, False),
        ("biased: it leans", TRUE + 1, True),
        (None, TRUE + 1, True),
    ],
)
def test_what_is_claimed_is_checked(claim: str | None, expected: torch.Tensor, holds: bool) -> None:
    row = judge("X", "it", claim, measured(expected), 2, CPU)
    assert row.holds is holds
    assert set(row.as_json()) == {"id", "subject", "claim", "figure", "bound", "holds"}


def test_a_claim_of_another_form_is_refused() -> None:
    for claim in ("true", "Unbiased", "unbiased up to a scale", 1):
        with pytest.raises(UserError, match="must be"):
            judge("X", "it", claim, measured(TRUE), 2, CPU)  # pyright: ignore[reportArgumentType]


def test_a_figure_that_was_sampled_is_held_to_its_own_error() -> None:
    near, far = TRUE * 1.01, TRUE * 1.5
    size = float(TRUE.norm())
    assert judge(
        "X", "it", "unbiased", measured(near, radius=(0.02 * size, 0.03 * size)), 2, CPU
    ).holds
    assert not judge(
        "X", "it", "unbiased", measured(far, radius=(0.02 * size, 0.03 * size)), 2, CPU
    ).holds
    assert judge(
        "X", "it", "unbiased up to scale 1.5", measured(far, radius=(0.02, 0.03)), 2, CPU
    ).holds


@pytest.mark.parametrize(
    ("expected", "samples", "said"),
    [
        (TRUE, 2, "unbiased"),
        (TRUE / 2, 2, "unbiased up to scale 0.5 = (G−1)/G"),
        (TRUE / 4, 1, "unbiased up to scale 0.25 = 1/T"),
        (TRUE * 0.3, 2, "unbiased up to scale 0.3"),
        (TRUE * 0, 2, "biased: the expected gradient is zero"),
        (-TRUE, 2, "unbiased up to scale -1"),
    ],
)
def test_the_statement_says_what_was_found(expected: torch.Tensor, samples: int, said: str) -> None:
    assert statement(measured(expected, samples), 4, 1e-10) == said


def test_a_bias_is_told_with_its_size_and_direction() -> None:
    said = statement(measured(TRUE + torch.tensor([[2.0, 1.0, 0.0]])), 4, 1e-10)  # at a right angle
    assert said.startswith("biased: relative error 0.598, cosine 0.858")


def test_b_is_the_rows_of_all_groups() -> None:
    assert scale_of("unbiased up to scale (B-1)/B", 2, 3, groups=3) == pytest.approx(5 / 6)
    assert scale_of("unbiased up to scale (B-1)/B", 4, 3) == pytest.approx(3 / 4)  # of one group
