"""A scene of three rows that is small enough to be enumerated, and the same written apart."""

from __future__ import annotations

import itertools
from functools import cache

from fledge.exact.walking_mind import EnumeratedScene
from fledge.plan.minds.planned import Planned, plan_minds
from fledge.plan.minds.scene_file import parse_scene
from fledge.plan.minds.walk_file import read_walk

ROWS = ["a.#b", ".S#.", "..%."]
TOML = """
map = '''
a.#b
.S#.
..%.
'''
things = ["K", "L"]
path = "PATH"
rationality = [0.7, 3]
step_cost = 0.3
gamma = 0.9
change = CHANGE
[places]
a = "K"
[wants]
"K first" = { K = 5, L = 2 }
"L first" = { L = 4, chance = 2 }
[beliefs]
even = {}
"L at b" = { b = { L = 9, nothing = 0 }, chance = 3 }
"K at b" = { b = { K = 1, L = 0, nothing = 0 } }
"""
WANTS = [{"K": 5.0, "L": 2.0}, {"K": 0.0, "L": 4.0}]
BELIEFS = [
    lambda way: 1.0,
    lambda way: {"L": 9.0, None: 0.0}.get(way["b"], 1.0),
    lambda way: {"K": 1.0}.get(way["b"], 0.0),
]
BETAS, PRIOR_WANTS, PRIOR_BELIEFS = (0.7, 3.0), (1 / 3, 2 / 3), (0.2, 0.6, 0.2)


def make(path: str, change: float = 0.0) -> Planned:
    text = TOML.replace("PATH", path).replace("CHANGE", str(change))
    return plan_minds(read_walk(parse_scene(text, "tiny")))


@cache  # what it has worked out, all tests go on from
def enumerate_tiny() -> EnumeratedScene:
    return EnumeratedScene(ROWS, ["K", "L"], {"a": "K"}, WANTS, BELIEFS, 0.3, 0.9, depth=15)


def list_minds() -> list[tuple[int, int, float]]:
    return list(itertools.product(range(3), range(2), BETAS))


def prior(mind: tuple[int, int, float]) -> float:
    return PRIOR_BELIEFS[mind[0]] * PRIOR_WANTS[mind[1]] / 2
