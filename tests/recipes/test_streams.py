"""What draws in one run of `fledge control` draws from streams of its own: worlds, actor, weights,
memory, noise.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from fledge import seeds
from fledge.sample.episodes import Episodes
from fledge.stopwatch import Stopwatch
from fledge.worlds.make import make_world
from fledge.worlds.mdp_world import MDPWorld
from tests.recipes.control.control_subjects import ALGORITHMS, an_expert, subject


def generators_in(thing: Any, seen: dict[int, Any]) -> list[torch.Generator]:
    """Every generator that can be reached from it."""
    if id(thing) in seen or isinstance(thing, torch.Tensor | str | int | float | type):
        return []
    seen[id(thing)] = thing
    if isinstance(thing, torch.Generator):
        return [thing]
    parts = (
        thing.values()
        if isinstance(thing, dict)
        else thing
        if isinstance(thing, list | tuple)
        else ()
    )
    inside = [*parts, *getattr(thing, "__dict__", {}).values()]
    return [one for part in inside for one in generators_in(part, seen)]


@pytest.fixture(scope="module")
def expert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return an_expert(tmp_path_factory.mktemp("expert") / "run")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_stream_of_a_run_is_asked_for_twice_and_no_two_share_a_draw(
    algorithm: str, expert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Counter[Any] = Counter()
    real = seeds.seed_for

    def noted(seed: int, stream: Any, index: int | str = 0) -> int:
        if seed == 7:
            asked[stream, index] += 1
        return real(seed, stream, index)

    monkeypatch.setattr(seeds, "seed_for", noted)
    with subject(algorithm, expert, seed=7) as made:
        each = generators_in((made.built, made.sampler), {})
        drawn = [torch.rand(400, generator=one, dtype=torch.float64) for one in each]
    assert max(asked.values(), default=1) == 1, asked
    assert len(each) >= 1
    assert len(torch.cat(drawn).unique()) == 400 * len(drawn)


def test_what_a_gridworld_does_by_chance_is_none_of_the_actors_draws() -> None:
    """One stream for both, and the number that decides a slip is the one that decides a later
    action.
    """
    world, told, slips = make_world("gridworld", 4), [], []
    assert isinstance(world, MDPWorld)
    real = world._uniform

    def noted() -> Any:
        slips.append(real())
        return slips[-1]

    world._uniform = noted

    class Anything:
        def act(self, obs: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, None]:
            told.append(torch.rand(len(obs), generator=generator, dtype=torch.float64))
            return (told[-1] * 4).long(), None

    sampler = Episodes(world, Anything(), Stopwatch(), steps=50, seed=0)
    next(sampler)
    by_world = torch.cat([torch.from_numpy(x).flatten() for x in slips])
    assert not torch.isin(torch.cat(told), by_world).any()
