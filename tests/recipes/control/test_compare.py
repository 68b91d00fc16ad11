"""On one grid of world steps: which evaluation stands at each point, whatever lengths the batches
had.
"""

from __future__ import annotations

import numpy as np

from fledge.recipes.control.compare import align_to_grid

ROWS = [
    {"step": 0, "world_steps": 0.0, "evaluation_return": 20.0},
    {"step": 7, "world_steps": 61_000.0, "loss": 1.0},
    {"step": 8, "world_steps": 62_000.0, "evaluation_return": 200.0},
    {"step": 12, "world_steps": 103_000.0, "evaluation_return": 500.0},
]


def test_the_last_point_is_the_last_evaluation_however_far_the_last_batch_went() -> None:
    assert align_to_grid(ROWS, np.array([0, 60_000, 100_000])).tolist() == [20, 200, 500]
    assert align_to_grid(ROWS, np.array([0, 100_000])).tolist() == [20, 500]


def test_a_batch_counts_for_the_point_it_has_just_passed() -> None:
    """62,000 is nearer to 60,000 than to 80,000, and what nobody evaluated since stands on."""
    assert align_to_grid(ROWS, np.array([0, 20_000, 40_000, 60_000, 80_000, 100_000])).tolist() == [
        20,
        20,
        20,
        200,
        200,
        500,
    ]
