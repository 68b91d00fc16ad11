"""Games of two in turn out of pettingzoo (an extra: pip install fledge[games]), such as
pettingzoo.classic.connect_four_v3: agents that act one after the other, each with a mask of what it
may do.

An environment is played out anew for every position: a deep copy of one would be the environment
before its first reset, with nothing said.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fledge.errors import UserError
from fledge.worlds.games.game import Numbers
from fledge.worlds.games.replayed import Replayed

LONGEST = 200  # moves, of games that say nothing of it


@dataclass(frozen=True)
class Seen:
    """What an environment says after some moves. viewer: whose planes they are. scores: of both
    agents, so far.
    """

    mover: int
    viewer: int
    legal: tuple[int, ...]
    planes: Numbers
    over: bool
    scores: tuple[float, float]


class PettingBoard(Replayed):
    def __init__(self, name: str) -> None:
        """name: of a module of pettingzoo.classic, or of any with `env()`. Raises UserError where
        it is not there, and for one that is no game of two with masks.
        """
        self.name = f"pettingzoo:{name}"
        self.make = _find_maker(name)
        agents, space, planes = self._look()
        if len(agents) != 2:
            raise UserError(f"{self.name} has {len(agents)} agents: give a game of two.")
        self.actions, self.outcomes, self.longest = int(space.n), 0, LONGEST
        shape = planes.shape
        # pettingzoo shows [rows, columns, C]
        self.lay_out((shape[2], shape[0], shape[1]) if len(shape) == 3 else shape)
        if len(shape) == 3 and self.actions < 100:
            self.longest = min(LONGEST, shape[0] * shape[1])  # a board is full by then

    def _look(self) -> tuple[list[str], Any, Numbers]:
        environment = self.make()
        environment.reset(seed=0)
        first = environment.agent_selection
        seen = environment.observe(first)
        if not isinstance(seen, dict) or "action_mask" not in seen:
            raise UserError(
                f"{self.name} does not say what may be done (action_mask): a search needs to know. "
                "Give a game of pettingzoo.classic."
            )
        agents = list(environment.possible_agents)
        return agents, environment.action_space(first), np.asarray(seen["observation"])

    def start(self) -> Seen:
        return self._replay([])

    def play(self, history: Sequence[int], state: Seen, action: int) -> Seen:
        return self._replay([*history, action])

    def _replay(self, actions: Sequence[int]) -> Seen:
        environment = self.make()
        environment.reset(seed=0)
        scores = dict.fromkeys(environment.possible_agents, 0.0)
        for action in actions:
            environment.step(action)
            for agent, reward in environment.rewards.items():
                scores[agent] += float(reward)
        agents = list(environment.possible_agents)
        over = not environment.agents or any(environment.terminations.values())
        agent = environment.agent_selection
        seen = environment.observe(agent)
        planes = np.asarray(seen["observation"], np.float32)
        if planes.ndim == 3:
            planes = planes.transpose(2, 0, 1)
        legal = () if over else tuple(np.flatnonzero(seen["action_mask"]).tolist())
        both = scores[agents[0]], scores[agents[1]]
        viewer = agents.index(agent)
        return Seen(0 if over else viewer, viewer, legal, planes, over, both)

    def mover(self, state: Seen) -> int:
        return state.mover

    def list_moves(self, state: Seen) -> Sequence[int]:
        return state.legal

    def list_chances(self, state: Seen) -> Sequence[tuple[int, float]]:
        return []

    def result(self, state: Seen) -> float | None:
        return float(np.sign(state.scores[0] - state.scores[1])) if state.over else None

    def picture(self, state: Seen) -> Numbers:
        return state.planes

    def text(self, state: Seen) -> str:
        """The viewer's own stones and the other's, where there are two planes."""
        if len(state.planes) != 2:
            return ""
        own, other = ("x", "o") if state.viewer == 0 else ("o", "x")
        marks = np.where(state.planes[0] > 0, own, np.where(state.planes[1] > 0, other, "."))
        return "\n".join("".join(row) for row in marks)


def _find_maker(name: str) -> Any:
    """What makes the environment. Raises UserError where there is none."""
    try:
        importlib.import_module("pettingzoo")
    except ImportError as error:
        raise UserError(
            f"games named pettingzoo:… are pettingzoo's, which is not here ({error}): "
            "pip install 'fledge[games]'."
        ) from None
    module = name if "." in name else f"pettingzoo.classic.{name}"
    try:
        return importlib.import_module(module).env
    except ModuleNotFoundError as error:
        if error.name and not module.startswith(error.name):
            raise UserError(
                f"{module} needs {error.name}, which is not here: pip install {error.name}."
            ) from None
        latest = "" if re.search(r"_v\d+$", name) else "; names end in a version, as in _v3"
        raise UserError(f"pettingzoo has no game {module}{latest}: give another.") from None
    except (AttributeError, ImportError) as error:
        said = str(error).splitlines()[0]
        raise UserError(f"{module} cannot be used ({said}): give another.") from None
