"""Training a VAE: its gradient by hand, micro-batches, free bits, resuming, and what it shows."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.distributions import Normal

from fledge.algorithms.images.codes_seen import (
    draw_code_sheets,
    interpolate,
    lay_manifold,
    measure_units,
    traverse,
)
from fledge.algorithms.images.vae import VAE
from fledge.images.digits import load_digits
from fledge.images.pictures import Pictures, PictureSet
from fledge.learner import Learner
from fledge.schedule import Schedule
from fledge.seeds import generator_for
from fledge.stopwatch import Stopwatch

SEED = 5


def small(**changes: Any) -> VAE.Settings:
    return VAE.Settings(latents=4, width=16, layers=1, draws=2).replace(**changes)


def make_learner(module: nn.Module, rows: int | None = None) -> Learner:
    return Learner(module, Schedule(1e-2, 100), clip=0, rows_per_micro_batch=rows)


def make(settings: VAE.Settings, rows: int | None = None) -> VAE:
    torch.manual_seed(1)
    model = VAE.build(settings, DIGITS.shape)
    return VAE(settings, model, partial(make_learner, rows=rows), SEED, Stopwatch())


DIGITS: PictureSet = load_digits().take(slice(0, 24))
BATCH: Pictures = DIGITS.rows


def gradient_of(algorithm: VAE) -> tuple[Tensor, dict[str, float]]:
    """Of one update, as the optimizer is given it."""
    caught: list[Tensor] = []
    optimizer: Any = algorithm.learner.optimizer
    step: Callable[..., Any] = optimizer.step

    def catch(*given: Any) -> Any:
        caught.append(torch.cat([p.grad.flatten() for p in algorithm.learner.parameters]))
        return step(*given)

    optimizer.step = catch
    figures = algorithm.update(BATCH)
    return caught[0], figures


SETTINGS = [
    small(), small(beta=0.5, anneal_steps=10), small(free_bits=0.02), small(importance=3),
    small(network="conv"),
]  # fmt: skip


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_gradient_is_the_same_in_one_piece_or_in_five(settings: VAE.Settings) -> None:
    whole, said = gradient_of(make(settings))
    cut, said_too = gradient_of(make(settings, rows=5))
    if settings.anneal_steps == 0:
        assert float(whole.norm()) > 1
    assert torch.allclose(whole, cut, atol=1e-4 * float(whole.abs().max()) + 1e-6)
    assert said["loss"] == pytest.approx(said_too["loss"], rel=1e-5)


def by_hand(algorithm: VAE, loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    """The gradient of a loss of mean, deviation and the step's noise, through torch alone."""
    model = algorithm.model
    settings = algorithm.settings
    generator = generator_for(SEED, "noise", 0)
    noise = torch.randn(len(BATCH), settings.importance, settings.latents, generator=generator)
    mean, log_deviation = model.encode(BATCH.x)
    made = torch.autograd.grad(loss(mean, log_deviation.exp(), noise), list(model.parameters()))
    return torch.cat([each.flatten() for each in made])


def log_p_of(algorithm: VAE, z: Tensor) -> Tensor:
    return algorithm.model.log_likelihood(BATCH.x, z)


def test_free_bits_leave_the_gradient_of_max() -> None:
    """Σ_j max(λ, mean_b KL_bj), differentiated by torch, where λ lies between the latents."""
    free = 0.05
    algorithm = make(small(free_bits=free))

    def loss(mean: Tensor, deviation: Tensor, noise: Tensor) -> Tensor:
        z = mean + deviation * noise[:, 0]
        kl = torch.distributions.kl_divergence(Normal(mean, deviation), Normal(0.0, 1.0)).mean(0)
        assert 0 < int((kl > free).sum()) < 4  # some pay, some do not
        return -log_p_of(algorithm, z).mean() + kl.clamp(min=free).sum()

    expected = by_hand(algorithm, loss)
    made, _ = gradient_of(algorithm)
    assert torch.allclose(made, expected, atol=1e-4 * float(expected.abs().max()))


def test_the_importance_weighted_loss_is_burda_s() -> None:
    algorithm = make(small(importance=3))

    def loss(mean: Tensor, deviation: Tensor, noise: Tensor) -> Tensor:
        weights: list[Tensor] = []
        for k in range(3):
            z = mean + deviation * noise[:, k]
            prior = Normal(0.0, 1.0).log_prob(z).sum(1)
            weights.append(
                log_p_of(algorithm, z) + prior - Normal(mean, deviation).log_prob(z).sum(1)
            )
        return -(torch.stack(weights).logsumexp(0) - math.log(3)).mean()

    expected = by_hand(algorithm, loss)
    made, _ = gradient_of(algorithm)
    assert torch.allclose(made, expected, atol=1e-4 * float(expected.abs().max()))


def test_beta_rises_from_nothing_to_what_was_asked_for() -> None:
    algorithm = make(small(beta=0.5, anneal_steps=4))
    assert [algorithm.update(BATCH)["beta"] for _ in range(6)] == [0, 0.125, 0.25, 0.375, 0.5, 0.5]


@pytest.mark.parametrize("changes", [{"beta": 2.0}, {"free_bits": 0.1}, {"anneal_steps": 5}])
def test_importance_with_a_weighted_kl_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="leave out beta, free_bits and anneal_steps"):
        small(importance=2, **changes)


def test_a_run_that_goes_on_from_its_state_ends_with_the_same_bits() -> None:
    straight = make(small(free_bits=0.02))
    for _ in range(4):
        straight.update(BATCH)
    first = make(small(free_bits=0.02))
    for _ in range(2):
        first.update(BATCH)
    second = make(small(free_bits=0.02))
    second.load_state_dict(first.state_dict())
    for _ in range(2):
        second.update(BATCH)
    for a, b in zip(straight.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_it_learns_the_digits() -> None:
    """In 60 steps from 130 nats and more to under 115."""
    digits = load_digits().rows
    algorithm = make(VAE.Settings(latents=8, width=64, layers=1))
    first = algorithm.update(digits[:128])["loss"]
    for step in range(60):
        last = algorithm.update(digits[step * 20 : step * 20 + 128])["loss"]
    assert first > 130
    assert last < 115


def test_units_that_are_told_nothing_are_not_active() -> None:
    algorithm = make(small())
    with torch.no_grad():
        to = algorithm.model.to_posterior
        for place, size in ((0, 0.0), (1, 1.0), (2, 0.0), (3, 3.0)):
            to.weight[place] *= size
            to.weight[4 + place] = to.bias[4 + place] = to.bias[place] = 0.0
    units = measure_units(algorithm.model, DIGITS)
    mean = algorithm.model.encode(BATCH.x)[0]
    assert units.active == [3, 1]
    assert units.kl == pytest.approx((0.5 * mean**2).mean(0).tolist(), abs=1e-6)
    assert algorithm.summarise(DIGITS)["active_units"] == 2


def test_the_manifold_has_equally_likely_places() -> None:
    z = lay_manifold(3)
    cdf = Normal(0.0, 1.0).cdf(z)
    rows = torch.tensor([[5 / 6], [1 / 2], [1 / 6]]).repeat_interleave(3, 0)
    columns = torch.tensor([[1 / 6], [1 / 2], [5 / 6]]).repeat(3, 1)
    assert torch.allclose(cdf, torch.cat([rows, columns], 1), atol=1e-5)


def test_traversals_change_one_latent_and_interpolations_end_where_they_should() -> None:
    mean = torch.tensor([1.0, 2.0, 3.0])
    rows = traverse(mean, [2, 0]).view(2, 9, 3)
    assert torch.equal(rows[0, :, :2], mean[:2].expand(9, 2))
    assert rows[0, :, 2].tolist() == pytest.approx([-2.5 + 0.625 * k for k in range(9)])
    assert torch.equal(rows[1, :, 1:], mean[1:].expand(9, 2))
    a, b = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    between = interpolate(a, b).view(4, 9, 3)
    assert torch.allclose(between[:, 0], a)
    assert torch.allclose(between[:, -1], b)
    assert torch.allclose(between[:, 4], (a + b) / 2)


def test_sheets_are_of_held_out_pictures_and_the_manifold_of_two_latents() -> None:
    names = [sheet.name for sheet in draw_code_sheets(make(small(latents=2)).model, DIGITS)]
    assert names[:2] == ["reconstructions", "manifold"]
    sheets = {sheet.name: sheet for sheet in draw_code_sheets(make(small()).model, DIGITS)}
    assert "manifold" not in sheets
    assert torch.equal(sheets["reconstructions"].x[::2], DIGITS.rows.x)
