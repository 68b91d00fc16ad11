"""A Bayesian mixture of normals: an iteration of coordinate ascent against scikit-learn's, and
natural gradients on blocks against coordinate ascent.

`ascent`: 100,000 points of 16 columns, 16 components, full covariances. All begin from the same
posterior; a round is one iteration of each, of scikit-learn its E-step, M-step and bound, in
double. `mixed` is ours as it goes while a step raises the bound by 0.001 nats a point or more, with
products in single precision. scikit-learn's bound leaves out constants of the prior: what all must
agree on is how far five iterations raise it. `stochastic`: 1,000,000 points of 8 columns, 10
components that overlap. Passes over the data until the bound on all of it is within 0.001 nats a
point of where coordinate ascent ends, from one start; of natural gradients it is looked at every
quarter of a pass.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch

from fledge.algorithms.latent.coordinate_ascent import CoordinateAscent
from fledge.algorithms.latent.posterior_step import (
    bound_of_sums,
    measure_terms,
    update_posterior,
)
from fledge.models.latent.bayesian_mixture import BayesianMixture
from fledge.rows.points import Points, from_array
from fledge.sample.points import Block, PointBlocks
from side_by_side import alternate, finish, judge, options, say, speed_up, table

ASCENT, QUICK_ASCENT = (100_000, 16, 16), (20_000, 8, 8)
STOCHASTIC, QUICK_STOCHASTIC = (1_000_000, 8, 10), (50_000, 4, 5)
STEPS, MOST_PASSES, WITHIN = 5, 100, 1e-3
TOLERANCE = 1e-5  # where a fit ends by default


def draw(N: int, D: int, K: int, apart: float) -> tuple[np.ndarray, np.ndarray]:
    """Points of K clusters that overlap, and places near their centres."""
    random = np.random.default_rng(0)
    centre = random.normal(size=(K, D)) * apart
    x = centre[random.integers(0, K, N)]
    x += random.normal(size=x.shape)
    return x, centre + 0.5 * random.normal(size=(K, D))


def begin(points: Points, near: np.ndarray, **fields: Any) -> CoordinateAscent:
    """From components of even weight at these places, as wide as the prior has them."""
    settings = CoordinateAscent.Settings(k=str(len(near)), tolerance=0, starts=1, **fields)
    algorithm = CoordinateAscent(settings)
    mean = torch.from_numpy(near)
    algorithm.begin(points, model=None)
    assert algorithm.prior is not None
    algorithm.model = put_at(algorithm.prior.posterior_of_nothing(len(near)), mean)
    return algorithm


def put_at(prior: BayesianMixture, mean: torch.Tensor) -> BayesianMixture:
    return BayesianMixture(
        prior.prior, prior.concentration + 1, prior.mean_precision + 1, mean, prior.degrees + 1,
        prior.scale,
    )  # fmt: skip


class Ours:
    def __init__(self, x: np.ndarray, near: np.ndarray, mixed: bool = False) -> None:
        self.points = Block(from_array(torch.from_numpy(x)), 0, 1)
        self.algorithm = begin(
            self.points.points, near, concentration=1.0, precision="mixed" if mixed else "double"
        )
        self.bounds: list[float] = []

    def step(self) -> None:
        before = self.algorithm.model
        assert before is not None
        assert self.algorithm.coordinates is not None
        moments, density = self.algorithm.expect(self.points.points, before)
        measure_terms(before, moments, density)
        self.algorithm.model = update_posterior(before.prior, self.algorithm.coordinates, moments)
        self.last = moments

    def bound(self) -> float:
        """After the M-step, as scikit-learn takes it, in nats."""
        assert self.algorithm.model is not None
        assert self.algorithm.coordinates is not None
        return bound_of_sums(self.algorithm.model, self.algorithm.coordinates, self.last)


class Theirs:
    def __init__(self, x: np.ndarray, ours: Ours) -> None:
        from sklearn.mixture import BayesianGaussianMixture

        self.x, model = x, ours.algorithm.model
        assert model is not None
        K, prior = model.components, model.prior
        self.peer: Any = BayesianGaussianMixture(
            n_components=K, reg_covar=0, max_iter=1, covariance_prior=prior.scale.numpy(),
            weight_concentration_prior=1.0, mean_prior=prior.mean.numpy(),
            weight_concentration_prior_type="dirichlet_distribution",
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.peer.fit(x[: 50 * K])  # checks, and makes what a step needs
        self.peer.mean_prior_, self.peer.covariance_prior_ = prior.mean.numpy(), prior.scale.numpy()
        covariance = (model.scale / model.degrees[:, None, None]).numpy()
        self.peer.weight_concentration_ = model.concentration.numpy()
        self.peer.mean_precision_, self.peer.means_ = (
            model.mean_precision.numpy(), model.mean.numpy(),
        )  # fmt: skip
        self.peer.degrees_of_freedom_, self.peer.covariances_ = model.degrees.numpy(), covariance
        self.peer.precisions_cholesky_ = np.stack(
            [np.linalg.inv(np.linalg.cholesky(each)).T for each in covariance]
        )

    def step(self) -> None:
        norm, log_r = self.peer._e_step(self.x)
        self.peer._m_step(self.x, log_r)
        self.now = float(self.peer._compute_lower_bound(log_r, norm))

    def bound(self) -> float:
        return self.now


def compare_ascent(size: tuple[int, int, int], rounds: int) -> dict[str, Any]:
    x, near = draw(*size, 1.5)
    ours = Ours(x, near)
    sides: dict[str, Any] = {
        "ours": ours, "ours, mixed": Ours(x, near, mixed=True), "scikit-learn": Theirs(x, ours),
    }  # fmt: skip
    rises = {}
    for name, side in sides.items():
        side.step()
        first = side.bound()
        for _ in range(STEPS - 1):
            side.step()
        rises[name] = side.bound() - first
    say(f"bounds rose, from step 1 to step {STEPS}, by {rises} nats")
    bound = ours.bound()
    times = alternate({name: side.step for name, side in sides.items()}, rounds)
    return {"seconds": times, "rises": rises, "bound": bound}


def measure_passes(size: tuple[int, int, int]) -> dict[str, Any]:
    """How many passes each takes to come within WITHIN of where coordinate ascent ends."""
    x, near = draw(*size, 1.2)
    points = from_array(torch.from_numpy(x))
    ascent, whole = begin(points, near), Block(points, 0, 1)
    bounds = [ascent.update(whole)["elbo"]]
    while len(bounds) < MOST_PASSES and (len(bounds) < 2 or bounds[-1] - bounds[-2] > TOLERANCE):
        bounds.append(ascent.update(whole)["elbo"])
    say(f"coordinate ascent: {bounds[0]:.4f} → {bounds[-1]:.4f} in {len(bounds)} passes")
    goal = bounds[-1] - WITHIN
    own = next(n for n, bound in enumerate(bounds) if bound >= goal)
    natural = begin(points, near, inference="svi", decay=0.7, delay=10)
    blocks = PointBlocks(points, max(1, len(x) // 200), 0)
    quarter, seen, bound = blocks.of // 4, 0, -np.inf
    while bound < goal and seen < blocks.of * own:
        for _ in range(quarter):
            natural.update(next(blocks))
        seen += quarter
        assert natural.model is not None
        moments, density = natural.expect(points, natural.model)
        bound = measure_terms(natural.model, moments, density)["elbo"] / len(x)
        say(f"natural gradients: {bound:.5f} after {seen / blocks.of:.2f} passes")
    return {
        "ascent": own, "natural": seen / blocks.of if bound >= goal else float("inf"),
        "end": bounds[-1], "reached": bound,
    }  # fmt: skip


def main() -> None:
    given = options(
        __doc__, rounds="iterations of each, 7 unless given", case="one: ascent or stochastic"
    )
    ratios, figures, rows, aims = {}, {}, [], []
    if given.case in (None, "ascent"):
        rounds = int(given.rounds or (2 if given.quick else 7))
        compared = compare_ascent(QUICK_ASCENT if given.quick else ASCENT, rounds)
        figures["ascent"] = compared
        for side in ("ours", "ours, mixed"):
            ratios[f"an iteration, {side} / scikit-learn"] = speed_up(
                compared["seconds"], side, "scikit-learn"
            )
        *own, theirs = compared["rises"].values()
        apart = max(abs(each - theirs) for each in own) / abs(compared["bound"])
        aims.append(judge("bounds apart, relative", apart, "≤ 0.000001"))
        for name, seconds in compared["seconds"].items():
            rows.append((name, f"{sorted(seconds)[len(seconds) // 2]:.3f} s an iteration"))
    if given.case in (None, "stochastic"):
        compared = measure_passes(QUICK_STOCHASTIC if given.quick else STOCHASTIC)
        figures["stochastic"] = compared
        share = compared["natural"] / compared["ascent"]
        aims.append(judge("passes, natural gradients / coordinate ascent", share, "≤ 0.333"))
        rows.append(("coordinate ascent", f"{compared['ascent']} passes"))
        rows.append(("natural gradients", f"{compared['natural']:.2f} passes"))
    targets = {"an iteration, ours, mixed / scikit-learn": "≥ 5"} if "ascent" in figures else {}
    return finish(given.json, table(("", ""), rows), ratios, figures, targets, aims)


if __name__ == "__main__":
    main()
