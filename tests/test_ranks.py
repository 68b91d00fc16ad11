"""Every algorithm gives the same gradient and the same figures at any number of ranks, also where
there are more of them than rows; and what ranks tell each other is what they were told.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.algorithms.test_shared_suite import FAMILY, case
from tests.every_algorithm import EVERY, Case
from tests.every_rank import on_ranks
from tests.subjects import figures_close

WORLDS = (2, 3, 4)  # 16 rows: what divides them, and what does not
TEXTS: dict[str, Callable[[slice, int | None], Case]] = {
    **EVERY,
    **{name: lambda rows, micro, name=name: case(name, rows, micro) for name in FAMILY},
}
# Fewer rows than ranks: one group of two, so that at 3 and 4 ranks some have none.
FEW = slice(0, 2)
NEEDS_MORE = {"reinforce, batch"}


def update_every_algorithm(rows: slice, micro: int | None) -> dict[str, Any]:
    """Name to gradient, figures and the next β, of one update."""
    results: dict[str, Any] = {}
    for name, make in TEXTS.items():
        made = make(rows, micro)
        gradient, figures = made.gradient()
        kl = getattr(made.algorithm, "kl", None)
        results[name] = gradient, figures | ({} if kl is None else {"next_beta": kl.beta})
    return results


@pytest.mark.parametrize("rows", [slice(None), FEW], ids=["all rows", "fewer rows than ranks"])
def test_every_algorithm_on_texts_has_one_gradient_at_any_number_of_ranks(
    rows: slice, tmp_path: Path
) -> None:
    alone = update_every_algorithm(rows, None)
    for world in WORLDS:
        each = on_ranks(world, lambda: update_every_algorithm(rows, 3), tmp_path / f"{world}")
        for rank, together in enumerate(each):
            for name, (gradient, figures) in alone.items():
                torch.testing.assert_close(
                    together[name][0], gradient, rtol=1e-6, atol=1e-9,
                    msg=lambda text, name=name, rank=rank: f"{name}, rank {rank}: {text}",
                )  # fmt: skip
                figures_close(together[name][1], figures, 1e-6)


def test_the_gradients_that_are_compared_are_none_of_0() -> None:
    for name, (gradient, _) in update_every_algorithm(slice(None), None).items():
        assert gradient.abs().max() > 1e-4, name
