"""A finished run's agent for Python: numpy in, numpy out, as the world's own environment shows and
is told.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.models.control.squashed_actor import GaussianActor
from fledge.recipes.control.agent_files import Card, Which, find_agent
from fledge.recipes.control.builders import Built
from fledge.recipes.control.loading import load_built
from fledge.worlds.make import make_world
from fledge.worlds.world import Box, World


def load_agent(
    run: Path | str, which: Which = "best", *, world: Any = None, seed: int = 0
) -> Agent:
    """The agent of a finished run of `fledge control`: `agent.act(obs)` plays.

    which: best, by its evaluations, or last. world: where the run's was an object of Python's, that
    object. seed: as of `Agent`. Raises UserError for a folder without an agent, a world that is not
    here, and weights that do not fit.
    """
    trained, folder = find_agent(Path(run), which)
    one = make_world(world or trained.config["world"], 1)
    try:
        built, card = load_built(trained, folder, one, torch.device("cpu"))
    except BaseException:  # the world may hold processes or a window, whatever went wrong
        one.close()
        raise
    return Agent(built, one, card, seed)


class Agent:
    """Who acts for a finished run. `card` says which agent it is, `world` is one copy that it knows
    its spaces from.
    """

    def __init__(self, built: Built, world: World, card: Card | None, seed: int = 0) -> None:
        """seed: of what is drawn where it does not play what it thinks best. card: None for runs of
        a time without.
        """
        self.built, self.world, self.card = built, world, card
        self.begin_anew()
        self.generator = torch.Generator().manual_seed(seed)

    def begin_anew(self) -> None:
        """An episode begins: what mpc has planned and what dreamer has seen so far is forgotten.
        The others remember nothing.
        """
        self.plays = self.built.player.best

    def act(self, obs: Any, *, deterministic: bool = True) -> Any:
        """One observation -> one action; [n, …] or a list of n -> [n, …].

        deterministic: the action that it thinks best; else one drawn from its distribution, where
        it has one. Raises UserError for an observation that is not the world's.
        """
        seen, one = _to_batch(self.world, obs)
        action = self.plays(seen) if deterministic else self.draw(seen)
        if isinstance(self.world.action, Box):
            action = action.clamp(self.world.action.low, self.world.action.high)
        tell = getattr(self.world, "tell", None)
        told = action.numpy() if tell is None else tell(action)
        return told[0] if one else told

    def draw(self, seen: Tensor) -> Tensor:
        """As it acted while it learned, of the algorithms that learn a distribution.  [n, *O] ->
        [n, *A], in units of the bounds
        """
        module = self.built.module
        with torch.no_grad():
            if isinstance(module, GaussianActor):
                noise = torch.randn((len(seen), module.bounds.width), generator=self.generator)
                device = next(module.parameters()).device
                return module(seen.to(device), noise.to(device))[0].cpu()
            if not hasattr(module, "act"):
                kind = self.card.algorithm if self.card else "of a table or of values"
                raise UserError(
                    f"this agent ({kind}) has one action for every observation: leave "
                    "deterministic=false out."
                )
            return module.act(seen, self.generator)[0]  # pyright: ignore[reportCallIssue]

    def __repr__(self) -> str:
        if self.card is None:
            return f"Agent(in {self.world.name})"
        return (
            f"Agent({self.card.algorithm} in {self.world.name}, of step "
            f"{self.card.world_steps:,}, return {self.card.evaluation_return:.1f})"
        )

    def close(self) -> None:
        """Ends what the world holds."""
        self.world.close()


def _to_batch(world: World, obs: Any) -> tuple[Tensor, bool]:
    """As the networks see it [n, *O], and whether it was one."""
    show = getattr(world, "show", None)
    try:
        if show is not None:
            return show(obs)
        kept = torch.as_tensor(np.asarray(obs))
        seen = kept.float() if kept.is_floating_point() else kept
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{world.name} does not show such things ({error}): give what its `step` returns."
        ) from error
    shape = world.observation.shape
    if tuple(seen.shape) == shape:
        return seen[None], True
    if tuple(seen.shape[1:]) == shape:
        return seen, False
    raise UserError(
        f"an observation {tuple(seen.shape)} was given, and {world.name} shows {shape}: give one, "
        "or several in a row."
    )
