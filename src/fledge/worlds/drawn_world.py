"""Worlds of ours that are seen in small pictures: drawn:CartPole-v1, whose speeds no single picture
shows, and drawn:gridworld.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.worlds.batched_cartpole import BatchedCartPole
from fledge.worlds.filmed import FLOOR_COLOUR, GOAL_COLOUR, SIDE, WALKER_COLOUR, draw_carts
from fledge.worlds.gridworld import Gridworld
from fledge.worlds.mdp_world import MDPWorld
from fledge.worlds.world import Box, Space, Step, World

LOSS_COLOUR, WALL_COLOUR = (190, 60, 170), (120, 120, 120)

# what copies look like, in the order in which they stand  -> [n, C, 24, 24] uint8
Draw = Callable[[], Tensor]


class DrawnWorld:
    """Another world, of which `draw` shows every copy as it stands."""

    def __init__(self, world: World, draw: Draw, channels: int) -> None:
        self.world, self.draw, self.name = world, draw, f"drawn:{world.name}"
        zeros = torch.zeros(channels, SIDE, SIDE, dtype=torch.uint8)
        self.observation: Space = Box(zeros, torch.full_like(zeros, 255))

    @property
    def copies(self) -> int:
        return self.world.copies

    @property
    def action(self) -> Space:
        return self.world.action

    @property
    def restorable(self) -> bool:
        return self.world.restorable

    def reset(self, seed: int) -> Tensor:
        self.world.reset(seed)
        return self.draw()

    def step(self, action: Tensor) -> Step:
        return self.world.step(action)._replace(obs=self.draw())

    def state_dict(self) -> dict[str, Any]:
        return self.world.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> Tensor:
        self.world.load_state_dict(state)
        return self.draw()

    def close(self) -> None:
        self.world.close()


def draw_cartpole(copies: int) -> DrawnWorld:
    """One picture a step, grey."""
    world = BatchedCartPole(copies)
    return DrawnWorld(world, lambda: draw_carts(world.state), 1)


def draw_map(grid: Gridworld, world: MDPWorld) -> DrawnWorld:
    """A square a cell: grey walls, green where an exit pays, purple where it costs, the walker in
    the middle of its square.

    Raises UserError for a map of more than 12 cells a side.
    """
    cell = SIDE // max(grid.floor.shape)
    if cell < 2:
        raise UserError(
            f"the map of {world.name} is {grid.floor.shape[0]} × {grid.floor.shape[1]} cells, and "
            f"a picture has {SIDE} pixels a side: draw one of up to {SIDE // 2} cells."
        )
    empty = torch.zeros(SIDE, SIDE, 3, dtype=torch.uint8)
    pictures = torch.zeros(world.mdp.states, 3, SIDE, SIDE, dtype=torch.uint8)
    for i, j in np.ndindex(*grid.floor.shape):
        colour = FLOOR_COLOUR if bool(grid.floor[i, j]) else WALL_COLOUR
        if bool(grid.exits[i, j]):
            colour = GOAL_COLOUR if float(grid.worth[i, j]) > 0 else LOSS_COLOUR
        square = empty[i * cell : (i + 1) * cell, j * cell : (j + 1) * cell]
        square[:] = torch.tensor(colour, dtype=torch.uint8)
    pictures[:] = empty.permute(2, 0, 1)
    margin = 1 if cell > 3 else 0
    for state in range(world.mdp.states):
        place = (grid.number == state).nonzero()
        if not len(place):
            continue
        i, j = place[0].tolist()
        rows = slice(i * cell + margin, (i + 1) * cell - margin)
        columns = slice(j * cell + margin, (j + 1) * cell - margin)
        walker = torch.tensor(WALKER_COLOUR, dtype=torch.uint8)
        pictures[state, :, rows, columns] = walker[:, None, None]
    return DrawnWorld(world, lambda: pictures[torch.from_numpy(world.state)], 3)
