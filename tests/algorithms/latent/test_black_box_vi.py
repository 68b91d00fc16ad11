"""Black-box inference ends near the exact posterior, by every family and estimator; its targets are
the models that they say they are; a file of the user's is checked.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy import stats as scipy_stats
from torch import Tensor

from fledge.algorithms.latent.black_box_vi import BlackBoxVI
from fledge.errors import UserError
from fledge.exact.conjugate_mixture import Conjugate, enumerate_assignments
from fledge.models.latent.targets import LogisticRegression, SmallMixture
from fledge.rows.points import Points, from_array
from fledge.sample.points import Block

stats: Any = scipy_stats  # its stubs take a frozen normal for a discrete one

MINE = """
import torch


def dim(data):
    return data.width

def log_joint(z, data):
    apart = data.x[None] - z[:, None]
    return -0.5 * apart.square().sum((1, 2)) - 0.5 * z.square().sum(1)

def terms(z, data):
    each = -0.5 * (data.x[None] - z[:, None]).square().sum(1) - 0.5 * z.square()
    return each, torch.eye(z.shape[1], dtype=torch.bool)
"""


def points_of(N: int = 40, D: int = 2, seed: int = 1) -> Points:
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(N, D, generator=random, dtype=torch.float64) + 1
    label = (x.sum(1) + torch.randn(N, generator=random).double() > 2).long()
    return Points(x, tuple(f"x{d}" for d in range(D)), None, label, ("no", "yes"))


def fit(points: Points, steps: int, **fields: Any) -> BlackBoxVI:
    algorithm = BlackBoxVI(BlackBoxVI.Settings(**fields), seed=1)
    for _ in range(steps):
        algorithm.update(Block(points, 0, 1))
        if algorithm.done:
            break
    return algorithm


@pytest.mark.parametrize(
    "fields",
    [
        {"family": "independent"},
        {"family": "normal"},
        {"family": "flow", "layers": 2, "hidden": 4},
        {"family": "independent", "estimator": "score"},
        {"family": "independent", "estimator": "score", "rao_blackwell": True},
        {"family": "independent", "importance": 4},
    ],
    ids=lambda each: " ".join(map(str, each.values())),
)
def test_a_posterior_in_closed_form_is_reached(fields: dict[str, Any], tmp_path: Path) -> None:
    """Normal points of known variance: N(Σx/(N+1), 1/(N+1)), and the evidence with it."""
    (tmp_path / "mine.py").write_text(MINE)
    points = points_of()
    judged = fit(points, 30, target=str(tmp_path / "mine.py"), **fields).conclude()[0]
    N, mean = len(points), points.x.sum(0) / (len(points) + 1)
    assert judged["mean"] == pytest.approx(mean.tolist(), abs=0.03)
    assert judged["sd"] == pytest.approx([(N + 1) ** -0.5] * 2, rel=0.1)
    square = float(points.x.square().sum() - (N + 1) * mean.square().sum())
    evidence = -0.5 * square + math.log(2 * math.pi / (N + 1))
    assert judged["log_evidence"] == pytest.approx(evidence, abs=0.02)
    assert judged["bound"] <= evidence + 1e-9 + 0.02
    assert judged["pareto_k"] < 0.7


def test_a_poor_q_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "tail.py").write_text(
        "dim = 1\ndef log_joint(z, data):\n    return -z.abs().sum(1) * 0.3\n"
    )
    algorithm = fit(points_of(), 1, target=str(tmp_path / "tail.py"), family="independent")
    with torch.no_grad():
        for each in algorithm.family.parameters():  # pyright: ignore[reportOptionalMemberAccess]
            each -= 1.5
    judged, lines = algorithm.conclude()
    assert judged["pareto_k"] > 0.7
    assert any("poor stand-in" in line for line in lines)


def log_joint_by_scipy(target: SmallMixture, z: Tensor, x: Tensor) -> float:
    """Of one column, with dz's Jacobians."""
    K = target.K
    stick = torch.sigmoid(z[: K - 1])
    left = torch.cat([torch.ones(1).double(), (1 - stick).cumprod(0)])
    weight = torch.cat([stick, torch.ones(1).double()]) * left
    sd = float(target.s) ** 0.5
    mean = float(target.m) + sd * z[K - 1 : 2 * K - 1]
    precision = z[2 * K - 1 :].exp() / float(target.s)
    density = sum(
        weight[k] * stats.norm(float(mean[k]), float(precision[k]) ** -0.5).pdf(x.numpy()[:, 0])
        for k in range(K)
    )
    value = float(torch.as_tensor(density).log().sum())
    value += float(stats.dirichlet([target.alpha] * K).logpdf(weight.numpy()))
    value += float((stick.log() + (1 - stick).log()).sum())  # dv/dz
    # the weights' volume: Π of what each stick was broken from, but for the last two
    value += float(left[: K - 1].log().sum())
    for k in range(K):
        value += stats.gamma(target.degrees / 2, scale=2 / float(target.s)).logpdf(
            float(precision[k])
        ) + math.log(float(precision[k]))
        wide = (target.beta * float(precision[k])) ** -0.5
        value += stats.norm(float(target.m), wide).logpdf(float(mean[k])) + math.log(sd)
    return value


def test_the_mixture_is_its_formula() -> None:
    x = points_of(9, 1).x
    target = SmallMixture(from_array(x), 3, alpha=1.7, beta=0.6, degrees=3)
    z = torch.randn(4, target.width, generator=torch.Generator().manual_seed(2)).double()
    ours = target.log_joint(z, from_array(x))
    assert ours.tolist() == pytest.approx([log_joint_by_scipy(target, one, x) for one in z])
    made = target.terms(z, from_array(x))
    assert torch.allclose(made.values.sum(1), ours)
    for t in range(1, made.values.shape[1]):  # a term moves with the coordinates that it names
        at = z.clone().requires_grad_()
        target.terms(at, from_array(x)).values[:, t].sum().backward()
        assert torch.equal((at.grad != 0).any(0), made.touches[t])


def test_the_evidence_of_a_small_mixture_is_that_of_every_assignment() -> None:
    apart = torch.tensor([[-2.0], [2.0]]).double().repeat(4, 1)
    x = torch.randn(8, 1, generator=torch.Generator().manual_seed(0)).double() + apart
    prior = Conjugate(1.0, x.mean(0), 1.0, 2.0, x.var(0, correction=0)[:, None])
    exact = enumerate_assignments(x, prior, 2).log_evidence
    judged = fit(from_array(x), 8, target="mixture", components=2, family="normal").conclude()[0]
    assert judged["log_evidence"] == pytest.approx(exact, abs=0.25)
    assert judged["bound"] < exact


def test_logistic_regression_is_its_formula() -> None:
    points = points_of(12)
    target = LogisticRegression(points, 2.0)
    z = torch.randn(3, 3, generator=torch.Generator().manual_seed(3)).double()
    assert points.label is not None
    for one, ours in zip(z, target.log_joint(z, points), strict=True):
        p = torch.sigmoid(one[0] + points.x @ one[1:])
        p = torch.where(points.label == 1, p, 1 - p)
        want = float(p.log().sum()) + stats.norm(0, 2).logpdf(one.numpy()).sum()
        assert float(ours) == pytest.approx(want)
    assert torch.allclose(target.terms(z, points).values.sum(1), target.log_joint(z, points))


def test_it_goes_on_where_it_was() -> None:
    points = points_of()
    first, second = fit(points, 2, gradients=5), fit(points, 0, gradients=5)
    second.begin(points)
    second.load_state_dict(first.state_dict())
    batch = Block(points, 0, 1)
    assert first.update(batch) == second.update(batch)


@pytest.mark.parametrize(
    ("source", "fields", "said"),
    [
        ("x = 1", {}, "no function log_joint"),
        ("def log_joint(z, data): return z.sum(1)", {}, "dim is None"),
        ("dim = 2\ndef log_joint(z, data): return z", {}, r"returned \[2, 2\]"),
        ("dim = 2\ndef log_joint(z, data): return z.sum(1) / 0", {}, "must be finite"),
        ("dim = 2\ndef log_joint(z, data): return z.detach().sum(1)", {}, "no gradient in z"),
        ("dim = 2\ndef log_joint(z, data): raise KeyError('a')", {}, "line 2: log_joint"),
        (
            "dim = 2\ndef log_joint(z, data): return z.sum(1)",
            {"estimator": "score", "rao_blackwell": True, "family": "independent"},
            "no function terms",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said(
    source: str, fields: dict[str, Any], said: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(source)
    with pytest.raises(UserError, match=said):
        fit(points_of(), 1, target=str(tmp_path / "mine.py"), **fields)


def test_labels_that_are_not_two_kinds() -> None:
    with pytest.raises(UserError, match="labels=COLUMN of two kinds"):
        fit(points_of().without_labels(), 1)
