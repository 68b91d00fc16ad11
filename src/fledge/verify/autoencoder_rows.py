"""Rows of autoencoders of pictures: a VAE's bounds against integrals over its code, a discrete
one's against the sum over all codes.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from fledge.algorithms.images.vae import VAE
from fledge.algorithms.images.vq import VQ
from fledge.exact.integrated_code import IntegratedCode, lay_grid, quadrature
from fledge.images.pictures import Pictures, PictureShape
from fledge.models.images.vae import VAE as VAEModel
from fledge.models.normal_codes import kl_to_standard
from fledge.verify.rows import RowCurves, TableRow

ROUNDING = 1e-3  # networks in float32
SHAPE = PictureShape(1, 2, 2, 2)
NODES = 64  # of a quadrature over a code
EACH = 24  # of one over each of several codes: enough to see that bounds rise


def make_vae(latents: int, network: str) -> tuple[VAEModel, Tensor]:
    """Far from its start, so that q is neither the prior nor the posterior; and a picture."""
    torch.manual_seed(latents)
    settings = VAE.Settings.model_validate(
        {"latents": latents, "network": network, "width": 32, "layers": 1}
    )
    model = VAE.build(settings, SHAPE).eval()
    for weight in model.parameters():
        weight.mul_(1.5).add_(0.2 * torch.randn(weight.shape))
    return model, torch.tensor([[[[1, 0], [1, 1]]]], dtype=torch.uint8)


def integrate(model: VAEModel, x: Tensor) -> IntegratedCode:
    """The Bernoulli likelihood written out, at every point of a grid."""
    # So far that nothing of q lies beyond: a mean of −3 with a deviation of 2.4 came about.
    z, cell = lay_grid(1, 24.0, 4001) if model.latents == 1 else lay_grid(2, points=301)
    logits = model.decode(z.float()).double().flatten(1)
    ink = x.double().flatten()
    log_p = -(ink * (-logits).exp().log1p() + (1 - ink) * logits.exp().log1p()).sum(1)
    return IntegratedCode(log_p, z, cell)


def bound_row(number: int, latents: int, network: str) -> TableRow:
    """log p(x) = ELBO + KL(q ‖ p(z | x)), with the ELBO as it is trained."""
    model, x = make_vae(latents, network)
    whole = integrate(model, x)
    noise, weight = quadrature(latents, NODES)
    mean, log_deviation = model.encode(x)
    log_p, _ = model.log_weights(x, mean, log_deviation, noise.float()[None])
    kl = float(kl_to_standard(mean, log_deviation).sum())
    elbo = float((log_p[0].double() * weight).sum()) - kl
    gap = whole.gap(mean[0], log_deviation[0].exp())
    error = abs(elbo + gap - whole.evidence)
    return TableRow(
        f"G7.{number}", f"VAE, {network}, z of {latents}", "log p(x) = ELBO + KL(q ‖ p(z|x))",
        error, ROUNDING, f"{whole.evidence:.4f} = {elbo:.4f} + {gap:.4f} nats, to {error:.0e}",
    )  # fmt: skip


def importance_row() -> TableRow:
    """Its expectation over all K codes at once, by quadrature in K dimensions; of one code it is
    log p(x) less the distance to the posterior.
    """
    model, x = make_vae(1, "mlp")
    whole = integrate(model, x)
    exact = whole.evidence
    mean, log_deviation = model.encode(x)
    bounds: list[float] = []
    for K in (1, 2, 3):
        noise, weight = quadrature(K, NODES if K == 1 else EACH)  # a row is K codes of one number
        N = len(noise)
        log_p, log_ratio = model.log_weights(
            x.expand(N, -1, -1, -1), mean.expand(N, 1), log_deviation.expand(N, 1),
            noise.float()[..., None],
        )  # fmt: skip
        each = (log_p + log_ratio).double().logsumexp(1) - math.log(K)
        bounds.append(float((each * weight).sum()))
    rises = min(after - before for before, after in itertools.pairwise(bounds))
    elbo = exact - whole.gap(mean[0], log_deviation[0].exp())
    figure = max(-rises, bounds[-1] - exact, abs(bounds[0] - elbo))
    said = " → ".join(f"{each:.4f}" for each in bounds)
    curve = RowCurves(
        "Importance-weighted bound", "nats", "codes of a picture",
        {"bound": ([1.0, 2.0, 3.0], bounds), "log p(x)": ([1.0, 3.0], [exact, exact])}, said,
    )  # fmt: skip
    return TableRow(
        "G7.3", "VAE, importance-weighted", "the bound rises with codes, and stays below log p(x)",
        figure, ROUNDING, f"of 1, 2, 3 codes: {said}; log p(x) {exact:.4f}", curves=(curve,),
    )  # fmt: skip


def discrete_row(number: int, quantiser: str) -> TableRow:
    """Rate and distortion beside the sum over all 3⁴ codes, which the prior makes 1."""
    torch.manual_seed(3)
    settings = VQ.Settings.model_validate(
        {
            "quantiser": quantiser, "codes": 3, "code_width": 2, "levels": (3,), "channels": 4,
            "prior_layers": 1, "prior_width": 8, "prior_heads": 2,
        }
    )  # fmt: skip
    model = VQ.build(settings, PictureShape(1, 4, 4, 2)).eval()
    for weight in model.parameters():
        weight.mul_(2)
    codes = torch.tensor(list(itertools.product(range(3), repeat=4)))
    prior = model.prior.log_prob_of(codes, torch.full((len(codes),), -1)).double().exp()
    x = (torch.rand(8, 1, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.5).to(torch.uint8)
    p = model.decode(codes).double().sigmoid().flatten(1)
    like = torch.where(x.flatten(1)[:, None] == 1, p, 1 - p).prod(2)  # [8, 81]
    exact = -(like @ prior).log()
    own = (codes == model.encode(x)[:, None]).all(2).double()  # [8, 81]
    by_hand = -(own * (like * prior)).sum(1).log()
    said = model.nats(Pictures(x, torch.full((8,), -1)), torch.Generator()).double()
    error = max(float((said - by_hand).abs().max()), abs(float(prior.sum()) - 1))
    below = float((exact - said).max())  # a bound is never below
    return TableRow(
        f"G10.{number}", f"discrete autoencoder, {quantiser}",
        "rate + distortion ≥ −log Σ_c p(c) p(x|c), and Σ_c p(c) = 1", max(error, below), ROUNDING,
        f"{float(said.mean()):.4f} ≥ {float(exact.mean()):.4f} nats, to {error:.0e}",
    )  # fmt: skip


@torch.no_grad()
def autoencoder_rows() -> list[TableRow]:
    return [
        bound_row(1, 1, "mlp"), bound_row(2, 2, "conv"), importance_row(),
        discrete_row(1, "nearest"), discrete_row(2, "rounded"),
    ]  # fmt: skip
