"""Training a VAE: our step against the loop of pythae (Chadebec, Vincent & Allassonnière 2022).

Both have the same layers (two of 256 SiLU units on either side, 16 latents), Bernoulli pixels, 64
pictures a step, AdamW of torch, one thread. Ours is measured compiled, as a long run compiles
itself (compile=auto), and as it is written. A round is an epoch of each: of ours with its batches,
noise, clipping and figures, of pythae's `BaseTrainer.train_step` with its own loader and progress
bar. `bare` is what no loop can do without: forward, backward and a fused AdamW on one batch that
lies ready; pythae over it is what any loop of the same layers, as it is written, could reach.
`digits` are pictures of 8 × 8, `mnist` of 28 × 28: there products take most of the time, and they
are the same. pythae is not among the dependencies: give its place by PYTHONPATH (`pip install
--no-deps --target DIR pythae==0.1.2`).
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from typing import Any

import torch

from fledge.algorithms.images.vae import VAE
from fledge.images.pictures import PictureSet, make_set
from fledge.learner import Learner
from fledge.models.images.vae import stack_layers
from fledge.optimizers import adamw
from fledge.sample.pictures import PictureBatches
from fledge.schedule import Schedule
from fledge.stopwatch import Stopwatch
from side_by_side import alternate, finish, options, rate_table, rates, say, speed_up

SIDES = {"digits": 8, "mnist": 28}
WIDTH, LAYERS, LATENTS, BATCH, RATE = 256, 2, 16, 64, 1e-3
AIM = "≥ 2"


def draw_pictures(side: int, count: int) -> PictureSet:
    """Two levels, by chance: what they show changes no time."""
    random = torch.Generator().manual_seed(0)
    x = (torch.rand(count, 1, side, side, generator=random) < 0.2).to(torch.uint8)
    return make_set(x, None, 2, (), "the benchmark")


class Ours:
    def __init__(self, given: PictureSet, compiled: bool) -> None:
        settings = VAE.Settings(latents=LATENTS, width=WIDTH, layers=LAYERS)
        self.steps = len(given) // BATCH
        self.batches = PictureBatches(given, BATCH, 0)
        self.algorithm = VAE(
            settings, VAE.build(settings, given.shape),
            lambda module: Learner(module, Schedule(RATE, 10**6), optimizer=adamw(weight_decay=0)),
            0, Stopwatch(),
        )  # fmt: skip
        if compiled:
            self.algorithm.model.compile()

    def __call__(self) -> None:
        for _ in range(self.steps):
            self.loss = self.algorithm.update(next(self.batches))["loss"]


class Bare:
    """The same layers and loss, and nothing around them."""

    def __init__(self, given: PictureSet) -> None:
        size = given.shape.numbers
        self.steps = len(given) // BATCH
        self.x = given.rows.x[:BATCH].flatten(1).float()
        self.noise = torch.randn(BATCH, LATENTS)
        self.encoder = torch.nn.Sequential(
            stack_layers(size, WIDTH, LAYERS), torch.nn.Linear(WIDTH, 2 * LATENTS)
        )
        self.decoder = torch.nn.Sequential(
            stack_layers(LATENTS, WIDTH, LAYERS), torch.nn.Linear(WIDTH, size)
        )
        learned = [*self.encoder.parameters(), *self.decoder.parameters()]
        self.optimizer = torch.optim.AdamW(learned, lr=RATE, fused=True)

    def __call__(self) -> None:
        for _ in range(self.steps):
            mean, log_variance = self.encoder(self.x).chunk(2, 1)
            made = self.decoder(mean + (0.5 * log_variance).exp() * self.noise)
            distortion = torch.nn.functional.binary_cross_entropy_with_logits(
                made, self.x, reduction="sum"
            )
            kl = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum()
            ((distortion + kl) / BATCH).backward()
            self.optimizer.step()
            self.optimizer.zero_grad()


class Pythae:
    def __init__(self, given: PictureSet, folder: str) -> None:
        from pythae.data.datasets import BaseDataset
        from pythae.models import VAE as Theirs
        from pythae.models import VAEConfig
        from pythae.models.base.base_utils import ModelOutput
        from pythae.models.nn import BaseDecoder, BaseEncoder
        from pythae.trainers import BaseTrainer, BaseTrainerConfig

        logging.disable(logging.INFO)
        size, numbers = given.shape.size, given.shape.numbers

        class Encoder(BaseEncoder):
            def __init__(self) -> None:
                super().__init__()
                self.layers = stack_layers(numbers, WIDTH, LAYERS)
                self.head = torch.nn.Linear(WIDTH, 2 * LATENTS)

            def forward(self, x: torch.Tensor) -> Any:
                mean, log_var = self.head(self.layers(x.flatten(1))).chunk(2, 1)
                return ModelOutput(embedding=mean, log_covariance=log_var)

        class Decoder(BaseDecoder):
            def __init__(self) -> None:
                super().__init__()
                self.layers = stack_layers(LATENTS, WIDTH, LAYERS)
                self.head = torch.nn.Linear(WIDTH, numbers)

            def forward(self, z: torch.Tensor) -> Any:
                made = self.head(self.layers(z)).sigmoid().view(-1, *size)
                return ModelOutput(reconstruction=made)

        model = Theirs(
            VAEConfig(input_dim=size, latent_dim=LATENTS, reconstruction_loss="bce"),
            Encoder(), Decoder(),
        )  # fmt: skip
        config = BaseTrainerConfig(
            output_dir=folder, num_epochs=1, per_device_train_batch_size=BATCH,
            learning_rate=RATE, optimizer_cls="AdamW", no_cuda=True,
        )  # fmt: skip
        data = BaseDataset(given.rows.x.float(), torch.zeros(len(given)))
        self.trainer = BaseTrainer(model, train_dataset=data, training_config=config)
        self.trainer.prepare_training()
        self.epoch = 0

    def __call__(self) -> None:
        self.epoch += 1
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            self.loss = self.trainer.train_step(self.epoch)


def main() -> None:
    given = options(__doc__)
    torch.set_num_threads(1)
    ratios: dict[str, float] = {}
    figures: dict[str, Any] = {}
    text: list[str] = []
    aimed = [f"{name}: ours / pythae" for name in SIDES]
    count, rounds = (10 * BATCH, 2) if given.quick else (40 * BATCH, 9)
    with tempfile.TemporaryDirectory() as folder:
        for name, side in SIDES.items():
            say(f"{name}: {rounds} rounds of {count // BATCH} steps each")
            data = draw_pictures(side, count)
            ours, plain, theirs = Ours(data, True), Ours(data, False), Pythae(data, folder)
            both = {
                "ours": ours, "ours, not compiled": plain, "bare": Bare(data), "pythae": theirs,
            }  # fmt: skip
            times = alternate(both, rounds)
            per_second = rates(times, count // BATCH)
            ratios[f"{name}: ours / pythae"] = speed_up(times, "ours", "pythae")
            ratios[f"{name}: ours, not compiled / pythae"] = speed_up(
                times, "ours, not compiled", "pythae"
            )
            ratios[f"{name}: bare / pythae"] = speed_up(times, "bare", "pythae")
            figures[name] = {"steps_per_second": per_second, "loss": [ours.loss, theirs.loss]}
            text += [rate_table(per_second, f"{name}, steps/s"), ""]
    finish(given.json, "\n".join(text), ratios, figures, dict.fromkeys(aimed, AIM))


if __name__ == "__main__":
    main()
