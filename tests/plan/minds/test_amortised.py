"""Simulated walks beside the chances of all paths, their posteriors beside Bayes over all minds,
and a network that learns these from walks alone.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable

import pytest
import torch
from scipy.stats import chi2

from fledge.exact.walking_mind import ACTS, EnumeratedScene
from fledge.plan.minds import simulated_walks
from fledge.plan.minds.amortised import (
    Learning,
    MindLearner,
    MindNetwork,
    NetworkReading,
    tell_apart,
)
from fledge.plan.minds.simulated_walks import Simulator, follow_exactly
from tests.plan.minds.tiny_scene import (
    BETAS,
    PRIOR_BELIEFS,
    PRIOR_WANTS,
    enumerate_tiny,
    list_minds,
    make,
    prior,
)


@pytest.fixture(scope="module")
def oracle() -> EnumeratedScene:
    return enumerate_tiny()


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("change", [0.0, 0.2])
def test_posteriors_of_simulated_walks_are_bayes_over_all_minds(
    change: float, oracle: EnumeratedScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = make("up", change)
    walks = Simulator(planned, 5).draw(6, generator(1))
    said = follow_exactly(planned, walks).exp()
    monkeypatch.setattr(simulated_walks, "AT_ONCE", 1)  # one walk at a time
    torch.testing.assert_close(follow_exactly(planned, walks).exp(), said)
    for row in range(6):
        words = [
            ACTS[act] for act, real in zip(walks.act[row], walks.chosen[row], strict=True) if real
        ]
        for t in range(1, len(words) + 1):
            joint = []
            for belief in range(3):
                each = [
                    oracle.changing_likelihood(belief, beta, PRIOR_WANTS, change, words[:t])
                    for beta in BETAS
                ]
                joint += [PRIOR_BELIEFS[belief] * each[r][d] for d in range(2) for r in range(2)]
            expected = [x / sum(joint) for x in joint]
            assert said[row, t - 1].tolist() == pytest.approx(expected, abs=1e-10)


def test_walks_are_drawn_as_likely_as_minds_make_them(oracle: EnumeratedScene) -> None:
    """Minds and their first two actions, of 6,000 walks; χ² above the 1 − 10⁻⁵ quantile is a false
    alarm.
    """
    walks = Simulator(make("up"), 2).draw(6000, generator(2))
    counted: dict[tuple[int, ...], int] = {}
    for mind, act, chosen in zip(walks.mind[:, 0], walks.act, walks.chosen, strict=True):
        key = (int(mind), *(int(a) for a, real in zip(act, chosen, strict=True) if real))
        counted[key] = counted.get(key, 0) + 1
    statistic, cells, rest, rest_counted = 0.0, 0, 0.0, 0
    paths = [p for n in (1, 2) for p in itertools.product(range(6), repeat=n) if 5 not in p[:-1]]
    for number, mind in enumerate(list_minds()):
        for path in paths:
            if len(path) == 1 and path[0] != 5:
                continue
            likely = oracle.likelihood(mind, [ACTS[act] for act in path])
            expected = 6000 * prior(mind) * likely
            seen = counted.pop((number, *path), 0)
            if expected < 5:
                rest, rest_counted = rest + expected, rest_counted + seen
                continue
            statistic, cells = statistic + (seen - expected) ** 2 / expected, cells + 1
    assert not counted
    statistic += (rest_counted - rest) ** 2 / rest
    assert statistic < chi2.ppf(1 - 1e-5, cells)


def learn(updates: int, change: float = 0.0, seed: int = 0) -> MindLearner:
    return MindLearner(make("down right 2", change), Learning(updates, 16, 16, 2e-2, 60), seed)


def test_a_network_begins_as_the_prior_and_comes_near_the_posterior() -> None:
    """Learned from walks and whose they were; the posterior itself it never sees."""
    learner = learn(80)
    first = learner.judge()["nats_apart"]
    walks = learner.held_out
    plain = torch.tensor([prior(mind) for mind in list_minds()], dtype=torch.float64)
    kl = (learner.exact.exp() * (learner.exact - plain.log())).sum(-1)[walks.chosen].mean()
    assert first == pytest.approx(float(kl), rel=1e-5)
    for _ in range(80):
        learner.update(0)
    assert learner.judge()["nats_apart"] < 0.4 * first
    reading = NetworkReading(learner.planned, learner.network)
    apart = [reading.update(0)["nats_apart"] for _ in reading.steps]
    assert max(apart) < 1.0
    assert float(reading.posterior.sum()) == pytest.approx(1, abs=1e-6)


def test_how_far_two_are_apart_is_the_sum_over_minds() -> None:
    p, q = [0.5, 0.5, 0.0], [0.25, 0.25, 0.5]
    said = tell_apart(torch.tensor(p).double().log(), torch.tensor(q).log())
    assert float(said) == pytest.approx(0.6931471805599453, abs=1e-6)


def test_a_mind_that_the_network_all_but_excludes_is_told_in_numbers() -> None:
    """e^-900 is 0 in float64: the distance is 900 nats of a mind's chance, and no infinity."""
    planned = make("up")
    network = MindNetwork(planned, 8)
    with torch.no_grad():
        network.minds.bias[0] = -900.0
    reading = NetworkReading(planned, network)
    chance = float(reading.exact[0, 0].exp())
    assert reading.update(0)["nats_apart"] == pytest.approx(900 * chance, abs=2)
    assert chance > 0.01


def test_learning_goes_on_from_its_state() -> None:
    one, other = learn(6, 0.2), learn(6, 0.2, seed=7)
    other.held_out, other.exact = one.held_out, one.exact
    for _ in range(3):
        one.update(0)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    for _ in range(3):
        assert one.update(0) == other.update(0)
    assert one.judge() == other.judge()


def test_what_comes_later_is_not_looked_at() -> None:
    """The posterior after an action depends on what was done up to it alone."""
    planned = make("up")
    network = MindNetwork(planned, 8)
    torch.nn.init.normal_(network.minds.weight, generator=generator(3))
    walks = Simulator(planned, 6).draw(4, generator(4))
    cut: Callable[[torch.Tensor], torch.Tensor] = lambda x: x[:, :3]  # noqa: E731
    whole = network(walks.known, walks.place, walks.act)
    part = network(cut(walks.known), cut(walks.place), cut(walks.act))
    torch.testing.assert_close(whole[:, :3], part)
