"""β stays, or steers the KL to its target."""

from __future__ import annotations

import pytest

from fledge.score.kl_control import KLControl


def test_without_a_target_beta_stays() -> None:
    control = KLControl(0.3)
    control.observe(100.0)
    assert control.beta == 0.3


def test_one_step_is_the_formula_with_its_error_held_in_bounds() -> None:
    for kl, factor in (
        (2.2, 1 + 0.1 * 0.1),
        (100.0, 1 + 0.1 * 0.2),
        (1.9, 1 - 0.1 * 0.05),
        (-5.0, 1 - 0.1 * 0.2),
    ):
        control = KLControl(0.5, target=2.0)
        control.observe(kl)
        assert control.beta == pytest.approx(0.5 * factor)


def test_it_steers_a_policy_that_strays_less_the_more_it_pays() -> None:
    control = KLControl(10.0, target=2.0, gain=0.2)
    for _ in range(500):
        control.observe(6.0 / control.beta)
    assert 6.0 / control.beta == pytest.approx(2.0, rel=1e-3)


def test_its_state_is_beta() -> None:
    control, other = KLControl(0.5, target=2.0), KLControl(0.1, target=2.0)
    control.observe(9.0)
    other.load_state_dict(control.state_dict())
    assert other.beta == control.beta
