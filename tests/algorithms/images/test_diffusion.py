"""Diffusion and flow as they learn: what is weighed, that micro-batches and a resumed run change
nothing, and that something is learned.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fledge.algorithms.images.diffusion import Diffusion, min_snr_weight
from fledge.algorithms.images.flow import Flow
from fledge.algorithms.images.latent_diffusion import LatentDiffusion
from fledge.algorithms.images.vae import VAE
from fledge.errors import UserError
from fledge.images.pictures import Pictures, PictureShape
from fledge.learner import Learner, Schedule
from fledge.models.images.denoising import PREDICTIONS, Denoising
from fledge.models.images.noise_levels import add_noise
from fledge.models.images.picture_model import save_picture_model
from fledge.stopwatch import Stopwatch
from tests.subjects import Gradients, learner, seeded

SHAPE = PictureShape(1, 6, 5, 17, ("a", "b"))
SMALL: dict[str, Any] = {"width": 8, "multiples": (1, 2)}


def batch_of(rows: int, shape: PictureShape = SHAPE, seed: int = 0) -> Pictures:
    size = (rows, *shape.size)
    x = torch.randint(0, shape.levels, size, generator=seeded(seed)).to(torch.uint8)
    return Pictures(x, torch.arange(rows) % 2)


def base_of(folder: Path) -> Path:
    """A VAE that has learned nothing."""
    torch.manual_seed(3)
    folder.mkdir()
    settings = VAE.Settings(latents=3, width=8, layers=1, draws=2)
    save_picture_model(folder, VAE.build(settings, SHAPE))
    return folder


def settings_of(kind: Any, folder: Path, **changes: Any) -> Any:
    small: dict[str, Any] = {"width": 8} if kind is LatentDiffusion else SMALL
    if kind is LatentDiffusion:
        changes["base"] = base_of(folder / "vae")
    return kind.Settings(**small | changes)


def make(
    kind: Any, settings: Any, micro: int | None = None, seed: int = 0, shape: PictureShape = SHAPE
) -> Any:
    torch.manual_seed(1)
    model = kind.build(settings, shape)
    for parameter in model.parameters():  # away from the zeros that blocks begin with
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.2)
    fit = partial(learner, rows_per_micro_batch=micro)
    return kind(settings, model, fit, seed, Stopwatch())


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (Diffusion, {"variance": "learned", "weighting": "min_snr", "by_label": True}),
        (Diffusion, {"noise_steps": 0, "prediction": "epsilon", "dropout": 0.3}),
        (LatentDiffusion, {"by_label": True}),
        (Flow, {"by_label": True}),
        (Flow, {"times": "logit_normal"}),
    ],
)
def test_micro_batches_change_nothing(kind: Any, changes: dict[str, Any], tmp_path: Path) -> None:
    settings = settings_of(kind, tmp_path, **changes)
    seen = []
    for micro in (None, 3):
        algorithm = make(kind, settings, micro)
        gradients = Gradients(algorithm.learner)
        said = algorithm.update(batch_of(7))
        seen.append((gradients.flat, said["loss"]))
    assert float(seen[0][0].norm()) > 0.01
    torch.testing.assert_close(seen[1][0], seen[0][0], rtol=1e-4, atol=1e-6)
    assert seen[1][1] == pytest.approx(seen[0][1], rel=1e-5)


@pytest.mark.parametrize("kind", [Diffusion, LatentDiffusion, Flow])
def test_a_resumed_run_has_the_same_bits(kind: Any, tmp_path: Path) -> None:
    settings = settings_of(kind, tmp_path, by_label=True)
    whole, first = make(kind, settings), make(kind, settings)
    batches = [batch_of(6, seed=seed) for seed in range(4)]
    for batch in batches:
        whole.update(batch)
    for batch in batches[:2]:
        first.update(batch)
    state = {part: dict(value) for part, value in first.state_dict().items()}
    torch.manual_seed(99)
    second = kind(settings, kind.build(settings, SHAPE), learner, 0, Stopwatch())
    second.load_state_dict(state)
    for batch in batches[2:]:
        second.update(batch)
    for name in ("trained", "model"):
        ours, wanted = (getattr(each, name).state_dict() for each in (second, whole))
        assert all(torch.equal(ours[key], wanted[key]) for key in wanted)
    # and the average is one, not the weights themselves
    averaged, weights = whole.model.state_dict(), whole.trained.state_dict()
    assert any(not torch.equal(averaged[key], weights[key]) for key in weights)


def test_the_average_forgets_its_start_and_then_keeps_its_share() -> None:
    settings = Diffusion.Settings(network="layers", width=8, ema=0.5)
    algorithm = make(Diffusion, settings)
    average = algorithm.average
    for parameter in algorithm.model.parameters():
        parameter.zero_()
    with torch.no_grad():
        for parameter in algorithm.trained.parameters():
            parameter.fill_(1.0)
    wanted = 0.0
    for steps in (1, 2, 20):
        average.follow(steps)
        decay = min(0.5, (1 + steps) / (10 + steps))
        wanted = decay * wanted + 1 - decay
        assert float(next(algorithm.model.parameters()).flatten()[0]) == pytest.approx(wanted)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_what_is_predicted_says_the_clean_picture(prediction: Any) -> None:
    settings = Diffusion.Settings(network="layers", width=8, prediction=prediction)
    denoising = Diffusion.build(settings, SHAPE).denoising
    x, epsilon = torch.rand(4, 1, 6, 5), torch.randn(4, 1, 6, 5)
    log_snr = torch.tensor([-3.0, 0.0, 2.0, 5.0]).double()
    z = add_noise(x, log_snr, epsilon)
    clean = denoising.to_clean(denoising.target(x, epsilon, log_snr), z, log_snr)
    torch.testing.assert_close(clean, x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_min_snr_weighs_the_error_of_the_clean_picture(prediction: Any) -> None:
    """Whatever is predicted: min(SNR, γ) (x − x̂)²."""
    settings = Diffusion.Settings(network="layers", width=8, prediction=prediction)
    denoising = Diffusion.build(settings, SHAPE).denoising
    x, epsilon, said = (torch.randn(5, 1, 6, 5, generator=seeded(seed)) for seed in range(3))
    log_snr = torch.tensor([-2.0, 0.0, 1.0, 2.0, 3.0]).double()
    off = denoising.to_clean(said, add_noise(x, log_snr, epsilon), log_snr) - x
    weight = min_snr_weight(log_snr, prediction, 5.0)
    ours = weight * (said - denoising.target(x, epsilon, log_snr)).square().flatten(1).mean(1)
    capped = torch.tensor([min(math.exp(float(each)), 5.0) for each in log_snr])
    wanted = capped * off.square().flatten(1).mean(1)
    torch.testing.assert_close(ours.float(), wanted, rtol=1e-4, atol=1e-6)


def test_guidance_goes_from_no_label_through_the_label_and_beyond() -> None:
    settings = Diffusion.Settings(**SMALL, by_label=True).for_model("diffusion")
    torch.manual_seed(0)
    denoising = Denoising((1, 6, 5), 2, settings)
    for parameter in denoising.parameters():
        nn.init.normal_(parameter, std=0.3)
    z, log_snr, label = torch.randn(4, 1, 6, 5), torch.tensor(0.5), torch.tensor([0, 1, 1, 0])

    def guess(guidance: float, label: torch.Tensor | None = label) -> torch.Tensor:
        return denoising.guess(z, log_snr, label, guidance)[0]

    free, asked = guess(1.0, None), guess(1.0)
    assert not torch.allclose(free, asked)
    assert torch.equal(guess(0.0), free)
    for weight in (0.25, 1.000001, 3.0):
        wanted = free + weight * (asked - free)
        torch.testing.assert_close(guess(weight), wanted, rtol=1e-4, atol=1e-4)


def test_a_hidden_label_is_none() -> None:
    """Of labels that are always hidden no vector learns, but that of no label."""
    settings = Diffusion.Settings(**SMALL, by_label=True, hide_label=1.0)
    algorithm = make(Diffusion, settings)
    gradients = Gradients(algorithm.learner)
    algorithm.update(batch_of(6))
    names = [name for name, p in algorithm.trained.named_parameters() if p.requires_grad]
    sizes = [p.numel() for p in algorithm.trained.parameters() if p.requires_grad]
    parts = dict(zip(names, gradients.flat.split(sizes), strict=True))
    label = next(part for name, part in parts.items() if name.endswith("label.weight"))
    by_vector = label.view(3, -1).norm(dim=1)
    assert by_vector[:2].eq(0).all()
    assert float(by_vector[2]) > 0


def test_times_are_spread_over_the_rows() -> None:
    """64 rows of a chain of 64 steps: every step once, and the one before it beside."""
    settings = Diffusion.Settings(
        network="layers", width=8, noise_steps=64, noise_schedule="linear"
    )
    denoising = Diffusion.build(settings, SHAPE).denoising
    log_snr, before = denoising.draw_times(64, seeded(0))
    chain = denoising.chain
    assert chain is not None
    assert torch.equal(log_snr.sort(descending=True).values, chain)
    steps = [chain.tolist().index(each) for each in log_snr.tolist()]
    wanted = [math.inf if t == 0 else float(chain[t - 1]) for t in steps]
    assert before.tolist() == wanted


def test_the_share_of_the_bound_teaches_the_variance_alone() -> None:
    settings = Diffusion.Settings(network="layers", width=8, variance="learned")
    algorithm = make(Diffusion, settings)
    rows = algorithm.add_noise(batch_of(6))
    fraction = torch.full(rows.x.shape, 0.5, requires_grad=True)
    clean = torch.zeros(rows.x.shape, requires_grad=True)
    algorithm.lose_bound(rows, clean.detach(), fraction).sum().backward()
    assert fraction.grad is not None
    assert float(fraction.grad.abs().max()) > 0
    each, _ = algorithm.lose(rows)
    plain = make(Diffusion, settings.replace(variance="learned"))
    assert each.shape == (6,)
    assert torch.isfinite(plain.lose(rows)[0]).all()


@pytest.mark.parametrize(("kind", "most", "least"), [(Diffusion, 1.1, 0.95), (Flow, 2.0, 0.7)])
def test_two_pictures_are_learned(kind: Any, most: float, least: float) -> None:
    """Two pictures of 2 × 2, as often: 0.69 nats; even chances have 2.77, and draw one of the two
    in eight. 400 small steps. A flow is to fill the cells of the levels, which is more.
    """
    shape = PictureShape(1, 2, 2, 2)
    pair = torch.tensor([[[[0, 1], [1, 0]]], [[[1, 1], [0, 0]]]], dtype=torch.uint8)
    rows = Pictures(pair.repeat(32, 1, 1, 1), torch.full((64,), -1))
    settings = kind.Settings(network="layers", width=32, layers=2, ema=0.98)
    torch.manual_seed(0)
    model = kind.build(settings, shape)
    schedule = Schedule(1e-2, 400, 20, "cosine")
    algorithm = kind(settings, model, lambda module: Learner(module, schedule), 0, Stopwatch())
    for _ in range(400):
        algorithm.update(rows)
    with torch.no_grad():
        nats = float(algorithm.model.nats(rows, seeded(1)).mean())
        drawn = algorithm.model.sample(64, seeded(2))
    assert 0.6 < nats < most
    right = (drawn[:, None] == pair).flatten(2).all(2).any(1)
    assert float(right.float().mean()) > least


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        (LatentDiffusion, {}, "base=RUN"),
        (LatentDiffusion, {"base": Path("/nowhere")}, "holds no model"),
        (Diffusion, {"noise_steps": 1}, "2 steps or more"),
        (Diffusion, {"noise_steps": 0, "variance": "learned"}, "continuous time"),
    ],
)
def test_what_cannot_be_is_said(kind: Any, given: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        kind.build(kind.Settings(**given), SHAPE)


def test_labels_that_are_not_there_are_said() -> None:
    with pytest.raises(UserError, match="no labels"):
        Diffusion.build(Diffusion.Settings(by_label=True), PictureShape(1, 4, 4, 2))


def test_a_base_of_other_pictures_is_said(tmp_path: Path) -> None:
    settings = settings_of(LatentDiffusion, tmp_path)
    with pytest.raises(UserError, match="6 × 5"):
        LatentDiffusion.build(settings, PictureShape(1, 8, 8, 17))
