"""Inverse planning beside plain enumeration: occlusion, plans, posteriors, changing wants and what
is foretold; the published food trucks.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from fledge.errors import UserError
from fledge.exact.walking_mind import ACTS, EnumeratedScene, crosses
from fledge.plan.minds.inverse_planning import InversePlanning, sum_by
from fledge.plan.minds.particles import ParticleFilter
from fledge.plan.minds.planned import Planned, plan_minds
from fledge.plan.minds.prediction import predict
from fledge.plan.minds.scene_file import parse_scene, read_scene
from fledge.plan.minds.sight import find_visible
from fledge.plan.minds.walk_file import read_walk
from tests.plan.minds.tiny_scene import (
    BETAS,
    PRIOR_BELIEFS,
    PRIOR_WANTS,
    TOML,
    enumerate_tiny,
    list_minds,
    make,
    prior,
)


@pytest.fixture(scope="module")
def oracle() -> EnumeratedScene:
    return enumerate_tiny()


def look_into(planned: Planned) -> InversePlanning:
    inquiry = InversePlanning(planned)
    for _ in inquiry.steps:
        inquiry.update(0)
    return inquiry


def test_a_place_is_seen_as_fractions_say() -> None:
    random = np.random.default_rng(0)
    for _ in range(8):
        hides = torch.from_numpy(random.random((6, 7)) < 0.25)
        cells = torch.cartesian_prod(torch.arange(6), torch.arange(7))
        targets = cells[random.permutation(42)[:3]]
        said = find_visible(cells, targets, hides, 1e9)
        for i, here in enumerate(cells.tolist()):
            for j, there in enumerate(targets.tolist()):
                between = [
                    tuple(cell) for cell in hides.nonzero().tolist() if cell not in (here, there)
                ]
                clear = not any(crosses(tuple(here), tuple(there), cell) for cell in between)
                assert bool(said[i, j]) == clear


def test_plans_are_expectimax_over_what_may_be_seen(oracle: EnumeratedScene) -> None:
    planned = make("down 2 right")
    assert planned.error_bound < 1e-10
    for known, place, _ in planned.scene.steps:
        where = tuple(planned.scene.floor.nonzero()[place].tolist())
        seen = tuple(
            () if x < 0 else ((None, "K", "L")[x],)
            for x in planned.scene.knowledge.states[known].tolist()
        )
        for belief, want in itertools.product(range(3), range(2)):
            expected = oracle.q(belief, want, where, seen, 15)
            assert planned.q[belief, want, known, place].tolist() == pytest.approx(
                expected, abs=1e-10
            )


@pytest.mark.parametrize("length", [1, 2, 3])
def test_the_chances_of_all_paths_add_up_to_one(length: int, oracle: EnumeratedScene) -> None:
    mind = (1, 1, 0.7)
    total = 0.0
    for path in itertools.product(ACTS, repeat=length):
        if "take" not in path[:-1]:
            total += oracle.likelihood(mind, path)
    ended = sum(
        oracle.likelihood(mind, path)
        for shorter in range(1, length)
        for path in itertools.product(ACTS, repeat=shorter)
        if path[-1] == "take" and "take" not in path[:-1]
    )
    assert total + ended == pytest.approx(1, abs=1e-12)


PATHS = ["stay", "up left take", "down 2 right", "down right 2 up", "left up right down stay"]
PATHS += ["down right 2 up down left 2 up 2 left take"]


@pytest.mark.parametrize("path", PATHS)
def test_a_posterior_is_bayes_over_all_minds(path: str, oracle: EnumeratedScene) -> None:
    planned = make(path)
    words = [ACTS[act] for act in planned.scene.path]
    joint = [prior(mind) * oracle.likelihood(mind, words) for mind in list_minds()]
    expected = [each / sum(joint) for each in joint]
    inquiry = look_into(planned)
    assert inquiry.posterior.tolist() == pytest.approx(expected, abs=1e-10)
    before = [prior(mind) * oracle.likelihood(mind, words[:-1]) for mind in list_minds()]
    assert inquiry.foretold == pytest.approx(sum(joint) / sum(before), abs=1e-10)


def test_a_mind_that_one_action_all_but_excludes_comes_back(oracle: EnumeratedScene) -> None:
    """At β = 2000 the first action leaves one of the six minds less than the smallest number there
    is, and the second makes up for most of it; in logs of plain numbers.
    """
    text = TOML.replace("PATH", "up down").replace("CHANGE", "0").replace("[0.7, 3]", "2000")
    planned = plan_minds(read_walk(parse_scene(text, "tiny")))
    expected = []
    for belief, want in itertools.product(range(3), range(2)):
        total = math.log(PRIOR_BELIEFS[belief] * PRIOR_WANTS[want])
        for where, known, act in oracle.follow(["up", "down"]):
            q = oracle.q(belief, want, where, known, 15)
            apart = [2000 * (value - max(q)) for value in q]
            total += apart[act] - math.log(sum(map(math.exp, apart)))
        expected.append(total)
    most = max(expected)
    whole = most + math.log(sum(math.exp(each - most) for each in expected))
    inquiry = InversePlanning(planned)
    inquiry.update(0)
    assert float(inquiry.posterior.min()) == 0
    inquiry.update(0)
    assert inquiry.log_posterior.tolist() == pytest.approx([x - whole for x in expected], abs=1e-5)


def test_wants_that_change_are_summed_over_all_their_sequences(oracle: EnumeratedScene) -> None:
    planned = make("down right 2 up", change=0.2)
    words = [ACTS[act] for act in planned.scene.path]
    joint = []
    for belief in range(3):
        each = [oracle.changing_likelihood(belief, beta, PRIOR_WANTS, 0.2, words) for beta in BETAS]
        joint += [PRIOR_BELIEFS[belief] * each[r][d] / 2 for d in range(2) for r in range(2)]
    expected = [x / sum(joint) for x in joint]
    assert look_into(planned).posterior.tolist() == pytest.approx(expected, abs=1e-10)


def test_what_is_foretold_is_a_sum_over_all_futures(oracle: EnumeratedScene) -> None:
    planned = make("up left stay")
    inquiry = look_into(planned)
    words = [ACTS[act] for act in planned.scene.path]
    known, place, act = inquiry.steps[-1]
    place = int(planned.scene.after[act, place])
    known = planned.scene.see(known, place)
    told = predict(planned, inquiry.posterior, known, place, horizon=3)
    weight = inquiry.posterior.tolist()
    next_acts, taken = [0.0] * 6, 0.0
    for mind, chance in zip(list_minds(), weight, strict=True):
        past = oracle.likelihood(mind, words)
        for i, act in enumerate(ACTS):
            next_acts[i] += chance * oracle.likelihood(mind, [*words, act]) / past
        for length in (1, 2, 3):
            for path in itertools.product(ACTS, repeat=length):
                if path[-1] == "take" and "take" not in path[:-1]:
                    taken += chance * oracle.likelihood(mind, [*words, *path]) / past
    assert told.acts.tolist() == pytest.approx(next_acts, abs=1e-10)
    assert float(told.taken[0]) == pytest.approx(taken, abs=1e-10)
    assert float(told.taken.sum()) + told.going == pytest.approx(1, abs=1e-12)


def test_what_is_foretold_of_wants_that_change_is_a_sum_over_their_sequences(
    oracle: EnumeratedScene,
) -> None:
    planned = make("up", change=0.3)
    inquiry = look_into(planned)
    known, place, act = inquiry.steps[-1]
    place = int(planned.scene.after[act, place])
    told = predict(planned, inquiry.posterior, planned.scene.see(known, place), place, horizon=2)

    def chance(path: tuple[str, ...]) -> float:
        return sum(
            PRIOR_BELIEFS[belief] / 2
            * sum(oracle.changing_likelihood(belief, beta, PRIOR_WANTS, 0.3, path))
            for belief in range(3) for beta in BETAS
        )  # fmt: skip

    past = chance(("up",))
    expected = [chance(("up", act)) / past for act in ACTS]
    assert told.acts.tolist() == pytest.approx(expected, abs=1e-10)
    taken = sum(chance(("up", act, "take")) for act in ACTS[:5]) / past
    assert float(told.taken[0]) == pytest.approx(taken + expected[5], abs=1e-10)
    assert float(told.taken.sum()) + told.going == pytest.approx(1, abs=1e-12)


def test_somebody_who_never_errs_takes_the_best_evenly() -> None:
    text = TOML.replace("PATH", "up left take").replace("CHANGE", "0").replace("[0.7, 3]", "inf")
    planned = plan_minds(read_walk(parse_scene(text, "tiny")))
    known, place, _ = planned.scene.steps[0]
    policy = planned.log_policy(known, place).exp()
    q = planned.q[:, :, known, place].reshape(-1, 6)
    for row, values in zip(policy.tolist(), q.tolist(), strict=True):
        best = [i for i, value in enumerate(values) if value > max(values) - 1e-9]
        assert row == pytest.approx([(i in best) / len(best) for i in range(6)])
    with pytest.raises(UserError, match="every mind excludes"):
        look_into(plan_minds(read_walk(parse_scene(text.replace("up left take", "stay"), "t"))))


def test_who_looks_at_the_second_truck_and_turns_back_wanted_the_one_that_is_not_there() -> None:
    """Baker, Saxe & Tenenbaum 2011, figure 1: most of all Mexican, then Korean, then Lebanese, and
    he expected Mexican behind the building.
    """
    planned = plan_minds(read_walk(read_scene("food-trucks")))
    inquiry = InversePlanning(planned)
    for _ in range(8):
        inquiry.update(0)
    undecided = sum_by(planned, inquiry.posterior)["wants most"]
    assert undecided["Lebanese"] == pytest.approx(undecided["Mexican"], rel=1e-9)
    assert undecided["Korean"] < 0.05
    for _ in range(12):
        inquiry.update(0)
    by = sum_by(planned, inquiry.posterior)
    assert max(by["wants"], key=by["wants"].__getitem__) == "Mexican > Korean > Lebanese"
    assert by["wants"]["Mexican > Korean > Lebanese"] > 0.9
    assert by["believes"]["Mexican at b"] > 0.9
    # 20 actions draw the particles anew several times; weights that outlived it would count twice.
    sample = ParticleFilter(planned, 4000, 0)
    apart = [sample.update(0)["distance"] for _ in range(20)]
    assert max(apart) < 0.15


def measure_error(planned: Planned, particles: int, seeds: int) -> float:
    """Root of the mean squared error over minds and seeds, in the end."""
    squares = []
    for seed in range(seeds):
        sample = ParticleFilter(planned, particles, seed)
        for _ in sample.exact.steps:
            sample.update(0)
        squares.append(float((sample.posterior - sample.exact.posterior).square().mean()))
    return math.sqrt(sum(squares) / seeds)


@pytest.mark.parametrize("change", [0.0, 0.2])
def test_the_error_of_particles_falls_as_one_over_the_root_of_their_number(change: float) -> None:
    """60 seeds a size leave each error uncertain by some 6 %, and the slope over a factor of 64 by
    some 0.02: 0.12 off is a false alarm in less than one of 10,000 draws of seeds.
    """
    planned = make("down right 2 up", change)
    few, many = (measure_error(planned, n, 60) for n in (100, 6400))
    assert math.log(many / few) / math.log(64) == pytest.approx(-0.5, abs=0.12)


def test_particles_are_told_before_they_are_drawn_anew() -> None:
    """What is told after an action are the particles of before it, weighed by it in plain numbers,
    whether or not they are then drawn anew.
    """
    planned = make("down right 2 up down left")
    sample, drawn = ParticleFilter(planned, 200, 5), 0
    weight = torch.full((200,), 1 / 200, dtype=torch.float64)
    for known, place, act in sample.steps:
        before = sample.particle.clone()
        figures = sample.update(0)
        weight = weight * planned.log_policy(known, place)[before, act].exp()
        weight = weight / weight.sum()
        expected = [float(weight[before == mind].sum()) for mind in range(len(planned.minds))]
        assert sample.posterior.tolist() == pytest.approx(expected, abs=1e-12)
        if figures["effective_sample_size"] < 100:
            drawn += 1
            weight = torch.full_like(weight, 1 / 200)
    assert drawn >= 1


def test_a_filter_goes_on_from_its_state() -> None:
    planned = make("down right 2 up", 0.2)
    one, other = ParticleFilter(planned, 50, 3), ParticleFilter(planned, 50, 4)
    for _ in range(2):
        one.update(0)
    other.load_state_dict(one.state_dict())
    for _ in range(2):
        assert one.update(0) == other.update(0)
    assert torch.equal(one.posterior, other.posterior)
