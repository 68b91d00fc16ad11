"""Every algorithm gives the same gradient and the same figures at any number of ranks, also where
there are more of them than rows; and what ranks tell each other is what they were told.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from fledge import ranks
from fledge.algorithms.registry import names_of
from fledge.runs.state import flatten
from tests.algorithms.test_shared_suite import FAMILY, case
from tests.every_algorithm import EVERY, LABELLED, MASKED, Case
from tests.every_rank import on_ranks
from tests.recipes.control.control_subjects import an_expert, subject
from tests.subjects import Gradients, figures_close

WORLDS = (3, 4)  # 16 rows: what divides them, and what does not
TEXTS: dict[str, Callable[[slice, int | None], Case]] = {
    **EVERY,
    **MASKED,
    **LABELLED,
    **{name: lambda rows, micro, name=name: case(name, rows, micro) for name in FAMILY},
}
# Fewer rows than ranks: one group of two, so that at 3 and 4 ranks some have none.
FEW = slice(0, 2)


def update_every_algorithm(rows: slice, micro: int | None) -> dict[str, Any]:
    """Name to gradient, figures and the next β, of one update."""
    results: dict[str, Any] = {}
    for name, make in TEXTS.items():
        made = make(rows, micro)
        gradient, figures = made.gradient()
        kl = getattr(made.algorithm, "kl", None)
        results[name] = gradient, figures | ({} if kl is None else {"next_beta": kl.beta})
    return results


@pytest.mark.parametrize(
    ("rows", "worlds"),
    [(slice(None), WORLDS), (FEW, WORLDS[-1:])],
    ids=["all rows", "fewer rows than ranks"],
)
def test_every_algorithm_on_texts_has_one_gradient_at_any_number_of_ranks(
    rows: slice, worlds: tuple[int, ...], tmp_path: Path
) -> None:
    alone = update_every_algorithm(rows, None)
    for world in worlds:
        each = on_ranks(world, lambda: update_every_algorithm(rows, 3), tmp_path / f"{world}")
        for rank, together in enumerate(each):
            for name, (gradient, figures) in alone.items():
                torch.testing.assert_close(
                    together[name][0], gradient, rtol=1e-6, atol=1e-9,
                    msg=lambda text, name=name, rank=rank: f"{name}, rank {rank}: {text}",
                )  # fmt: skip
                figures_close(together[name][1], figures, 1e-6)


def update_every_agent(expert: Path) -> dict[str, Any]:
    """Name to the gradient of each learner, figures and state, of two updates in a world."""
    results: dict[str, Any] = {}
    for name in names_of("worlds"):
        with subject(name, expert, copies=3, steps_per_batch=8) as made:
            laid_open = [Gradients(pace.learner) for pace in made.paces]
            made.built.algorithm.update(next(made.sampler))
            figures = made.built.algorithm.update(next(made.sampler))
            gradients = [each.flat for each in laid_open if each.taken]
            tensors = flatten(made.built.algorithm.state_dict())[1]
            results[name] = gradients, figures, tensors
    return results


def test_every_algorithm_in_worlds_has_one_gradient_at_any_number_of_ranks(tmp_path: Path) -> None:
    """Networks of worlds are float32. What is remembered, and how often it surprised, is the same
    too.
    """
    expert = an_expert(tmp_path / "expert")
    alone = update_every_agent(expert)
    for together in on_ranks(3, lambda: update_every_agent(expert), tmp_path / "ranks"):
        for name, (gradients, figures, state) in alone.items():
            same_gradients, same_figures, same_state = together[name]
            close = partial(
                    torch.testing.assert_close, rtol=1e-4, atol=1e-5,
                    msg=lambda text, name=name: f"{name}: {text}",
                )  # fmt: skip
            assert len(same_gradients) == len(gradients)
            for mine, theirs in zip(same_gradients, gradients, strict=True):
                close(mine, theirs)
            assert same_figures == pytest.approx(figures, rel=1e-3, abs=1e-5), name
            assert same_state.keys() == state.keys(), name
            for key, value in state.items():
                close(same_state[key], value)


def test_what_is_dealt_is_level_and_dealt_once(tmp_path: Path) -> None:
    costs = [1, 2, 3, 5, 8, 13, 21, 34, 55, 89]
    each = on_ranks(3, lambda: ranks.deal_level(costs), tmp_path / "ranks")
    assert sorted(place for own in each for place in own) == list(range(len(costs)))
    assert sorted(map(len, each)) == [3, 3, 4]
    # the largest three, the next three backwards, the next three forwards, and the last
    assert each == [[0, 3, 4, 9], [2, 5, 8], [1, 6, 7]]
    assert ranks.deal_level(costs) == list(range(len(costs)))


def test_the_gradients_that_are_compared_are_none_of_0() -> None:
    for name, (gradient, _) in update_every_algorithm(slice(None), None).items():
        assert gradient.abs().max() > 1e-4, name
