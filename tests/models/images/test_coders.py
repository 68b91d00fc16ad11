"""Codes of numbers, and back: what a diffusion of them stands on."""

from __future__ import annotations

import math

import pytest
import torch

from fledge.algorithms.images.vae import VAE
from fledge.algorithms.images.vq import VQ
from fledge.errors import UserError
from fledge.images.pictures import Pictures, PictureShape
from fledge.models.images.coders import coder_of
from fledge.models.images.diffusion import Diffusion
from tests.subjects import seeded

SHAPE = PictureShape(1, 8, 8, 17)
X = torch.randint(0, 17, (5, 1, 8, 8), generator=seeded(0)).to(torch.uint8)


def test_what_a_code_costs_is_the_bound_of_one_draw() -> None:
    """log q(z | x) − log p(x | z) − log p(z), of a standard normal prior, is what the VAE says."""
    torch.manual_seed(0)
    vae = VAE.build(VAE.Settings(latents=3, width=16, draws=1), SHAPE)
    rows = Pictures(X, torch.full((5,), -1))
    code, nats = coder_of(vae).code_nats(rows, seeded(1))
    prior = 0.5 * (code.flatten(1) ** 2 + math.log(2 * math.pi)).sum(1)
    torch.testing.assert_close(nats + prior, vae.nats(rows, seeded(1)), rtol=1e-5, atol=1e-4)


def test_a_code_before_it_is_rounded_goes_back_as_the_rounded_one() -> None:
    torch.manual_seed(0)
    vq = VQ.build(VQ.Settings(codes=8, channels=8, prior_width=16, prior_layers=1), SHAPE)
    coder = coder_of(vq)
    code = coder.encode(X, seeded(1))
    assert code.shape == (5, *coder.size)
    assert torch.equal(coder.decode(code, seeded(1)), vq.settle(vq.encode(X)))


def test_a_model_without_codes_is_said() -> None:
    settings = {"by_label": False, "noise_schedule": "cosine", "noise_steps": 9, "prediction": "v",
                "variance": "small", "network": "layers", "width": 4, "layers": 1}  # fmt: skip
    with pytest.raises(UserError, match="makes no codes"):
        coder_of(Diffusion(SHAPE, settings))
