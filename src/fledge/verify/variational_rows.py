"""Rows of variational inference: a Bayesian mixture against its evidence, gradients against closed
forms, bounds against log p(x), and labels inferred from votes against enumeration.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from fledge.algorithms.latent.coordinate_ascent import CoordinateAscent
from fledge.algorithms.latent.elbo_gradients import (
    importance_bound,
    pathwise_loss,
    rao_blackwell_loss,
    score_loss,
)
from fledge.algorithms.latent.regularised_posterior import Constraints
from fledge.exact.conjugate_mixture import Conjugate, enumerate_assignments
from fledge.models.latent.label_model import LabelModel
from fledge.models.latent.targets import Terms
from fledge.models.latent.variational_families import IndependentNormals, OneNormal, make_family
from fledge.rows.points import from_array
from fledge.sample.points import Block
from fledge.verify.rows import RowCurves, TableRow

ROUNDING = 1e-9
ERRORS = 6.0  # standard errors of a mean of BATCHES: by chance once in 10⁸
BATCHES, SAMPLES = 60, 400
P = torch.tensor([[1.5, 0.6], [0.6, 0.8]], dtype=torch.float64)
H = torch.tensor([0.7, -0.4], dtype=torch.float64)


def draw_points(N: int, D: int) -> Tensor:
    random = torch.Generator().manual_seed(1)
    x = torch.randn(N, D, generator=random, dtype=torch.float64)
    return x + 3 * (torch.arange(N) % 2).double()[:, None]


def ascend(x: Tensor, steps: int, **fields: object) -> tuple[CoordinateAscent, list[float]]:
    settings = CoordinateAscent.Settings.model_validate({"tolerance": 0, "starts": 1, **fields})
    algorithm = CoordinateAscent(settings)
    points = from_array(x)
    algorithm.begin(points)
    elbos = [algorithm.update(Block(points, 0, 1))["elbo"] for _ in range(steps)]
    return algorithm, [each * len(x) for each in elbos]


def prior_of(algorithm: CoordinateAscent) -> Conjugate:
    p = algorithm.prior
    assert p is not None
    return Conjugate(p.concentration, p.mean, p.mean_precision, p.degrees, p.scale)


def evidence_row() -> TableRow:
    x = draw_points(20, 3)
    algorithm, bounds = ascend(x, 2, k="1", degrees=4.5)
    exact = prior_of(algorithm).log_evidence(x)
    error = abs(bounds[-1] - exact)
    return TableRow(
        "G4.1", "Bayesian mixture, one component", "the bound is the evidence", error, ROUNDING,
        f"{bounds[-1]:.6f} nats, to {error:.1e}",
    )  # fmt: skip


def ascent_row() -> TableRow:
    """Coordinate ascent never falls, and stays below the evidence of all 2⁸ assignments."""
    x = draw_points(8, 1)
    algorithm, bounds = ascend(x, 30, k="2", concentration=1.0)
    exact = enumerate_assignments(x, prior_of(algorithm), 2).log_evidence
    fall = max(before - after for before, after in itertools.pairwise(bounds))
    figure = max(fall, bounds[-1] - exact)
    curve = RowCurves(
        "Coordinate ascent", "nats", "step",
        {"bound": ([float(n) for n in range(30)], bounds)},
        f"{bounds[0]:.3f} → {bounds[-1]:.3f}, log p(x) {exact:.3f}",
    )  # fmt: skip
    return TableRow(
        "G4.2", "Bayesian mixture by coordinate ascent", "never falls, and stays below log p(x)",
        figure, ROUNDING, f"{bounds[0]:.3f} → {bounds[-1]:.3f} ≤ {exact:.3f} nats", curves=(curve,),
    )  # fmt: skip


def log_joint(z: Tensor) -> Tensor:
    """−½ zᵀPz + hᵀz."""
    return -0.5 * ((z @ P) * z).sum(1) + z @ H


def split(z: Tensor) -> Terms:
    own = -0.5 * P.diagonal() * z.square() + H * z
    both = -P[0, 1] * z[:, :1] * z[:, 1:]
    touches = torch.tensor([[True, False], [False, True], [True, True]])
    return Terms(torch.cat([own, both], 1), touches)


def make_q(name: str) -> IndependentNormals | OneNormal:
    q = make_family("normal" if name == "normal" else "independent", 2, torch.Generator())
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for each in q.parameters():
            each += 0.3 * torch.randn(each.shape, generator=random, dtype=torch.float64)
    assert isinstance(q, IndependentNormals | OneNormal)
    return q


def gradient_of(loss: Tensor, q: torch.nn.Module) -> Tensor:
    return torch.cat([each.flatten() for each in torch.autograd.grad(loss, list(q.parameters()))])


def gradient_row(number: int, name: str, family: str, estimate: Callable[..., Tensor]) -> TableRow:
    """The mean of many estimates beside the closed form, in standard errors."""
    q = make_q(family)
    root = q.root() if isinstance(q, OneNormal) else torch.diag(q.log_sd.exp())
    expected = -0.5 * ((P * (root @ root.T)).sum() + q.mean @ P @ q.mean) + H @ q.mean
    exact = gradient_of(-(expected + root.diagonal().log().sum()), q)
    random = torch.Generator().manual_seed(number)
    made = torch.stack([gradient_of(estimate(q, random), q) for _ in range(BATCHES)])
    error = made.std(0) / BATCHES**0.5
    off = float(((made.mean(0) - exact).abs() / (error + 1e-12)).max())
    variance = float(made.var(0).sum()) * SAMPLES
    return TableRow(
        f"G5.{number}", f"∇ bound, {name}", f"unbiased: within {ERRORS:g} standard errors", off,
        ERRORS, f"{off:.1f} standard errors at most; variance of one sample {variance:.2g}",
    )  # fmt: skip


def gradient_rows() -> list[TableRow]:
    def rao_blackwell(q: IndependentNormals, random: torch.Generator) -> Tensor:
        return rao_blackwell_loss(q, split, SAMPLES, random)[0]

    def score(q: IndependentNormals, random: torch.Generator, baseline: bool) -> Tensor:
        return score_loss(q, log_joint, SAMPLES, random, baseline)[0]

    def pathwise(q: IndependentNormals, random: torch.Generator) -> Tensor:
        return pathwise_loss(q, log_joint, SAMPLES, random)[0]

    return [
        gradient_row(1, "score", "independent", partial(score, baseline=False)),
        gradient_row(2, "score less baseline", "independent", partial(score, baseline=True)),
        gradient_row(3, "Rao–Blackwellised score", "independent", rao_blackwell),
        gradient_row(4, "pathwise", "independent", pathwise),
        gradient_row(5, "pathwise, full covariance", "normal", pathwise),
    ]


def variance_row() -> TableRow:
    """Four estimators of one gradient on one model, with q on its way from a start to the best
    independent normals: at the start their variances are in the order of the theory.
    """
    ways: dict[str, Callable[..., Tensor]] = {
        "score": lambda q, g: score_loss(q, log_joint, 8, g, baseline=False)[0],
        "score less baseline": lambda q, g: score_loss(q, log_joint, 8, g)[0],
        "Rao–Blackwellised": lambda q, g: rao_blackwell_loss(q, split, 8, g)[0],
        "pathwise": lambda q, g: pathwise_loss(q, log_joint, 8, g)[0],
    }
    start, places = make_q("independent"), [0.0, 0.45, 0.9]
    assert isinstance(start, IndependentNormals)
    best = (torch.linalg.solve(P, H), -0.5 * P.diagonal().log())
    lines: dict[str, tuple[list[float], list[float]]] = {}
    for name, estimate in ways.items():
        lines[name] = (places, [])
        for place in places:
            q = IndependentNormals(2)
            with torch.no_grad():
                q.mean.copy_(torch.lerp(start.mean, best[0], place))
                q.log_sd.copy_(torch.lerp(start.log_sd, best[1], place))
            random = torch.Generator().manual_seed(9)
            made = torch.stack([gradient_of(estimate(q, random), q) for _ in range(120)])
            lines[name][1].append(math.log10(float(made.var(0).sum())))
    first = [values[0] for _, values in lines.values()]
    figure = max(after - before for before, after in itertools.pairwise(first))
    said = ", ".join(f"{name} {10 ** v[0]:.2g}" for name, (_, v) in lines.items())
    curve = RowCurves(
        "Variance of a gradient of 8 samples", "log₁₀ variance", "way to the best q", lines, said
    )
    return TableRow(
        "G5.6", "variances of the estimators", "fall from score to baseline, terms and path",
        figure, 0.0, said, curves=(curve,),
    )  # fmt: skip


def importance_row() -> TableRow:
    """Bounds of 1, 5 and 50 samples rise towards log p(x), which is known."""
    q = make_q("independent")
    log_p = float(0.5 * H @ torch.linalg.solve(P, H) - 0.5 * torch.logdet(P / (2 * math.pi)))
    random = torch.Generator().manual_seed(3)
    bounds = []
    with torch.no_grad():
        for K in (1, 5, 50):
            z = q.draw(4000 * K, random)
            ratio = (log_joint(z) - q.log_prob(z)).view(4000, K)
            bounds.append(float(importance_bound(ratio)))
    rises = min(after - before for before, after in itertools.pairwise(bounds))
    figure = max(-rises, bounds[-1] - log_p)
    said = " → ".join(f"{each:.3f}" for each in bounds)
    return TableRow(
        "G6.1", "importance-weighted bound", "rises with samples, and stays below log p(x)",
        figure, 0.01, f"of 1, 5, 50 samples: {said}; log p(x) {log_p:.3f}",
    )  # fmt: skip


def votes_row() -> TableRow:
    """Bayes' rule over every labelling of four rows."""
    random = torch.Generator().manual_seed(2)
    table = torch.rand(3, 2, 3, generator=random, dtype=torch.float64).softmax(2)
    balance = torch.tensor([0.3, 0.7], dtype=torch.float64)
    x = torch.tensor([[0, 1, 1], [1, 1, torch.nan], [0, 0, 0], [1, torch.nan, 0]]).double()
    marginal, total = torch.zeros(4, 2, dtype=torch.float64), 0.0
    for y in itertools.product(range(2), repeat=4):
        p = 1.0
        for n, label in enumerate(y):
            p *= float(balance[label])
            for m in range(3):
                vote = float(x[n, m])
                p *= float(table[m, label, 2 if math.isnan(vote) else int(vote)])
        total += p
        for n, label in enumerate(y):
            marginal[n, label] += p
    model = LabelModel(balance, table, ("no", "yes"))
    error = float((model.posterior(x) - marginal / total).abs().max())
    error = max(error, abs(float(model.log_prob(x).sum()) - math.log(total)))
    return TableRow(
        "U11", "labels out of votes", "the posterior is Bayes' rule over every labelling", error,
        ROUNDING, f"posterior and log p(votes) to {error:.1e}",
    )  # fmt: skip


def regularised_row() -> TableRow:
    """Coins of chance 0.2 that are to show heads 0.65 of the time."""
    N, p, b = 7, 0.2, 0.65
    log_prior = torch.tensor([1 - p, p], dtype=torch.float64).log().expand(N, 2)
    heads = torch.tensor([[0.0], [1.0]], dtype=torch.float64).expand(N, 2, 1)
    made = Constraints(log_prior, heads, torch.tensor([N * b], dtype=torch.float64), 0.0)
    theta = torch.zeros(1, dtype=torch.float64)
    for _ in range(30):
        theta = made.climb(theta)
    kl = b * math.log(b / p) + (1 - b) * math.log((1 - b) / (1 - p))
    error = abs(float(theta) - math.log(b / (1 - b)) + math.log(p / (1 - p)))
    error = max(error, abs(made.dual(theta) - N * kl))
    return TableRow(
        "U13", "regularised Bayes", "the nearest posterior of a known mean is its closed form",
        error, 1e-7, f"θ and KL to {error:.1e}",
    )  # fmt: skip


def variational_rows() -> list[TableRow]:
    return [
        evidence_row(), ascent_row(), *gradient_rows(), variance_row(), importance_row(),
        votes_row(), regularised_row(),
    ]  # fmt: skip
