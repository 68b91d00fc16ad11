"""A rectified flow of pictures (Liu, Gong & Liu 2022, arXiv:2209.03003; Lipman et al. 2022,
arXiv:2210.02747): a velocity that carries noise to pictures along lines, x_t = (1 − t) x + t ε, and
the density of what it carries.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, ClassVar, Literal, get_args

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from fledge.images.pictures import Pictures, PictureShape
from fledge.models.images.layer_denoiser import LayerDenoiser
from fledge.models.images.picture_model import PictureModel
from fledge.models.images.unet import UNet

Solver = Literal["euler", "heun"]
SOLVERS: tuple[Solver, ...] = get_args(Solver)
ENDS = 1e-4  # times nearer to 0 or 1 are told to the network as this: there log-SNR has no end


class FlowSampling(BaseModel):
    """How pictures are drawn: settings of the training, and fields of `fledge sample`."""

    solver: Solver = Field(
        default="heun", description="of the flow: euler, or heun, which asks twice a step"
    )
    sampling_steps: int = Field(default=20, ge=1, description="steps from noise to a picture")
    guidance: float = Field(
        default=1.0,
        ge=0,
        description="of a model by label: 0 looks at no label, 1 is the model's own, more goes "
        "beyond it",
    )


def carry(
    speed: Callable[[Tensor, Tensor], Tensor], x: Tensor, times: Tensor, solver: Solver
) -> Tensor:
    """x at times[0] along a velocity (x, t []) to x at the last of them."""
    for t, s in pairwise(times):
        slope, step = speed(x, t), float(s - t)
        if solver == "heun":
            slope = (slope + speed(x + step * slope, s)) / 2
        x = x + step * slope
    return x


class Flow(PictureModel):
    """settings: network with its width and depth; by_label; solver, sampling_steps, guidance;
    judged_steps (of the flow, for each picture that is judged).
    """

    name = "flow"
    measure = "estimate"
    sampling: ClassVar[type[BaseModel] | None] = FlowSampling

    def __init__(self, shape: PictureShape, settings: Mapping[str, Any]) -> None:
        super().__init__(shape, settings)
        own, labels = self.settings, len(shape.names) if self.settings["by_label"] else 0
        if own["network"] == "layers":
            self.network: nn.Module = LayerDenoiser(
                shape.numbers, 1, width=own["width"], layers=own["layers"], labels=labels
            )
        else:
            self.network = UNet(
                shape.channels, shape.channels, width=own["width"], multiples=own["multiples"],
                blocks=own["blocks"], attention_levels=own["attention_levels"], labels=labels,
                dropout=own["dropout"],
            )  # fmt: skip

    @property
    def by_label(self) -> bool:
        return self.settings["by_label"]

    def to_numbers(self, x: Tensor, uniform: Tensor) -> Tensor:
        """A place within each level, so that there is a density: 2 (x + u) / L − 1 (Uria, Murray &
        Larochelle 2013, RNADE, §5.1).  [B, C, H, W] uint8, u from 0 to 1 -> from −1 to 1
        """
        return (x.float() + uniform) * (2 / self.shape.levels) - 1

    def to_pictures(self, numbers: Tensor) -> Tensor:
        """Back: the level that each number lies in."""
        levels = self.shape.levels
        return ((numbers + 1) * (levels / 2)).floor().clamp(0, levels - 1).to(torch.uint8)

    def velocity(
        self, x: Tensor, time: Tensor, label: Tensor | None = None, guidance: float = 1.0
    ) -> Tensor:
        """ε − x, expected at x_t. time: [B], 0 the picture and 1 the noise. guidance: as of
        `Denoising.guess`.
        """
        t = time.double().clamp(ENDS, 1 - ENDS)
        log_snr = (2 * torch.log((1 - t) / t)).float()
        if label is not None and guidance not in (0.0, 1.0):
            none = torch.full_like(label, -1)
            said = self.network(
                torch.cat([x, x]), torch.cat([log_snr] * 2), torch.cat([none, label])
            )
            free, asked = said.float().chunk(2)
            return free + guidance * (asked - free)
        return self.network(x, log_snr, None if guidance == 0 else label).float()

    def sample(self, count: int, generator: torch.Generator, label: Tensor | None = None) -> Tensor:
        own = self.settings
        device = next(self.parameters()).device
        x = torch.randn(count, *self.shape.size, generator=generator).to(device)
        times = torch.linspace(1, 0, own["sampling_steps"] + 1, dtype=torch.float64)

        def speed(x: Tensor, t: Tensor) -> Tensor:
            return self.velocity(x, t.expand(len(x)), label, own["guidance"])

        return self.to_pictures(carry(speed, x, times, own["solver"]))

    def nats(self, rows: Pictures, generator: torch.Generator) -> Tensor:
        """−log p(x) of the cell of x's levels, by one place in it: log p_0(x_0) = log N(x_1) + ∫
        ∇·v dt along the flow (Chen et al. 2018, eq. 8), the divergence by one vector of signs
        (Hutchinson 1990; Grathwohl et al. 2019), by Heun's steps. Its expectation is not less than
        −log p(x) but for the error of the steps.
        """
        uniform = torch.rand(rows.x.shape, generator=generator).to(rows.x.device)
        x = self.to_numbers(rows.x, uniform)
        signs = (2 * torch.randint(0, 2, x.shape, generator=generator) - 1).to(x)
        gained = x.new_zeros(len(x), dtype=torch.float64)
        steps = self.settings["judged_steps"]
        # Finer where the picture is nearly clean: there the flow bends most.
        times = torch.linspace(0, 1, steps + 1, dtype=torch.float64) ** 2

        def move(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                speed = self.velocity(x, t.expand(len(x)))
                [pulled] = torch.autograd.grad((speed * signs).sum(), x)
            return speed.detach(), (pulled * signs).flatten(1).sum(1).double()

        for t, s in pairwise(times):
            step = float(s - t)
            speed, widened = move(x, t)
            again, widened_again = move(x + step * speed, s)
            x = x + step / 2 * (speed + again)
            gained = gained + step / 2 * (widened + widened_again)
        density = -0.5 * (x.double() ** 2 + math.log(2 * math.pi)).flatten(1).sum(1) + gained
        return -(density + self.shape.numbers * math.log(2 / self.shape.levels))
