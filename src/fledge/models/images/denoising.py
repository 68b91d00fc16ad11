"""The middle of every diffusion: a network that says the clean picture in a noisy one, what it is
trained by, the bound of what it makes, and pictures drawn with it. Of numbers of any kind: those of
a picture, or of its code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from fledge.models.images.diffusion_bound import (
    draw_log_snrs,
    draw_steps,
    prior_nats,
    step_nats,
)
from fledge.models.images.layer_denoiser import LayerDenoiser
from fledge.models.images.noise_levels import (
    CLEANEST,
    NOISIEST,
    Schedule,
    add_noise,
    noise,
    signal,
    spread,
)
from fledge.models.images.samplers import Guess, Sampler, choose_levels, walk
from fledge.models.images.unet import UNet

Prediction = Literal["epsilon", "v", "x"]
PREDICTIONS: tuple[Prediction, ...] = get_args(Prediction)
Variance = Literal["small", "large", "learned"]
VARIANCES: tuple[Variance, ...] = get_args(Variance)
NOISIEST_SAMPLED = -10.0  # below it α < 0.007: a picture is noise already, and x̂ the average

Decode = Callable[[Tensor, Tensor], Tensor]
"""(z_1, λ_1) -> −log p(x | z_1) of each row, [B]."""


class Denoising(nn.Module):
    """size: (C, H, W) of what is made. labels: that it can be asked by; 0: none. bounded: whether
    the numbers lie between −1 and 1, so that no guess is beyond. cleanest: λ above which noise is
    none. settings: noise_schedule, noise_steps,
    prediction, variance, network with its width and depth, sampler, sampling_steps, eta.
    """

    def __init__(
        self,
        size: tuple[int, int, int],
        labels: int,
        settings: Mapping[str, Any],
        *,
        bounded: bool = False,
        cleanest: float = CLEANEST,
    ) -> None:
        super().__init__()
        self.size, self.labels, self.bounded, self.settings = size, labels, bounded, settings
        self.prediction: Prediction = settings["prediction"]
        self.variance: Variance = settings["variance"]
        self.schedule = Schedule(settings["noise_schedule"], settings["noise_steps"], cleanest)
        self.chain = self.schedule.levels() if self.schedule.steps else None  # [T], on the CPU
        C, H, W = size
        outputs = 2 if self.variance == "learned" else 1
        if settings["network"] == "layers":
            self.network: nn.Module = LayerDenoiser(
                C * H * W, outputs, width=settings["width"], layers=settings["layers"],
                labels=labels,
            )  # fmt: skip
        else:
            self.network = UNet(
                C, outputs * C, width=settings["width"], multiples=settings["multiples"],
                blocks=settings["blocks"], attention_levels=settings["attention_levels"],
                labels=labels, dropout=settings["dropout"],
            )  # fmt: skip

    @property
    def ends(self) -> tuple[float, float]:
        """λ of the noisiest and of the cleanest step."""
        if self.chain is None:
            return NOISIEST, self.schedule.cleanest
        return float(self.chain[-1]), float(self.chain[0])

    def draw_times(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """λ at times drawn evenly, spread over the rows with one offset (Kingma et al. 2021,
        appendix I.1), and of the step before, ∞ before the first; in continuous time itself.  ->
        [B] twice, float64
        """
        u = torch.rand((), generator=generator, dtype=torch.float64)
        u = (u + torch.arange(count, dtype=torch.float64) / count) % 1
        u = u[torch.randperm(count, generator=generator)]
        if self.chain is None:
            log_snr = self.schedule.at(u)
            return log_snr, log_snr
        t = (u * len(self.chain)).long()
        before = torch.cat([torch.tensor([torch.inf], dtype=torch.float64), self.chain])
        return self.chain[t], before[t]

    def ask(self, z: Tensor, log_snr: Tensor, label: Tensor | None) -> tuple[Tensor, Any]:
        """What the network says, as it was trained to; and the fraction of the variance.
        log_snr: [B]
        """
        said = self.network(z, log_snr.float(), label).float()
        if self.variance == "learned":
            said, fraction = said.chunk(2, 1)
            return said, (fraction + 1) / 2
        return said, float(self.variance == "large")

    def to_clean(self, said: Tensor, z: Tensor, log_snr: Tensor) -> Tensor:
        """x̂ out of what was said at λ, [B]."""
        each = spread(log_snr, z)
        a, s = signal(each).to(z), noise(each).to(z)
        if self.prediction == "epsilon":
            return (z - s * said) / a
        return a * z - s * said if self.prediction == "v" else said

    def target(self, x: Tensor, epsilon: Tensor, log_snr: Tensor) -> Tensor:
        """What the network ought to say: ε, v = α ε − σ x (Salimans & Ho 2022,
        arXiv:2202.00512, appendix D) or x.
        """
        each = spread(log_snr, x)
        if self.prediction == "v":
            return signal(each).to(x) * epsilon - noise(each).to(x) * x
        return epsilon if self.prediction == "epsilon" else x

    def guess(
        self, z: Tensor, log_snr: Tensor, label: Tensor | None = None, guidance: float = 1.0
    ) -> Guess:
        """x̂ and the fraction of the variance. log_snr: [B] or []. guidance: 0 looks at no label, 1
        is p(x | label), more goes beyond: x̂ = x̂_∅ + w (x̂_label − x̂_∅) (Ho & Salimans 2022,
        arXiv:2207.12598, eq. 6, with w for their 1 + w).
        """
        log_snr = log_snr.to(z.device).expand(len(z))
        if label is not None and guidance not in (0.0, 1.0):
            none = torch.full_like(label, -1)
            both = torch.cat([z, z]), torch.cat([log_snr] * 2), torch.cat([none, label])
            said, fraction = self.ask(*both)
            if isinstance(fraction, Tensor):
                fraction = fraction.chunk(2)[1]
            free, asked = self.to_clean(said, both[0], both[1]).chunk(2)
            x = free + guidance * (asked - free)
        else:
            said, fraction = self.ask(z, log_snr, None if guidance == 0 else label)
            x = self.to_clean(said, z, log_snr)
        return x.clamp(-1, 1) if self.bounded else x, fraction

    def bound(self, x: Tensor, decode: Decode, count: int, generator: torch.Generator) -> Tensor:
        """Nats of each row, not fewer than −log p(x) in expectation; of no label. count: steps that
        the network is asked at for each, all of them from noise_steps − 1 on.  -> [B] float64
        """
        noisiest, cleanest = (torch.tensor(end, dtype=torch.float64) for end in self.ends)

        def noised(log_snr: Tensor) -> Tensor:
            epsilon = torch.randn(x.shape, generator=generator).to(x)
            return add_noise(x, log_snr.to(x.device), epsilon)

        nats = prior_nats(x, noisiest) + decode(noised(cleanest), cleanest)
        offset = torch.rand(len(x), generator=generator, dtype=torch.float64)
        if self.chain is None:
            drawn, weights = draw_log_snrs(self.ends, count, offset)
            before = drawn
        else:
            places, weights = draw_steps(self.chain, count, offset)
            drawn, before = self.chain[places], self.chain[places - 1]
        for t, s, weight in zip(drawn.T, before.T, weights.T, strict=True):
            t, s = t.to(x.device), s.to(x.device)
            guess, fraction = self.guess(noised(t), t)
            if self.chain is None:
                each = 0.5 * spread(t, x).exp() * (x.double() - guess.double()) ** 2
            else:
                each = step_nats(x, guess, fraction, t, s)
            nats = nats + weight.to(x.device) * each.flatten(1).sum(1)
        return nats

    def draw(
        self,
        count: int,
        generator: torch.Generator,
        label: Tensor | None = None,
        watch: Callable[[Tensor], None] = lambda guess: None,
    ) -> Tensor:
        """By the sampler of the settings; `watch` sees every guess.  -> [count, C, H, W]"""
        own = self.settings
        sampler: Sampler = own["sampler"]
        device = next(self.parameters()).device

        def noise_like(z: Tensor) -> Tensor:
            return torch.randn(z.shape, generator=generator).to(z)

        def denoise(z: Tensor, log_snr: Tensor) -> Guess:
            x, fraction = self.guess(z, log_snr, label, own["guidance"])
            watch(x)
            return x, fraction

        noisiest, cleanest = self.ends
        if sampler in ("dpm++", "heun"):
            noisiest = max(noisiest, NOISIEST_SAMPLED)
        chain = self.chain if sampler in ("ddpm", "ddim") else None
        steps = own["sampling_steps"]
        if chain is not None:
            steps = min(steps, len(chain))
        levels = choose_levels(sampler, chain, (noisiest, cleanest), steps)
        z = torch.randn(count, *self.size, generator=generator).to(device)
        return walk(sampler, denoise, z, levels, noise_like, own["eta"])
