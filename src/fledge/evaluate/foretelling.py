"""How well a learned world foretells one that it did not see: how far off it is after so many
steps, and whether what it is sure of happens as often as it says.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from fledge.models.control.recurrent_world import RecurrentWorld
from fledge.models.control.world_ensemble import WorldEnsemble
from fledge.trajectories import Trajectories

HORIZON = 30  # steps
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
MOST = 20_000  # steps that are asked about
AWAKE = 5  # observations before a recurrent world is left to itself


@torch.no_grad()
def measure_foretelling(
    world: WorldEnsemble, rows: Trajectories, horizon: int = HORIZON
) -> dict[str, Any]:
    """Of episodes that nothing was learned from.

    steps, error: after 1, 2, … steps of what was really done, the root mean square distance of the
    members' mean from what was observed, in spreads of what was seen while it learned; copied: of
    the observation before the first of them. level, within: how often a number observed next, or a
    reward, lies in the middle interval that should hold so many; one step ahead. Numbers that never
    change are left out.
    """
    lasted = min(horizon, rows.chosen.shape[1])
    error, copied, number = (torch.zeros(lasted, dtype=torch.float64) for _ in range(3))
    for begin in range(0, rows.chosen.shape[1] - lasted + 1, lasted):
        start = rows.obs[:, begin].flatten(1)
        state = world.begin(start, 1)
        for h in range(lasted):
            t = begin + h
            action = rows.action[:, t]
            said = world.foretell(state, action if world.choices is not None else action.flatten(1))
            state = state + world.changed.unscale(said.mean)[..., :-1]
            here, mine = rows.obs[:, t + 1].flatten(1), rows.chosen[:, t]
            error[h] += _square(state.mean(0) - here, world)[mine].sum()
            copied[h] += _square(start - here, world)[mine].sum()
            number[h] += int(mine.sum())
    held = number > 0
    level, within = _measure_coverage(world, rows)
    return {
        "steps": list(range(1, int(held.sum()) + 1)),
        "error": (error[held] / number[held]).sqrt().tolist(),
        "copied": (copied[held] / number[held]).sqrt().tolist(),
        "level": level,
        "within": within,
        "asked": int(rows.chosen.sum()),
    }


def _square(off: Tensor, world: WorldEnsemble) -> Tensor:
    """[B, O] -> [B]"""
    return (off / world.seen.spread).square().mean(1).double()


def _measure_coverage(world: WorldEnsemble, rows: Trajectories) -> tuple[list[float], list[float]]:
    chosen = rows.chosen
    obs, after, action, reward = (
        x[chosen][:MOST] for x in (rows.obs[:, :-1], rows.obs[:, 1:], rows.action, rows.reward)
    )
    mean, spread = world.mix(obs, action)
    came = torch.cat([after.flatten(1), reward[:, None]], 1)
    changes = world.changed.variance > 1e-12
    away = ((came - mean).abs() / spread)[:, changes].double()
    sure = [math.sqrt(2) * float(torch.erfinv(torch.tensor(level).double())) for level in LEVELS]
    return list(LEVELS), [float((away <= far).double().mean()) for far in sure]


@torch.no_grad()
def measure_imagining(
    world: RecurrentWorld, rows: Trajectories, horizon: int = HORIZON
) -> dict[str, Any]:
    """The same of a world that is carried along, in episodes that nothing was learned from; it is
    shown what came until it is left to imagine, by its means, what the next actions lead to.

    error: the root mean square distance of what it would see from what came, in spreads of what was
    seen in these episodes, each number's own mean aside; copied: of what was seen last. Of how sure
    it is nothing is measured: it says a mean of what is seen, and no spread.
    """
    rows = rows[: max(1, MOST // rows.chosen.shape[1])]
    N, T = rows.chosen.shape
    seen = world.as_seen(rows.obs.flatten(0, 1)).flatten(1).unflatten(0, (N, T + 1))
    mine = seen[:, :-1][rows.chosen]
    spread = (mine - mine.mean(0)).square().mean().sqrt().clamp(min=1e-6)
    code = world.encode(rows.obs.flatten(0, 1)).unflatten(0, (N, T + 1))
    done = world.as_numbers(rows.action.flatten(0, 1)).unflatten(0, (N, T))
    mean = torch.zeros(N, world.stochastic)  # no noise
    state, before, carried = world.begin(N), world.nothing_done(N), []
    for t in range(T):
        state = world.observe(state, before, code[:, t], mean)[0]
        before = done[:, t]
        carried.append(state)
    first = min(AWAKE, T) - 1
    lasted = min(horizon, T - first)
    error, copied, number = (torch.zeros(lasted, dtype=torch.float64) for _ in range(3))
    for begin in range(first, T - lasted + 1, lasted):
        state = carried[begin]
        for h in range(lasted):
            state = world.imagine(state, done[:, begin + h], mean)
            asked = rows.chosen[:, begin + h]
            came = seen[:, begin + h + 1]
            for total, said in (
                (error, world.out(state).flatten(1)),
                (copied, seen[:, begin]),
            ):
                total[h] += ((said - came) / spread).square().mean(1).double()[asked].sum()
            number[h] += int(asked.sum())
    held = number > 0
    return {
        "steps": list(range(1, int(held.sum()) + 1)),
        "error": (error[held] / number[held]).sqrt().tolist(),
        "copied": (copied[held] / number[held]).sqrt().tolist(),
        "asked": int(number.sum()),
    }
