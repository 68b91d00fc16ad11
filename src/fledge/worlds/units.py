"""Worlds whose actions are numbers, told in units of their bounds: −1 is the lowest and 1 the
highest, whatever they measure.

So a policy's spread, log-probability and entropy mean the same in a world of ±2000 N as in one of
±1, and nothing learned depends on the unit. A part without a finite bound on either side has no
such unit: it stays in the world's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.worlds.world import Box, Space, Step, World

FARTHEST = 1e30  # a bound out there (the largest float32 there is, say) bounds nothing


def put_in_units(world: World) -> World:
    """The world as it is where actions are choices, or no part of them has other bounds than −1 and
    1; else told in their units.
    """
    if not isinstance(world.action, Box):
        return world
    other = _bounded(world.action) & find_unscaled_parts(world.action).view(world.action.shape)
    return InUnits(world) if bool(other.any()) else world


def find_unscaled_parts(action: Space) -> Tensor:
    """Which parts of an action are not told from −1 to 1: after `put_in_units`, those without two
    bounds.  -> [A] bool, flat
    """
    if not isinstance(action, Box):
        return torch.zeros(0, dtype=torch.bool)
    return ~((action.low == -1) & (action.high == 1)).flatten()


def bounds_of(world: World) -> Tensor | None:
    """What −1 and 1 stand for: lowest and highest [2, *A] in the world's own units; None where it
    is told as it is.
    """
    if not isinstance(world, InUnits):
        return None
    own = world.world.action
    assert isinstance(own, Box)
    return torch.stack([own.low, own.high])


def check_bounds(saved: Tensor | None, now: Tensor | None, name: str) -> None:
    """Raises UserError where what was learned between other bounds, or in the world's own units, is
    to go on: it would act otherwise.
    """
    if saved is None and now is None:
        return
    if saved is None or now is None or not torch.equal(saved, now):
        then = (
            "in the world's own units"
            if saved is None
            else f"between {saved[0].tolist()} and {saved[1].tolist()}"
        )
        now_ = (
            "in its own units"
            if now is None
            else f"between {now[0].tolist()} and {now[1].tolist()}"
        )
        raise UserError(
            f"this agent has learned to act {then}, and {name} is told {now_} today: it would do "
            "something else than it learned. Train it anew."
        )


def cut_actions(action: Tensor, space: Box) -> Tensor:
    """Whether any part lies outside of the bounds: a world moves it there on its way.  [B, T, *A]
    -> [B, T] bool
    """
    return ((action < space.low) | (action > space.high)).reshape(*action.shape[:2], -1).any(-1)


def _bounded(box: Box) -> Tensor:
    """Which parts have a finite bound on both sides.  -> [*A] bool"""
    return (box.low.abs() < FARTHEST) & (box.high.abs() < FARTHEST)


class InUnits:
    """A world of numbers, told in units of its bounds; cutting to them, and everything else, is the
    world's own.
    """

    def __init__(self, world: World) -> None:
        self.world, own = world, world.action
        assert isinstance(own, Box)
        bounded, one = _bounded(own), torch.ones_like(own.low)
        self.action: Space = Box(
            torch.where(bounded, -one, own.low), torch.where(bounded, one, own.high)
        )
        # In float64: float32 would leave sixteen actions between 1,000,000 and 1,000,001.
        low, high = (
            torch.where(bounded, end, sign * one) for sign, end in ((-1, own.low), (1, own.high))
        )
        self.centre = (low.double().numpy() + high.double().numpy()) / 2  # [*A]
        self.reach = (high.double().numpy() - low.double().numpy()) / 2

        self.show = getattr(world, "show", None)

    @property
    def name(self) -> str:
        return self.world.name

    @property
    def copies(self) -> int:
        return self.world.copies

    @property
    def observation(self) -> Space:
        return self.world.observation

    @property
    def restorable(self) -> bool:
        return self.world.restorable

    def to_world(self, action: Tensor) -> Tensor:
        """[n, *A] in units of the bounds -> [n, *A] in the world's own"""
        # what is no number of float32 any more is for the world to complain of
        with np.errstate(over="ignore"):
            return torch.from_numpy(
                (self.centre + self.reach * action.double().numpy()).astype(np.float32)
            )

    def tell(self, action: Tensor) -> np.ndarray:
        """What the world's own environment is told."""
        own, inner = self.to_world(action), getattr(self.world, "tell", None)
        return own.numpy() if inner is None else inner(own)

    def reset(self, seed: int) -> Tensor:
        return self.world.reset(seed)

    def step(self, action: Tensor) -> Step:
        return self.world.step(self.to_world(action))

    def state_dict(self) -> dict[str, Any]:
        return self.world.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> Tensor:
        return self.world.load_state_dict(state)

    def close(self) -> None:
        self.world.close()
