"""Diffusion of pictures beside diffusers, and its own samplers beside each other.

Steps: our U-Net against diffusers' UNet2DModel of as many parameters (within 3 %), on 28 × 28
pictures of one channel, 32 a step: noise, forward, backward,
AdamW, in turn, and the loss of each after as many steps. Samplers: a small model is trained on the
digits for `--steps` steps, or `--run RUN` gives one, and 1,000 pictures are drawn by 20 steps of
DPM-Solver++ and by 1,000 of DDPM; how far each is from held-out digits is said by the Fréchet
distance of their pixels' 24 largest principal components, which needs no network.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fledge.algorithms.images.diffusion import Diffusion
from fledge.images.digits import load_digits
from fledge.learner import Learner, Schedule
from fledge.models.images.picture_model import load_picture_model
from fledge.models.images.unet import UNet
from fledge.sample.pictures import PictureBatches
from fledge.stopwatch import Stopwatch
from side_by_side import alternate, finish, judge, options, say, speed_up, table

OURS, THEIRS = "ours", "diffusers"
ROWS, SIDE = 32, 28
STEPS_AIM, SAME_LOSS = "≥ 1.3", "≤ 1.05"
COMPONENTS = 24


def make_ours() -> UNet:
    return UNet(1, 1, width=32, multiples=(1, 2, 3), blocks=1, attention_levels=1)


def make_theirs(parameters: int) -> Any:
    """As many parameters, by the width of its levels; its usual blocks otherwise."""
    from diffusers import UNet2DModel

    best: Any = None
    for width in range(8, 65, 8):
        made = UNet2DModel(
            sample_size=32, in_channels=1, out_channels=1, layers_per_block=1,
            block_out_channels=(width, 2 * width, 2 * width), norm_num_groups=8,
            down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        )  # fmt: skip
        if best is None or abs(count(made) - parameters) < abs(count(best) - parameters):
            best = made
    return best


def count(module: Any) -> int:
    return sum(p.numel() for p in module.parameters())


class Side:
    """A network, what it is told, and steps of AdamW on the noise in pictures."""

    def __init__(self, name: str, network: Any, pictures: Tensor) -> None:
        self.name, self.network, self.pictures = name, network, pictures
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
        self.generator = torch.Generator().manual_seed(0)
        self.losses: list[float] = []

    def step(self) -> None:
        draw = self.generator
        x = self.pictures[torch.randint(len(self.pictures), (ROWS,), generator=draw)]
        t = torch.randint(1000, (ROWS,), generator=draw)
        epsilon = torch.randn(x.shape, generator=draw)
        kept = torch.cos(t / 1000 * torch.pi / 2)[:, None, None, None] ** 2
        z = kept.sqrt() * x + (1 - kept).sqrt() * epsilon
        if self.name == OURS:
            said = self.network(z, torch.logit(kept.flatten().clamp(1e-5, 1 - 1e-5)))
        else:
            said = self.network(z, t).sample
        loss = (said - epsilon).square().mean()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.losses.append(float(loss.detach()))


def compare_steps(rounds: int, learns: int) -> tuple[dict[str, float], dict[str, Any]]:
    digits = load_digits().rows.x.float() / 8 - 1
    pictures = torch.nn.functional.interpolate(digits, (SIDE, SIDE), mode="bilinear")
    torch.manual_seed(0)
    ours = make_ours()
    theirs = make_theirs(count(ours))
    sides = {
        name: Side(name, network, pictures) for name, network in ((OURS, ours), (THEIRS, theirs))
    }
    times = alternate({name: side.step for name, side in sides.items()}, rounds, warm=2)
    for _ in range(learns - rounds):
        for side in sides.values():
            side.step()
    last = {name: sum(side.losses[-20:]) / 20 for name, side in sides.items()}
    figures = {
        "parameters": {name: count(side.network) for name, side in sides.items()},
        "seconds_a_step": {name: sorted(each)[len(each) // 2] for name, each in times.items()},
        "loss_of_the_last_20": last,
        "steps_learned": learns,
    }
    ratios = {"training steps/s to diffusers": speed_up(times, OURS, THEIRS)}
    if learns > 20:
        ratios["loss to diffusers'"] = last[OURS] / last[THEIRS]
    return ratios, figures


def train(steps: int) -> Any:
    """On the digits, by the algorithm itself."""
    given = load_digits()
    settings = Diffusion.Settings()
    torch.manual_seed(0)
    model = Diffusion.build(settings, given.shape)
    schedule = Schedule(2e-3, steps, 50, "cosine")
    algorithm = Diffusion(settings, model, lambda module: Learner(module, schedule), 0, Stopwatch())
    batches = PictureBatches(given, 64, 0)
    for _ in range(steps):
        algorithm.update(next(batches))
    return algorithm.model


def components() -> Tensor:
    """[64, 24], of the digits."""
    x = load_digits().rows.x.flatten(1).double()
    return torch.linalg.svd(x - x.mean(0), full_matrices=False).Vh[:COMPONENTS].T


def frechet(a: Tensor, b: Tensor) -> float:
    """|μ_a − μ_b|² + tr(C_a + C_b − 2 (C_a C_b)^½) (Heusel et al. 2017, eq. 6).  [N, F] twice"""
    mean = (a.mean(0) - b.mean(0)).square().sum()
    one, other = a.T.cov(), b.T.cov()
    values, vectors = torch.linalg.eigh(one)
    root = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T
    product = torch.linalg.eigvalsh(root @ other @ root).clamp(min=0).sqrt().sum()
    return float(mean + one.trace() + other.trace() - 2 * product)


def compare_samplers(model: Any, pictures: int, many: int) -> tuple[dict[str, float], Any]:
    held_out = load_digits().rows.x.flatten(1).double() @ components()
    figures: dict[str, Any] = {}
    half = torch.randperm(len(held_out), generator=torch.Generator().manual_seed(0))
    a, b = held_out[half[: len(half) // 2]], held_out[half[len(half) // 2 :]]
    figures["two halves of the digits"] = {"frechet": frechet(a, b)}
    for name, sampler, steps in (
        ("dpm++", "dpm++", 20), ("ddim", "ddim", 20), ("ddpm, few", "ddpm", 20),
        ("ddpm", "ddpm", many),
    ):  # fmt: skip
        model.settings.update(sampler=sampler, sampling_steps=steps)
        began = time.perf_counter()
        with torch.no_grad():
            drawn = model.sample(pictures, torch.Generator().manual_seed(1))
        distance = frechet(drawn.flatten(1).double() @ components(), held_out)
        seconds = time.perf_counter() - began
        figures[name] = {"steps": steps, "frechet": distance, "seconds": seconds}
        say(f"{name}, {steps} steps: Fréchet distance {distance:.2f} in {seconds:.1f} s")
    ratio = figures["dpm++"]["frechet"] / figures["ddpm"]["frechet"]
    return {"Fréchet distance of 20 steps of DPM-Solver++ to DDPM's": ratio}, figures


def main() -> None:
    given = options(
        __doc__, run="a run of `fledge imagine model=diffusion` on the digits",
        steps="of the training, where no run is given (600)", pictures="drawn by each (1000)",
        many="steps of DDPM (1000)",
    )  # fmt: skip
    quick = given.quick
    ratios: dict[str, float] = {}
    figures: dict[str, Any] = {}
    aims: list[Any] = []
    try:
        ratios, figures = compare_steps(2 if quick else 15, 2 if quick else 60)
    except ImportError as error:
        say(f"diffusers is not here ({error})")
        aims.append(
            {"name": "training steps/s to diffusers (it is not installed)", "figure": 0.0,
             "aim": STEPS_AIM, "holds": False}
        )  # fmt: skip
    if given.run:
        model: Any = load_picture_model(Path(given.run) / "model")
    else:
        model = train(int(given.steps or (5 if quick else 600)))
    pictures, many = (32, 40) if quick else (int(given.pictures or 1000), int(given.many or 1000))
    own, seen = compare_samplers(model, pictures, many)
    ratios |= own
    figures["samplers"] = seen
    if "loss to diffusers'" in ratios:
        aims.append(judge("loss to diffusers' after as many steps", ratios["loss to diffusers'"],
                          SAME_LOSS))  # fmt: skip
    rows = [
        (name, each.get("steps", ""), f"{each['frechet']:.2f}", f"{each.get('seconds', 0):.1f}")
        for name, each in seen.items()
    ]
    text = table(("sampler", "steps", "Fréchet", "s"), rows)
    finish(
        given.json, text, ratios, figures,
        {"training steps/s to diffusers": STEPS_AIM,
         "Fréchet distance of 20 steps of DPM-Solver++ to DDPM's": "≤ 1.05"},
        aims,
    )  # fmt: skip


if __name__ == "__main__":
    main()
