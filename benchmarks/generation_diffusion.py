"""Diffusion of pictures beside diffusers, and its own samplers beside each other.

Steps: our U-Net against diffusers' UNet2DModel of as many parameters (within 3 %), on 28 × 28
pictures of one channel, 32 a step: noise, forward, backward,
AdamW, in turn, and the loss of each after as many steps. Samplers: `fledge imagine model=diffusion`
is run on the digits as it is (or for `--steps` steps, or `--run RUN` is such a run), and 1,000
pictures are drawn by 20 steps of DPM-Solver++, without noise and with it (its SDE), and by 1,000 of
DDPM, each `--draws` times, with the seeds 11, 12, … that begin all of them at the same noise. How
far each is from real digits is said by two Fréchet distances: of the features by which every run is
judged, and of the 24 largest principal components of the pixels, which need no network. A distance
moves much from draw to draw, so that a ratio is one of sums over draws, with 95 % of it by the
bootstrap over pairs of one seed: the aim holds where both ends do, is missed where both miss it,
and is undecided between. A draw of DDPM takes seven minutes of the default U-Net, and seconds of a
run with `network=layers`. `--part samplers` leaves diffusers out.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import fledge
from fledge.evaluate.frechet import frechet_distance
from fledge.evaluate.intervals import ratio_interval
from fledge.evaluate.picture_quality import Yardstick
from fledge.images.digits import load_digits
from fledge.models.images.picture_model import load_picture_model
from fledge.models.images.unet import UNet
from fledge.recipes.images.data import read_parts
from fledge.recipes.images.imagine import ImagineConfig
from fledge.recipes.images.quality import find_encoder
from side_by_side import alternate, finish, judge, options, say, speed_up, table

OURS, THEIRS = "ours", "diffusers"
ROWS, SIDE = 32, 28
STEPS_AIM, SAME_LOSS, AS_GOOD = "≥ 1.3", "≤ 1.05", "≤ 1.05"
COMPONENTS = 24
FLOW, NOISY, ALL = "DPM-Solver++", "DPM-Solver++, eta=1", "DDPM"
FIRST_SEED = 11


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


def train(folder: Path, steps: str | None, quick: bool) -> Path:
    """On the digits, as a user does."""
    fields: dict[str, Any] = {"steps": int(steps)} if steps else {}
    if quick:
        fields = {"steps": 5, "warmup_steps": 1}
    fledge.imagine(
        model="diffusion", out=folder, precision="fp32", compile="no", samples=0, judged_samples=0,
        **fields,
    )  # fmt: skip
    return folder


class Distances:
    """From the real digits: of the features that every run is judged by, and of pixels alone."""

    def __init__(self, run: Path) -> None:
        config = ImagineConfig.read({"model": "diffusion"})
        parts = read_parts(config)
        train, held_out = parts["train"], parts["validation"].join(parts["test"])
        self.yardstick = Yardstick(find_encoder(train, run), train, held_out)
        pixels = train.rows.x.flatten(1).double()
        self.axes = torch.linalg.svd(pixels - pixels.mean(0), full_matrices=False).Vh[:COMPONENTS].T
        self.pixels = pixels @ self.axes
        self.held_out = held_out.rows.x

    def __call__(self, x: Tensor) -> dict[str, float]:
        """x: [N, C, H, W] uint8"""
        return {
            "features": self.yardstick.frechet_of_few(x, len(x)),
            "pixels": frechet_distance(x.flatten(1).double() @ self.axes, self.pixels),
        }


def compare_samplers(
    run: Path, pictures: int, many: int, draws: int
) -> tuple[dict[str, float], dict[str, Any], list[dict[str, Any]]]:
    """-> ratios, figures, and the aim at either end of what a ratio may be"""
    model: Any = load_picture_model(run / "model")
    measure = Distances(run)
    figures: dict[str, Any] = {
        f"{len(measure.held_out)} held-out digits": measure(measure.held_out),
    }
    for name, sampler, steps, eta, lots in (
        (FLOW, "dpm++", 20, 0.0, draws), (NOISY, "dpm++", 20, 1.0, draws),
        ("ddim", "ddim", 20, 0.0, 1), ("ddpm, few", "ddpm", 20, 0.0, 1),
        (ALL, "ddpm", many, 0.0, draws),
    ):  # fmt: skip
        model.settings.update(sampler=sampler, sampling_steps=steps, eta=eta)
        each: list[dict[str, float]] = []
        taken = 0.0
        for seed in range(FIRST_SEED, FIRST_SEED + lots):
            began = time.process_time()
            with torch.no_grad():
                x = model.sample(pictures, torch.Generator().manual_seed(seed))
            taken += time.process_time() - began
            each.append(measure(x))
            say(f"{name}, {steps} steps, seed {seed}: {each[-1]}")
        mean = {key: statistics.mean(one[key] for one in each) for key in each[0]}
        figures[name] = {"steps": steps, **mean, "seconds": taken / lots, "draws": each}
    ratios: dict[str, float] = {}
    aims: list[dict[str, Any]] = []
    for name in (FLOW, NOISY):
        for key in ("features", "pixels"):
            own, theirs = ([one[key] for one in figures[side]["draws"]] for side in (name, ALL))
            title = f"Fréchet distance of {key}: 20 steps of {name} / {many:,} of DDPM"
            ratios[title] = sum(own) / sum(theirs)
            low, high = ratio_interval(own, theirs)
            say(f"{title}: {ratios[title]:.3f}, 95 % of it {low:.3f} to {high:.3f}")
            aims += [judge(f"{title}, upper end of 95 %", high, AS_GOOD),
                     judge(f"{title}, lower end", low, AS_GOOD)]  # fmt: skip
    return ratios, figures, aims


def main() -> None:
    given = options(
        __doc__, run="a run of `fledge imagine model=diffusion` on the digits",
        steps="of the training, where no run is given (as imagine has them)",
        pictures="drawn by each (1000)", many="steps of DDPM (1000)",
        draws="of DPM-Solver++ and of DDPM (5)", part="samplers: those alone",
    )  # fmt: skip
    quick = given.quick
    ratios: dict[str, float] = {}
    figures: dict[str, Any] = {}
    aims: list[Any] = []
    try:
        if given.part != "samplers":
            ratios, figures = compare_steps(2 if quick else 15, 2 if quick else 60)
    except ImportError as error:
        say(f"diffusers is not here ({error})")
        aims.append(
            {"name": "training steps/s to diffusers (it is not installed)", "figure": 0.0,
             "aim": STEPS_AIM, "holds": False}
        )  # fmt: skip
    pictures, many = (32, 40) if quick else (int(given.pictures or 1000), int(given.many or 1000))
    with tempfile.TemporaryDirectory() as folder:
        run = Path(given.run) if given.run else train(Path(folder) / "run", given.steps, quick)
        draws = 2 if quick else int(given.draws or 5)
        own, seen, ends = compare_samplers(run, pictures, many, draws)
    ratios |= own
    figures["samplers"] = seen
    if "loss to diffusers'" in ratios:
        aims.append(judge("loss to diffusers' after as many steps", ratios["loss to diffusers'"],
                          SAME_LOSS))  # fmt: skip
    aims += ends
    rows = [
        (name, each.get("steps", ""), f"{each['features']:.3f}", f"{each['pixels']:.2f}",
         f"{each.get('seconds', 0):.1f}")
        for name, each in seen.items()
    ]  # fmt: skip
    heads = ("sampler", "steps", "Fréchet, features", "Fréchet, pixels", "s of the processor")
    targets = {"training steps/s to diffusers": STEPS_AIM}
    finish(given.json, table(heads, rows), ratios, figures, targets, aims)


if __name__ == "__main__":
    main()
