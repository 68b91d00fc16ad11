"""Value iteration on a large gridworld, by a stencil in the processor's cache, with a certificate
of the error.

Three things make it fast. Places are held in four planes by the parity of row and column: the
neighbours of one colour of the chequered map all have the other, so new values are used within the
sweep (Gauss–Seidel, red and black; Young 1954). Planes are cut into tiles that fit the cache, and
the tile where values may still change most is swept next (prioritised sweeping; Moore & Atkeson
1993): asynchronous value iteration converges in any order (Bertsekas 1982). And what is iterated is
X = γ(V − V∞), V∞ = step/(1 − γ) being the worth of
walking for ever: the step reward drops out, and whoever wants no exit is right from the start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.plan.bellman import ROUNDING
from fledge.worlds.gridworld import MOVES, Gridworld

# rows and columns of a tile in each plane: 4 × 33 kB of values, and as much again for what is in
# between
TILE = 64
SWEEPS = 12  # over a tile before the next one has its turn; 8 to 16 take about as long
# of a tile's largest change, what its neighbours may see of it: only an order of work hangs on it
BORDER = 0.3
# parities of row and column; the first two are red, the others black
COLOURS = (
    (0, 0),
    (1, 1),
    (0, 1),
    (1, 0),
)


@dataclass(frozen=True)
class GridSolution:
    """V* on the map, and how it was come by."""

    value: Tensor  # [H, W] float64, 0 in walls and exits
    policy: Tensor  # [H, W] long: the first of the best of ACTIONS, −1 in walls and exits
    sweeps: float  # backups / places on the map
    error_bound: float  # no value is farther than this from V*


class TileShare(NamedTuple):
    """One colour's share of a tile: views of flat pieces of the planes, [N] each."""

    own: np.ndarray
    above: np.ndarray
    right: np.ndarray
    below: np.ndarray
    left: np.ndarray
    # which of those four have walls among them, and where [N] bool
    bounces: list[tuple[int, np.ndarray]]
    # the places in `own` that a sweep must leave as they are: exits, and what is the next strip's
    kept: np.ndarray
    live: np.ndarray  # [N] float64: 1 where it counts, else 0
    spare: np.ndarray  # [3, N] to work in


def solve_gridworld(grid: Gridworld, tolerance: float = 1e-6) -> GridSolution:
    """V* of a gridworld with γ < 1, to `tolerance`: memory linear in the places, no matrix, one
    core.

    The bound is a certificate: V is one Bellman backup of all places from U, and ‖V − V*‖ ≤ γ/(1 −
    γ) · ‖V − U‖ (Puterman 1994, theorem 6.3.3). Raises UserError for γ = 1, and for a tolerance
    finer than float64 can tell.
    """
    if grid.gamma == 1:
        raise UserError(
            "a map is solved here with gamma below 1, where an error bound exists: use "
            "value_iteration(grid.mdp())."
        )
    for_ever = grid.step_reward / (1 - grid.gamma)
    largest = abs(for_ever) + float(grid.worth.abs().max())
    allowed = tolerance * (1 - grid.gamma) - ROUNDING * largest  # of X in one backup
    if not allowed > ROUNDING * largest:
        raise UserError(
            f"a tolerance of {tolerance:g} is finer than float64 can tell of values up to "
            f"{largest:.3g}: give {4 * ROUNDING * largest / (1 - grid.gamma):.1g} or more."
        )
    planes = _Planes(grid, for_ever)
    planes.pending[1:-1, 1:-1] = np.inf
    while True:
        planes.sweep_what_is_pending(allowed / 2)
        now = planes.gather()
        best, policy = _backup(grid, now)
        backed_up = np.where(planes.live, grid.gamma * best, now)
        wrong = np.abs(backed_up - now)
        if wrong.max() <= allowed:
            break
        planes.mark(wrong > allowed, allowed)
    value = np.where(planes.live, for_ever + best, 0.0)
    return GridSolution(
        torch.from_numpy(value),
        torch.from_numpy(np.where(planes.live, policy, -1)),
        planes.backups / value.size,
        (float(wrong.max()) + ROUNDING * largest) / (1 - grid.gamma),
    )


def _neighbours(x: np.ndarray) -> list[np.ndarray]:
    """Of every place, what is above, to the right, below and to the left; beyond the edge is zero.
    [H, W] -> 4 × [H, W]
    """
    edged = np.pad(x, 1)
    H, W = x.shape
    return [edged[1 + i : 1 + i + H, 1 + j : 1 + j + W] for i, j in MOVES]


def _backup(grid: Gridworld, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """max_a Σ p X and its first action, of all places at once.  [H, W] -> [H, W], [H, W] long"""
    floor = grid.floor.numpy()
    around = [
        np.where(free, there, x)
        for free, there in zip(_neighbours(floor), _neighbours(x), strict=True)
    ]
    best, policy = np.full_like(x, -np.inf), np.zeros(x.shape, dtype=np.int64)
    for a in range(4):
        aside = around[a - 1] + around[(a + 1) % 4]
        q = (1 - grid.slip) * around[a] + grid.slip / 2 * aside
        policy[q > best] = a
        np.maximum(best, q, out=best)
    return best, policy


class _Planes:
    """X by colour, in strips of columns [2, 2, strips, rows + 2, columns + 1], so that a tile is
    one flat piece of each plane.

    The extra column of a strip is a copy of the neighbouring strip's: to the left for odd columns,
    to the right for even ones.
    """

    def __init__(self, grid: Gridworld, for_ever: float) -> None:
        self.gamma, self.slip, self.shape = grid.gamma, grid.slip, tuple(grid.floor.shape)
        floor, exits = grid.floor.numpy(), grid.exits.numpy()
        self.live = floor & ~exits  # [H, W]
        self.rows, across = (-(-side // 2) for side in self.shape)
        self.strips, self.bands = -(-across // TILE), -(-self.rows // TILE)
        self.columns, self.tall = -(-across // self.strips), -(-self.rows // self.bands)
        self.x = self._lay_out(np.where(exits, grid.worth.numpy() - grid.gamma * for_ever, 0.0))
        blocked = [self._lay_out(~free & self.live) for free in _neighbours(floor)]
        live, exits = self._lay_out(self.live), self._lay_out(exits)
        spare = np.empty((3, self.tall * (self.columns + 1)))
        self.tiles = {
            (band, strip): self._parts(band, strip, blocked, live, exits, spare)
            for band in range(self.bands)
            for strip in range(self.strips)
        }
        # by how much a sweep may change a tile; edged
        self.pending = np.zeros((self.bands + 2, self.strips + 2))
        self.backups = 0

    def _lay_out(self, x: np.ndarray) -> np.ndarray:
        """[H, W] -> [2, 2, strips, rows + 2, columns + 1], zero where nothing is."""
        whole = np.zeros((2 * self.rows, 2 * self.strips * self.columns), dtype=x.dtype)
        whole[: x.shape[0], : x.shape[1]] = x
        out = np.zeros((2, 2, self.strips, self.rows + 2, self.columns + 1), dtype=x.dtype)
        for a, b in COLOURS:
            plane = whole[a::2, b::2].reshape(self.rows, self.strips, self.columns)
            out[a, b, :, 1:-1, b : self.columns + b] = plane.transpose(1, 0, 2)
        return out

    def gather(self) -> np.ndarray:
        """X as it stands.  -> [H, W]"""
        whole = np.empty((2 * self.rows, 2 * self.strips * self.columns))
        for a, b in COLOURS:
            plane = self.x[a, b, :, 1:-1, b : self.columns + b]
            whole[a::2, b::2] = plane.transpose(1, 0, 2).reshape(self.rows, -1)
        return whole[: self.shape[0], : self.shape[1]]

    def _parts(
        self,
        band: int,
        strip: int,
        blocked: list[np.ndarray],
        live: np.ndarray,
        exits: np.ndarray,
        spare: np.ndarray,
    ) -> list[TileShare]:
        wide = self.columns + 1
        begin, end = self._rows(band).start * wide, self._rows(band).stop * wide
        parts = []
        for a, b in COLOURS:
            own, beside, over = (
                self.x[i, j, strip].reshape(-1) for i, j in ((a, b), (a, 1 - b), (1 - a, b))
            )
            walls = [
                (k, wall[a, b, strip].reshape(-1)[begin:end]) for k, wall in enumerate(blocked)
            ]
            counts = live[a, b, strip].reshape(-1)[begin:end]
            kept = exits[a, b, strip].reshape(-1)[begin:end].copy()
            kept.reshape(-1, wide)[:, (1 - b) * self.columns] = True
            part = TileShare(
                own[begin:end],
                over[begin - (1 - a) * wide : end - (1 - a) * wide],
                beside[begin + 1 - b : end + 1 - b],
                over[begin + a * wide : end + a * wide],
                beside[begin - b : end - b],
                [(k, where) for k, where in walls if where.any()],
                np.flatnonzero(kept),
                counts.astype(float),
                spare[:, : end - begin],
            )
            if counts.any():
                parts.append(part)
        return parts

    def _rows(self, band: int) -> slice:
        """Of a band in every plane."""
        return slice(1 + band * self.tall, 1 + min(self.rows, (band + 1) * self.tall))

    def sweep_what_is_pending(self, enough: float) -> None:
        """Tile after tile, the one first that may change most, until none changes by more than
        `enough` in a sweep.
        """
        while True:
            row, column = divmod(int(self.pending.argmax()), self.strips + 2)
            if self.pending[row, column] <= enough:
                return
            self.pending[row, column] = 0.0
            parts = self.tiles.get((row - 1, column - 1), [])
            if not parts:
                continue
            self._borrow(row - 1, column - 1)
            first = self._sweep(parts, measure=True)
            if first <= enough:
                continue
            for _ in range(SWEEPS - 2):
                self._sweep(parts)
            self.pending[row, column] = self._sweep(parts, measure=True)
            for i, j in MOVES:
                self.pending[row + i, column + j] = max(
                    self.pending[row + i, column + j], BORDER * first
                )

    def _borrow(self, band: int, strip: int) -> None:
        """Copy the columns beside a tile from the neighbouring strips."""
        rows = self._rows(band)
        for a in (0, 1):
            if strip > 0:
                self.x[a, 1, strip, rows, 0] = self.x[a, 1, strip - 1, rows, -1]
            if strip + 1 < self.strips:
                self.x[a, 0, strip, rows, -1] = self.x[a, 0, strip + 1, rows, 0]

    def _sweep(self, parts: list[TileShare], measure: bool = False) -> float:
        """All of a tile once; the largest change if it is asked for, else 0."""
        straight, aside = self.gamma * (1 - self.slip), self.gamma * self.slip / 2
        self.backups += sum(len(part.own) for part in parts)
        return max([_sweep_part(part, straight, aside, measure) for part in parts])

    def mark(self, wrong: np.ndarray, amount: float) -> None:
        """These places, [H, W] bool, are still wrong by `amount`."""
        row, column = wrong.nonzero()
        self.pending[1 + row // 2 // self.tall, 1 + column // 2 // self.columns] = amount


def _sweep_part(part: TileShare, straight: float, aside: float, measure: bool) -> float:
    """X ← max_a γ Σ p X at one colour of a tile; the largest change if it is asked for, else 0.

    straight, aside: γ times the chance of going where one means to, and to one side.
    """
    around = [part.above, part.right, part.below, part.left]
    for k, wall in part.bounces:
        around[k] = np.where(wall, part.own, around[k])
    above, right, below, left = around
    upright, flat, other = part.spare
    np.maximum(above, below, out=upright)
    np.multiply(upright, straight, out=upright)
    np.add(left, right, out=other)
    np.multiply(other, aside, out=other)
    np.add(upright, other, out=upright)
    np.maximum(left, right, out=flat)
    np.multiply(flat, straight, out=flat)
    np.add(above, below, out=other)
    np.multiply(other, aside, out=other)
    np.add(flat, other, out=flat)
    held = part.own[part.kept]
    before = part.own.copy() if measure else None
    np.maximum(upright, flat, out=part.own)
    part.own[part.kept] = held
    return 0.0 if before is None else float((np.abs(part.own - before) * part.live).max())
