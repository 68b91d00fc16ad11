"""The methods of `fledge ladder mixture`: each yields what it is whenever it is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from fledge.algorithms.latent.black_box_vi import BlackBoxVI
from fledge.algorithms.latent.coordinate_ascent import CoordinateAscent
from fledge.algorithms.latent.gaussian_em import GaussianEM
from fledge.algorithms.latent.metropolis import Metropolis
from fledge.algorithms.latent.posterior_step import measure_terms
from fledge.exact.conjugate_mixture import Conjugate
from fledge.models.latent.targets import SmallMixture
from fledge.rows.points import Points, from_array
from fledge.sample.points import Block, PointBlocks
from fledge.seeds import generator_for

K, DEGREES, MEAN_PRECISION, CONCENTRATION = 2, 2.0, 1.0, 1.0
DRAWS, IMPORTANCE, CHAINS = 1_000, 10, 64


class LadderSettings(Protocol):
    """gradients: optimizer steps of black-box methods. seed: of every random number."""

    @property
    def gradients(self) -> int: ...
    @property
    def seed(self) -> int: ...


@dataclass(frozen=True)
class Moment:
    """A method when it is looked at: what the next point is like [GRID], and its bound in nats."""

    density: Callable[[], Tensor]
    bound: float | None = None


def prior_of(points: Points) -> Conjugate:
    """That of every method here that has one."""
    x = points.x
    spread = x.var(0, correction=0)[:, None]
    return Conjugate(CONCENTRATION, x.mean(0), MEAN_PRECISION, DEGREES, spread)


def list_methods(
    config: LadderSettings, points: Points, grid: Tensor
) -> dict[str, Callable[[], Iterator[Moment]]]:
    black_box = partial(run_black_box, config, points, grid)
    return {
        "EM": partial(run_em, config, points, grid),
        "coordinate ascent": partial(run_ascent, config, points, grid, "cavi"),
        "natural gradients": partial(run_ascent, config, points, grid, "svi"),
        "black box, independent": partial(black_box, family="independent"),
        "black box, by score": partial(black_box, family="independent", estimator="score"),
        "black box, normal": partial(black_box, family="normal"),
        "black box, flow": partial(black_box, family="flow", layers=4, hidden=8),
        "importance-weighted": partial(black_box, family="normal", importance=IMPORTANCE),
        "Metropolis": partial(run_chains, config, points, grid),
    }


def is_looked_at(step: int) -> bool:
    """1, 2, 3, 4, 6, 8, 12, …"""
    return step & (step - 1) == 0 or (step % 3 == 0 and (step // 3) & (step // 3 - 1) == 0)


def run_em(config: LadderSettings, points: Points, grid: Tensor) -> Iterator[Moment]:
    """The likeliest parameters alone: no uncertainty of them, and no prior."""
    em = GaussianEM(GaussianEM.Settings(k=str(K), floor=1e-2), seed=config.seed)
    for step in range(1, 101):
        figures = em.update(Block(points, 0, 1))
        if is_looked_at(step) or em.done:
            assert em.model is not None
            model = em.model
            bound = figures["elbo"] * len(points)
            yield Moment(lambda model=model: model.log_prob(grid).exp(), bound)
        if em.done:
            break


def run_ascent(
    config: LadderSettings, points: Points, grid: Tensor, inference: str
) -> Iterator[Moment]:
    settings = CoordinateAscent.Settings.model_validate({
        "k": str(K), "concentration": CONCENTRATION, "degrees": DEGREES, "inference": inference,
        "mean_precision": MEAN_PRECISION, "covariance": "diagonal", "tolerance": 1e-8,
    })  # fmt: skip
    algorithm = CoordinateAscent(settings, seed=config.seed)
    algorithm.begin(points)
    blocks = PointBlocks(points, None if inference == "cavi" else len(points) // 2, config.seed)
    for step in range(1, 257):
        algorithm.update(next(blocks))
        if is_looked_at(step) or algorithm.done:
            model = algorithm.model
            assert model is not None
            moments, density = algorithm.expect(points, model)
            bound = measure_terms(model, moments, density)["elbo"]
            yield Moment(lambda model=model: model.log_prob(grid).exp(), bound)
        if algorithm.done:
            break


def run_black_box(
    config: LadderSettings, points: Points, grid: Tensor, **fields: Any
) -> Iterator[Moment]:
    """Several gradients a look; of importance-weighted q the draws are weighed in groups."""
    given = {"target": "mixture", "components": K, "gradients": 1, "halvings": 1_000, **fields}
    settings = BlackBoxVI.Settings.model_validate(given)
    algorithm = BlackBoxVI(settings, seed=config.seed)
    algorithm.begin(points)
    own = SmallMixture(points, K, alpha=CONCENTRATION, beta=MEAN_PRECISION, degrees=DEGREES)
    algorithm.target = own
    whole, recent = Block(points, 0, 1), 0.0
    slow = config.gradients // 2  # the second half goes down to a tenth of the rate
    assert algorithm.optimizer is not None
    for step in range(1, config.gradients + 1):
        for group in algorithm.optimizer.param_groups:
            group["lr"] = settings.learning_rate * 0.1 ** (max(0, step - slow) / slow)
        recent += 0.05 * (algorithm.update(whole)["elbo"] * len(points) - recent)
        if is_looked_at(step) or step == config.gradients:
            density = partial(mix_draws, algorithm, own, points, grid, settings.importance)
            yield Moment(density, recent / (1 - 0.95**step))


@torch.no_grad()
def mix_draws(
    algorithm: BlackBoxVI, target: SmallMixture, points: Points, grid: Tensor, importance: int
) -> Tensor:
    """The mean over z ~ q of the mixture's density, each group of `importance` draws weighed by
    p / q (Cremer, Morris & Duvenaud 2017).
    """
    assert algorithm.family is not None
    z = algorithm.family.draw(DRAWS, generator_for(algorithm.seed, "evaluation"))
    log_ratio = target.log_joint(z, points) - algorithm.family.log_prob(z)
    share = log_ratio.view(-1, importance).softmax(1).flatten() / (DRAWS // importance)
    return share @ density_of(target, z, grid)


def density_of(target: SmallMixture, z: Tensor, grid: Tensor) -> Tensor:
    """[n, GRID]"""
    return target.log_likelihood_each(z, from_array(grid)).exp()


def run_chains(config: LadderSettings, points: Points, grid: Tensor) -> Iterator[Moment]:
    """All that the chains have said, but for the first half while the step was sought."""
    target = SmallMixture(points, K, alpha=CONCENTRATION, beta=MEAN_PRECISION, degrees=DEGREES)
    random = generator_for(config.seed, "samples")
    z = torch.randn(CHAINS, target.width, generator=random, dtype=torch.float64)
    chain = Metropolis(partial(target.log_joint, points=points), z, random)
    steps = 4 * config.gradients
    kept: list[Tensor] = []
    for step in range(1, steps + 1):
        chain.step()
        chain.adapting = step < steps // 8
        # a third of what was said is thrown away: the chains came from somewhere else
        kept.append(chain.z)
        if is_looked_at(step) or step == steps:
            some = torch.cat(kept[len(kept) // 3 :])
            some = some[:: max(1, len(some) // (4 * DRAWS))]
            yield Moment(lambda z=some: density_of(target, z, grid).mean(0))
