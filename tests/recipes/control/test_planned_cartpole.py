"""What `fledge control algorithm=mpc` comes to in CartPole-v1 with few steps."""

from __future__ import annotations

from pathlib import Path

import pytest

import fledge


@pytest.mark.slow
def test_planning_keeps_the_pole_up_and_the_cart_on_its_way(tmp_path: Path) -> None:
    """Within 2,000 steps, defaults. All of seeds 0 to 4 came to 500 (30 November; the slowest at
    1,223 steps), and what is learned differs between processors: two seeds, of which one has to.
    A value of what was done keeps the pole up as well, and drives to the rail after some 250 steps.
    """
    for seed in (4, 0):
        run = fledge.control(
            algorithm="mpc", world="CartPole-v1", seed=seed, stop_at_return=450, pictures=False,
            out=tmp_path / f"seed{seed}",
        )  # fmt: skip
        if run.summary["evaluation_return"] >= 450:
            return
    pytest.fail("neither seed came to 450")
