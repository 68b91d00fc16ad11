"""A learned policy of changes: what a picture is worth against a step that is really made,
REINFORCE against enumeration, and that it learns which changes harm.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from fledge.algorithms.images.change_policy import ChangePolicy, measure_worth
from fledge.algorithms.images.classifier import Classifier, divide
from fledge.errors import UserError
from fledge.images.pictures import PictureSet, digest_of, make_set
from fledge.runs.checkpoint import load_state, save_state
from tests.pictures import make_algorithm, some_digits, weights_of
from tests.subjects import seeded

SETTINGS = Classifier.Settings(width=1, features=6, policy=("turn", "mirror", "noise"))


def test_worth_is_how_far_a_small_step_lowers_the_steering_loss() -> None:
    """Of each taught picture, by making the step: (L(θ) − L(θ − η ∇ℓ_i)) / η, with η → 0."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3))
    network = network.double()
    x, label = torch.randn(8, 5, dtype=torch.float64), torch.arange(8) % 3

    def loss(x: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(network(x), label, reduction="none")

    worth = measure_worth(network, loss, (x[:5], label[:5]), (x[5:], label[5:]))
    before = float(loss(x[5:], label[5:]).mean().detach())
    for i in range(5):
        kept = copy.deepcopy(network.state_dict())
        own = loss(x[i : i + 1], label[i : i + 1]).sum()
        gradients = torch.autograd.grad(own, list(network.parameters()))
        with torch.no_grad():
            for p, gradient in zip(network.parameters(), gradients, strict=True):
                p -= 1e-6 * gradient
            after = float(loss(x[5:], label[5:]).mean())
        network.load_state_dict(kept)
        assert float(worth[i]) == pytest.approx((before - after) / 1e-6, rel=1e-4, abs=1e-7)


def test_the_policys_step_is_up_the_mean_worth() -> None:
    """All ways drawn as often as they are likely: ∂/∂φ Σ_k w_k a_k by differentiation."""
    policy = ChangePolicy(("shift", "turn", "noise"), rate=1.0)
    drawn = torch.arange(4).repeat_interleave(5)
    worth = torch.tensor([0.2, -1.0, 3.0, 0.5]).repeat_interleave(5)
    advantage = torch.tensor([0.2, -1.0, 3.0, 0.5]) - worth.mean()
    logits = torch.zeros(4, requires_grad=True)
    (exact,) = torch.autograd.grad((logits.softmax(0) * advantage).sum(), logits)
    policy.learn(drawn, worth)
    torch.testing.assert_close(policy.logits, exact / worth.std(), rtol=1e-5, atol=1e-6)


def test_a_change_that_harms_is_given_up() -> None:
    """Two labels that are each other's mirror: a mirrored picture teaches what is wrong."""
    random = seeded(5)
    x = torch.randint(0, 4, (120, 1, 8, 8), generator=random, dtype=torch.uint8)
    label = torch.arange(120) % 2
    x[label == 0, :, :, :3] += 12
    x[label == 1, :, :, 5:] += 12
    given: PictureSet = make_set(x, label, 17, ["left", "right"], "x")
    algorithm = make_algorithm(
        Classifier, SETTINGS.replace(policy=("mirror", "noise"), policy_rate=0.1), given
    )
    said: dict[str, float] = {}
    for n in range(30):
        said = algorithm.update(given.rows[torch.arange(40) + 2 * n % 80])
    assert said["weight_mirror"] < 0.25 < 0.35 < said["weight_noise"]  # begun at a third each


def test_the_one_change_that_helps_is_found() -> None:
    """Two labels, a bright bar above or below, at the left in all that is taught and at the right
    in all that steers. Only what is mirrored teaches to read that; noise and holes teach the left.
    """
    random = seeded(6)
    x = torch.randint(0, 4, (600, 1, 8, 8), generator=random, dtype=torch.uint8)
    label = torch.arange(600) % 2
    x[label == 0, :, :3, :4] += 12
    x[label == 1, :, 5:, :4] += 12
    steers = torch.tensor([int(digest_of(one.flip(2))[:8], 16) % 10 == 0 for one in x])
    x = torch.where(steers.view(-1, 1, 1, 1), x.flip(3), x)
    kept = torch.tensor([int(digest_of(one)[:8], 16) % 10 == 0 for one in x]) == steers
    given: PictureSet = make_set(x[kept], label[kept], 17, ["above", "below"], "x")
    settings = SETTINGS.replace(policy=("mirror", "cutout", "noise"), policy_rate=0.2)
    algorithm = make_algorithm(Classifier, settings, given)
    said: dict[str, float] = {}
    for n in range(60):
        said = algorithm.update(given.rows[torch.arange(100) + 100 * n % (len(given) - 100)])
    others = [said[f"weight_{name}"] for name in ("none", "cutout", "noise")]
    assert said["weight_mirror"] > 0.5 > 0.2 > max(others)  # begun at a quarter each


def test_what_steers_is_not_taught() -> None:
    rows = some_digits(60).rows
    taught, steering = divide(rows)
    assert len(taught) + len(steering) == 60
    assert 3 < len(steering) < 25
    again_taught, again_steering = divide(rows[torch.arange(59, -1, -1)])
    assert torch.equal(again_taught.x.flip(0), taught.x)
    assert torch.equal(again_steering.x.flip(0), steering.x)


@pytest.mark.parametrize("micro", [1, 7])
def test_the_same_in_any_pieces(micro: int) -> None:
    given = some_digits(48)
    whole, pieces = (
        make_algorithm(Classifier, SETTINGS, given, micro=cut, plain=True) for cut in (None, micro)
    )
    for _ in range(3):
        a, b = whole.update(given.rows), pieces.update(given.rows)
        assert b == pytest.approx(a, rel=1e-4, abs=1e-5)
    for key, weight in weights_of(whole).items():
        torch.testing.assert_close(pieces.model.state_dict()[key], weight, rtol=1e-4, atol=1e-5)


def test_goes_on_bit_for_bit(tmp_path: Path) -> None:
    given = some_digits(48)

    def make() -> Any:
        return make_algorithm(Classifier, SETTINGS, given)

    whole, first, second = make(), make(), make()
    for _ in range(5):
        whole.update(given.rows)
    for _ in range(2):
        first.update(given.rows)
    save_state(tmp_path / "state", first.state_dict())
    second.load_state_dict(load_state(tmp_path / "state"))
    for _ in range(3):
        second.update(given.rows)
    assert torch.equal(second.policy.logits, whole.policy.logits)
    for key, weight in weights_of(whole).items():
        assert torch.equal(second.model.state_dict()[key], weight), key


def test_pictures_without_labels_are_refused() -> None:
    given = some_digits(30)
    with pytest.raises(UserError, match="a classifier tells labels apart, and the data has none"):
        Classifier.build(SETTINGS, make_set(given.rows.x, None, 17, (), "x").shape)
    algorithm = make_algorithm(Classifier, SETTINGS, given)
    with pytest.raises(UserError, match="a picture has no label"):
        algorithm.update(given.rows.replace(label=torch.full((30,), -1)))
