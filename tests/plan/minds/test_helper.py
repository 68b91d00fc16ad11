"""An assistance game beside its solution by another route: alpha vectors, pruned, in place of a
look ahead from one belief (Sondik 1971).
"""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.plan.minds.helper import Costs, Helper, read_costs
from fledge.plan.minds.inverse_planning import InversePlanning
from fledge.plan.minds.planned import Planned, plan_minds
from fledge.plan.minds.scene_file import SceneFile, parse_scene
from fledge.plan.minds.walk_file import read_walk

TOML = """
map = '''
a.b
.S.
'''
things = ["tea", "coffee"]
worth = [6]
path = "up stay"
rationality = 0.8
step_cost = 0.4
gamma = 0.9
[places]
a = "tea"
b = "coffee"
"""


@pytest.fixture(scope="module")
def planned() -> Planned:
    return plan_minds(read_walk(parse_scene(TOML, "tiny")))


def upper_envelope(vectors: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those that are the best for some share of two minds, by where the lines cross."""
    kept = set()
    shares = [0.0, 1.0]
    for (a, b), (c, d) in itertools.combinations(set(vectors), 2):
        slope = (a - b) - (c - d)
        if slope:
            shares.append((d - b) / slope)
    for low, high in itertools.pairwise(sorted(x for x in shares if 0 <= x <= 1)):
        middle = (low + high) / 2
        kept.add(max(vectors, key=lambda v: v[0] * middle + v[1] * (1 - middle)))
    return list(kept)


def alone(planned: Planned) -> dict[int, tuple[float, float]]:
    """By sweeps over places; everything is seen, so that what is known does not change."""
    scene = planned.scene
    known, S = scene.see(0, scene.start), scene.after.shape[1]
    values = [[0.0] * S for _ in range(2)]
    for _ in range(600):
        for m in range(2):
            policy = planned.log_policy(known, torch.arange(S)).exp()[m].tolist()
            values[m] = [
                sum(
                    policy[s][a] * (-0.4 + 0.9 * values[m][int(scene.after[a, s])])
                    for a in range(5)
                )
                + policy[s][5] * pays(planned, m, s)
                for s in range(S)
            ]
    return {s: (values[0][s], values[1][s]) for s in range(S)}


def pays(planned: Planned, mind: int, place: int) -> float:
    for number, spot in enumerate(planned.scene.spot.tolist()):
        if spot == place:
            return 6.0 if number == mind else 0.0
    return 0.0


def solve_by_vectors(planned: Planned, costs: Costs, turns: int) -> dict[int, dict[str, list]]:
    """What each helper's action is worth, as vectors over the two minds, at every place."""
    scene = planned.scene
    known, S = scene.see(0, scene.start), scene.after.shape[1]
    policy = planned.log_policy(known, torch.arange(S)).exp()
    best = {s: [vector] for s, vector in alone(planned).items()}
    actions: dict[int, dict[str, list]] = {}
    bring = {"bring tea": (6 - costs.fetch, -costs.fetch),
             "bring coffee": (-costs.fetch, 6 - costs.fetch)}  # fmt: skip
    for _ in range(turns):
        actions = {}
        for s in range(S):
            base = tuple(
                float(policy[m, s, 5]) * pays(planned, m, s)
                - 0.4 * float(policy[m, s, :5].sum()) for m in range(2)
            )  # fmt: skip
            wait = [base]
            for a in range(5):  # what comes after each act of the person is chosen for itself
                after = best[int(scene.after[a, s])]
                share = [0.9 * float(policy[m, s, a]) for m in range(2)]
                wait = upper_envelope([
                    (x + share[0] * v, y + share[1] * w) for x, y in wait for v, w in after
                ])  # fmt: skip
            # an answer leaves one mind, for which the best is chosen
            ask = [tuple(max(v[m] for v in wait) - costs.ask for m in range(2))]
            actions[s] = {"wait": wait, "ask": ask, **{k: [v] for k, v in bring.items()}}
        best = {
            s: upper_envelope([v for vectors in each.values() for v in vectors])
            for s, each in actions.items()
        }
    return actions


def value_of(vectors: list[tuple[float, float]], belief: Tensor) -> float:
    return max(v[0] * float(belief[0]) + v[1] * float(belief[1]) for v in vectors)


@pytest.mark.parametrize("costs", [Costs(0.3, 1.0, 3), Costs(1.5, 0.5, 2), Costs(0.1, 5.0, 1)])
def test_a_helper_is_worth_what_alpha_vectors_say(planned: Planned, costs: Costs) -> None:
    helper, known = Helper(planned, costs), planned.scene.see(0, planned.scene.start)
    solved = solve_by_vectors(planned, costs, costs.turns)
    for share, place in itertools.product((0.0, 0.15, 0.5, 0.8), range(6)):
        belief = torch.tensor([share, 1 - share], dtype=torch.float64)
        said = helper.weigh(belief, known, place)
        expected = {name: value_of(v, belief) for name, v in solved[place].items()}
        assert said == pytest.approx(expected, abs=1e-9)


def test_a_helper_waits_asks_and_helps(planned: Planned) -> None:
    """Where asking is cheap it asks at first; where it is dear it waits, and brings what is wanted
    once the walk has told.
    """
    scene = planned.scene
    known = scene.see(0, scene.start)
    even = torch.tensor([0.5, 0.5], dtype=torch.float64)
    cheap = Helper(planned, Costs(0.1, 1.0, 2)).weigh(even, known, scene.start)
    dear = Helper(planned, Costs(4.0, 4.0, 2)).weigh(even, known, scene.start)
    assert max(cheap, key=cheap.__getitem__) == "ask"
    assert max(dear, key=dear.__getitem__) == "wait"
    sure = torch.tensor([0.99, 0.01], dtype=torch.float64)
    told = Helper(planned, Costs(4.0, 0.1, 2)).weigh(sure, known, scene.start)
    assert max(told, key=told.__getitem__) == "bring tea"


def test_looking_ahead_further_is_worth_more_where_the_walk_tells(planned: Planned) -> None:
    known, start = planned.scene.see(0, planned.scene.start), planned.scene.start
    posterior = InversePlanning(planned).posterior
    best = [
        max(Helper(planned, Costs(3.0, 2.0, turns)).weigh(posterior, known, start).values())
        for turns in (1, 2, 3, 4)
    ]
    assert all(more > fewer + 0.01 for fewer, more in itertools.pairwise(best))


def test_mistakes_in_a_helper_are_one_sentence(planned: Planned) -> None:
    for table in ({"ask": -1}, {"turns": 0}, {"turns": 1.5}, {"tip": 3}, {"ask": "much"}):
        with pytest.raises(UserError, match=r"\[helper\]|ask and fetch"):
            read_costs(SceneFile("mine", {"helper": table}))
    with pytest.raises(UserError, match="wants that change"):
        read_costs(SceneFile("mine", {"helper": {}, "change": 0.1}))
    with pytest.raises(UserError, match="fewer turns"):
        Helper(planned, Costs(1, 1, 6)).weigh(torch.ones(100_000).double(), 0, 0)
