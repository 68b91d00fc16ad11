"""Vectors of a text autoencoder with a diffusion as its prior."""

from __future__ import annotations

import math

import torch

from fledge.models.language.text_diffusion import TextDiffusion
from tests.models.language.sentences import SMALL, rows_of, spread, tokenizer

OWN = {"denoiser_width": 8, "denoiser_layers": 1, "least_noise": 0.2, "sampling_steps": 8}


def make(draws: int = 4) -> TextDiffusion:
    model = TextDiffusion(tokenizer(), {**SMALL, **OWN, "latents": 3, "draws": draws})
    spread(model.coder, seed=3)
    spread(model.to_vector, seed=4)
    return model.eval().double()


def test_vectors_have_a_mean_square_of_one_and_ends_are_said_again() -> None:
    model = make()
    z = model.embed(["ab", "bbb", ""])
    torch.testing.assert_close(z.square().mean(1), torch.ones(3, dtype=torch.float64))
    path = model.between(z[0], z[1], 6)
    torch.testing.assert_close(path[[0, -1]], z[:2])
    torch.testing.assert_close(path.square().mean(1), torch.ones(6, dtype=torch.float64))
    said = model.say(path)
    assert [said[0], said[-1]] == model.say(z[:2])


def test_what_is_not_noised_is_not_varied_and_what_is_forgotten_is_drawn() -> None:
    """All of the noise leaves 0.05 of a vector: nothing of where it came from is seen."""
    model = make()
    z = model.embed(["ab", "bbb"])
    assert torch.equal(model.vary(z, 0.0, torch.Generator()), z)
    little, much = (
        (model.vary(z, noise, torch.Generator().manual_seed(1)) - z).norm() for noise in (0.1, 0.9)
    )
    assert float(little) < 0.5 * float(much)
    drawn = model.draw(2, torch.Generator().manual_seed(1))
    other = model.vary(0 * z, 1.0, torch.Generator().manual_seed(1))
    torch.testing.assert_close(drawn.double(), other, rtol=0, atol=0.02)


def test_the_bound_is_its_two_parts() -> None:
    """A fresh prior takes KL(q(z₀ | x) ‖ N(0, 1)) = −Z log σ₀ where the mean square is 1; the rest
    is what the writer takes for z₀, by draws of its own. Within 5 deviations.
    """
    draws, copies = 3, 1000
    model, rows = make(draws), rows_of("ab", "b")
    with torch.no_grad():
        many = rows[torch.arange(2).repeat(copies)]
        every = model.nats(many, torch.Generator().manual_seed(2)).view(copies, 2)
        x = model.encode(rows)
        noise = torch.randn(
            copies, 2, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64
        )
        z = math.sqrt(1 - 0.2**2) * x + 0.2 * noise
        spoken = model.coder.log_likelihood(many, z.flatten(0, 1)).view(copies, 2)
    wanted = -3 * math.log(0.2) - spoken.mean(0)
    deviation = (every.var(0) / copies + spoken.var(0) / copies).sqrt()
    assert bool(((every.mean(0) - wanted).abs() < 5 * deviation).all())
