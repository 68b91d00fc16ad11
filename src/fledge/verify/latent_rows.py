"""Mixtures and factors beside their formulas: EM's steps, the bound by enumeration, closed
forms.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from fledge.algorithms.latent.discrete_em import DiscreteEM
from fledge.algorithms.latent.factor_em import FactorEM, PrincipalEM
from fledge.algorithms.latent.gaussian_em import GaussianEM
from fledge.algorithms.latent.gaussian_m_step import expected_log_joint
from fledge.algorithms.latent.kmeans import KMeans
from fledge.exact.normal_mixture import (
    NormalMixture,
    bound_by_enumeration,
    complete_data_estimate,
    ppca_log_likelihood,
)
from fledge.models.latent.centres import Centres
from fledge.models.latent.discrete_mixture import DiscreteMixture
from fledge.models.latent.gaussian_mixture import KINDS, GaussianMixture, Kind
from fledge.rows.points import Points, from_array
from fledge.sample.points import Block
from fledge.verify.rows import RowCurves, TableRow

ROUNDING, STEPS = 1e-9, 6
POINTS, WIDTH, COMPONENTS = 40, 2, 3


def draw_points(N: int, D: int, seed: int) -> Tensor:
    """Three clusters that overlap, away from the origin."""
    random = torch.Generator().manual_seed(seed)
    centre = 2 * torch.randn(3, D, generator=random, dtype=torch.float64)
    noise = torch.randn(N, D, generator=random, dtype=torch.float64)
    mix = torch.randn(D, D, generator=random, dtype=torch.float64)
    return centre[torch.arange(N) % 3] + noise @ mix + 10


def fit_whole(algorithm: GaussianEM, points: Points) -> dict[str, float]:
    return algorithm.update(Block(points, 0, 1))


def furthest(ours: GaussianMixture, exact: NormalMixture) -> float:
    """The largest difference of a parameter, as a share of the largest of its kind."""
    covariance = ours.expand()
    if not ours.has_matrices:
        covariance = torch.diag_embed(covariance)
    pairs = (
        (ours.weight, exact.weight), (ours.mean, exact.mean), (covariance, exact.covariance)
    )  # fmt: skip
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


def complete_data_row() -> TableRow:
    x = draw_points(POINTS, WIDTH, 1)
    label = torch.arange(POINTS) % COMPONENTS
    points = Points(x, ("a", "b"), None, label, ("p", "q", "r"))
    em = GaussianEM(GaussianEM.Settings(k=str(COMPONENTS)))
    fit_whole(em, points)
    share = torch.nn.functional.one_hot(label, COMPONENTS).double()
    assert em.model is not None
    error = furthest(em.model, complete_data_estimate(x, share, "full"))
    return TableRow(
        "G1", "complete-data likelihood", "known labels give the closed form", error, ROUNDING,
        f"weights, means and covariances of the formula to {error:.1e}",
    )  # fmt: skip


def em_row(kind: Kind) -> TableRow:
    """Six steps beside those of the book, each point by point."""
    x = draw_points(POINTS, WIDTH, 2)
    points = from_array(x)
    em = GaussianEM(GaussianEM.Settings(k=str(COMPONENTS), covariance=kind, starts=1))
    em.begin(points)
    assert em.model is not None
    covariance = em.model.expand()
    matrices = covariance if em.model.has_matrices else torch.diag_embed(covariance)
    exact = NormalMixture(em.model.weight, em.model.mean, matrices)
    error, bounds = 0.0, []
    for _ in range(STEPS):
        wanted = exact.log_likelihood(x) / POINTS
        bounds.append(fit_whole(em, points)["elbo"])
        exact = exact.em_step(x, kind)
        error = max(error, furthest(em.model, exact), abs(bounds[-1] - wanted))
    if any(b < a - 1e-12 for a, b in itertools.pairwise(bounds)):
        error = math.inf
    curve = RowCurves(
        f"EM, {kind}", "nats a point", "step",
        {"log-likelihood": ([float(n) for n in range(STEPS)], bounds)},
        f"{bounds[0]:.3f} → {bounds[-1]:.3f}",
    )  # fmt: skip
    return TableRow(
        f"G2.{KINDS.index(kind) + 1}", f"mixture of normals by EM, {kind}",
        "every step is the formula's, and none falls",
        error, ROUNDING, f"{STEPS} steps to {error:.1e}, rising from {bounds[0]:.3f} to "
        f"{bounds[-1]:.3f} nats a point", curves=(curve,),
    )  # fmt: skip


def bound_row() -> TableRow:
    """ℓ = ELBO + KL over all 3⁶ ways to explain six points; with the E-step's q the bound of the
    sums, which EM keeps, is ℓ itself.
    """
    x = draw_points(6, WIDTH, 3)
    points = from_array(x)
    em = GaussianEM(GaussianEM.Settings(k=str(COMPONENTS), covariance="tied", starts=1))
    em.begin(points)
    assert em.model is not None
    assert em.coordinates is not None
    covariance = em.model.expand()
    exact = NormalMixture(em.model.weight, em.model.mean, covariance)
    random = torch.Generator().manual_seed(4)
    q = torch.rand(6, COMPONENTS, generator=random, dtype=torch.float64).softmax(1)
    elbo, kl, log_p = bound_by_enumeration(exact.joint(x), q)
    moments, density = em.expect(points, em.model)
    kept = expected_log_joint(em.model, moments, em.coordinates) + moments.entropy
    error = max(abs(elbo + kl - log_p), abs(density - log_p), abs(kept - log_p))
    return TableRow(
        "G3", "the bound", "log p(x) = ELBO + KL, and the E-step closes the gap", error, ROUNDING,
        f"{elbo:.3f} + {kl:.3f} = {log_p:.3f} over all {COMPONENTS**6} explanations, to "
        f"{error:.1e}",
    )  # fmt: skip


def posterior_row() -> TableRow:
    """min over q of −H(q) + D(q, π) − E_q[log p(x | z)], downhill by its gradient from even q:
    where it ends must be the E-step's responsibilities, and its least value −log p(x).
    """
    x = draw_points(POINTS, WIDTH, 9)
    points = from_array(x)
    em = GaussianEM(GaussianEM.Settings(k=str(COMPONENTS), starts=1))
    em.begin(points)
    error, bounds = 0.0, []
    for _ in range(STEPS):
        model = em.model
        assert model is not None
        exact = NormalMixture(model.weight, model.mean, model.expand())
        f = exact.joint(x) - model.weight.log()
        q, least = solve_one_equation(f, model.weight)
        bounds.append(fit_whole(em, points)["elbo"])
        apart = float((model.responsibility(x) - q).abs().max())
        error = max(error, apart, abs(bounds[-1] + least / POINTS))
    if any(b < a - 1e-12 for a, b in itertools.pairwise(bounds)):
        error = math.inf
    return TableRow(
        "U2.3", "EM as the one equation", "α = β = 1, f = log p(x | z): the E-step is its least q",
        error, ROUNDING, f"q and the bound to {error:.1e}, {STEPS} steps that never fall",
    )  # fmt: skip


def solve_one_equation(f: Tensor, p: Tensor) -> tuple[Tensor, float]:
    """argmin_q Σ_n Σ_k q (log q − log p − f) with Σ_k q = 1, and its value.  [N, K], [K]

    Exponentiated gradient (Kivinen & Warmuth 1997): half of the way at every step.
    """
    log_q = torch.full_like(f, -math.log(f.shape[1]))
    for _ in range(80):
        slope = log_q + 1 - p.log() - f
        log_q = (log_q - 0.5 * slope).log_softmax(1)
    q = log_q.exp()
    return q, float((q * (log_q - p.log() - f)).sum())


def kmeans_row() -> TableRow:
    """One step of k-means is one of EM with round normals of hardly any variance."""
    x = draw_points(POINTS, WIDTH, 5)
    first = x[:COMPONENTS].clone()
    eye = 1e-4 * torch.eye(WIDTH, dtype=torch.float64)
    even = torch.full((COMPONENTS,), 1 / COMPONENTS, dtype=torch.float64)
    exact = NormalMixture(even, first, eye.expand(COMPONENTS, -1, -1)).em_step(x, "spherical")
    algorithm = KMeans(KMeans.Settings(k=str(COMPONENTS)))
    algorithm.begin(from_array(x), Centres(first))
    algorithm.update(Block(from_array(x), 0, 1))
    assert algorithm.model is not None
    error = float((algorithm.model.mean - exact.mean).abs().max())
    return TableRow(
        "G17.1", "k-means", "EM in the limit of no variance", error, ROUNDING,
        f"centres after a step to {error:.1e}",
    )  # fmt: skip


def categorical_row() -> TableRow:
    """One step beside Bayes' rule and counting, over every pair of values."""
    random = torch.Generator().manual_seed(6)
    chance = torch.rand(2, 2, 3, generator=random, dtype=torch.float64).softmax(2)  # [K, D, C]
    weight = torch.tensor([0.3, 0.7], dtype=torch.float64)
    levels = (("a", "b", "c"),) * 2
    x = torch.tensor(list(itertools.product(range(3), repeat=2))).double()
    often = torch.rand(9, generator=random, dtype=torch.float64)
    points = Points(x, ("p", "q"), often, levels=levels)
    algorithm = DiscreteEM(DiscreteEM.Settings(k="2", smoothing=0))
    algorithm.begin(points, DiscreteMixture(weight, chance.flatten(1), levels))
    algorithm.update(Block(points, 0, 1))
    counts, shares = torch.zeros_like(chance), torch.zeros(2, dtype=torch.float64)
    for n, (a, b) in enumerate(itertools.product(range(3), repeat=2)):
        joint = weight * chance[:, 0, a] * chance[:, 1, b]
        r = often[n] * joint / joint.sum()
        shares += r
        counts[:, 0, a] += r
        counts[:, 1, b] += r
    assert algorithm.model is not None
    wanted = (counts / shares[:, None, None]).flatten(1)
    error = float((algorithm.model.chance - wanted).abs().max())
    error = max(error, float((algorithm.model.weight - shares / often.sum()).abs().max()))
    return TableRow(
        "G17.2", "mixture of categoricals by EM", "a step is Bayes' rule and counting", error,
        ROUNDING, f"weights and chances to {error:.1e}",
    )  # fmt: skip


def factor_row() -> TableRow:
    """The bound of factor analysis beside the dense normal's log-density, step by step."""
    x = draw_points(POINTS, 4, 7)
    algorithm = FactorEM(FactorEM.Settings(factors=2))
    points, error, bounds = from_array(x), 0.0, []
    algorithm.begin(points)
    for _ in range(STEPS):
        model = algorithm.model
        assert model is not None
        dense = model.loading @ model.loading.T + torch.diag(model.noise)
        one = torch.ones(1, dtype=torch.float64)
        exact = NormalMixture(one, model.mean[None], dense[None])
        wanted = exact.log_likelihood(x) / POINTS
        bounds.append(algorithm.update(Block(points, 0, 1))["elbo"])
        error = max(error, abs(bounds[-1] - wanted))
    if any(b < a - 1e-12 for a, b in itertools.pairwise(bounds)):
        error = math.inf
    return TableRow(
        "G17.3", "factor analysis by EM",
        "the bound is the dense normal's density, and never falls",
        error, ROUNDING, f"{STEPS} steps to {error:.1e}, rising from {bounds[0]:.3f} to "
        f"{bounds[-1]:.3f} nats a point",
    )  # fmt: skip


def principal_row() -> TableRow:
    """EM for probabilistic PCA ends at the eigenvalues' own answer."""
    x = draw_points(POINTS, 4, 8)
    algorithm = PrincipalEM(PrincipalEM.Settings(factors=2, tolerance=1e-13))
    points, elbo = from_array(x), -math.inf
    while not algorithm.done:
        elbo = algorithm.update(Block(points, 0, 1))["elbo"]
    apart = x - x.mean(0)
    error = abs(elbo - ppca_log_likelihood(apart.T @ apart / POINTS, 2))
    return TableRow(
        "G17.4", "probabilistic PCA by EM", "ends where the eigenvalues say, to 1e-6", error, 1e-6,
        f"{error:.1e} nats a point from the closed form",
    )  # fmt: skip


def latent_rows() -> list[TableRow]:
    return [
        complete_data_row(),
        *(em_row(kind) for kind in KINDS),
        bound_row(),
        posterior_row(),
        kmeans_row(),
        categorical_row(),
        factor_row(),
        principal_row(),
    ]
