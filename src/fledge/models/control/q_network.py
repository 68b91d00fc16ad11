"""What every action is worth, Q(s, ·): a perceptron over vectors and choices, or the convolution
over pictures of Mnih et al. 2015.

Pictures are uint8, channels first: 84 × 84 with the last 4 frames as channels are [4, 84, 84].
Hidden layers are normalised unless asked not to (Gallici et al. 2024, "Simplifying Deep Temporal
Difference Learning"): without it the papers' networks diverge on CartPole wherever the target
network lags by fewer than some 32 optimizer steps, Q being 10,000 and more where 100 is the most
there is; with it the lag may be 8, and 475 is reached in 600 optimizer steps instead of 3,000.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from fledge.errors import UserError
from fledge.models.control.actor_critic import Encoder
from fledge.models.control.perceptron_kernel import (
    Weights,
    go_through,
    is_watched_by_none,
    take_weights,
)
from fledge.worlds.world import SMALLEST_PICTURE, Box, Choices, Space


class Pictures(nn.Module):
    """Three convolutions: 32 of 8 × 8 every 4 pixels, 64 of 4 × 4 every 2, 64 of 3 × 3 (Mnih et al.
    2015, "Model architecture").
    """

    def __init__(self, shape: tuple[int, ...], generator: torch.Generator) -> None:
        """shape: [channels, height, width]. Raises UserError for pictures that are too small."""
        super().__init__()
        channels, *sides = shape
        if min(sides) < SMALLEST_PICTURE:
            raise UserError(
                f"pictures of {shape[1]} × {shape[2]} pixels were given: the convolution wants "
                f"{SMALLEST_PICTURE} × {SMALLEST_PICTURE} or more, channels first. Enlarge them, "
                "or give the world's observations as vectors."
            )
        layers: list[nn.Module] = []
        for (inside, outside), size, stride in zip(
            itertools.pairwise((channels, 32, 64, 64)), (8, 4, 3), (4, 2, 1), strict=True
        ):
            layer = nn.Conv2d(inside, outside, size, stride)
            nn.init.orthogonal_(layer.weight, math.sqrt(2), generator=generator)
            nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]
            layers += [layer, nn.ReLU()]
            sides = [(side - size) // stride + 1 for side in sides]
        self.layers = nn.Sequential(*layers)
        self.width = 64 * math.prod(sides)

    def forward(self, obs: Tensor) -> Tensor:
        """[N, channels, height, width] uint8 -> [N, width]"""
        return self.layers(obs.float() / 255).flatten(1)


def encoder_for(
    observation: Space, generator: torch.Generator, normalise: bool = False
) -> Pictures | Encoder:
    """From observations to vectors [N, width]: pictures by convolution; all else as it is, numbers
    normalised if asked for.
    """
    pictures = (
        isinstance(observation, Box)
        and observation.low.dtype == torch.uint8
        and len(observation.shape) == 3
    )
    return Pictures(observation.shape, generator) if pictures else Encoder(observation, normalise)


def hidden(
    widths: Sequence[int],
    *,
    generator: torch.Generator,
    layer_norm: bool,
    outputs: int | None = None,
) -> nn.Sequential:
    """Layers from widths[0] on, each normalised if asked for, then rectified; after them a linear
    one where `outputs` are wanted.

    Orthogonal matrices, of gain √2 under a rectifier and 1 at the end, and biases of 0.  [N,
    widths[0]] -> [N, widths[-1] or outputs]
    """
    layers: list[nn.Module] = []
    for inside, outside in itertools.pairwise(widths):
        layers += [
            nn.Linear(inside, outside),
            *([nn.LayerNorm(outside)] if layer_norm else []),
            nn.ReLU(),
        ]
    if outputs is not None:
        layers.append(nn.Linear(widths[-1], outputs))
    for layer in layers:
        if isinstance(layer, nn.Linear):
            gain = 1.0 if outputs is not None and layer is layers[-1] else math.sqrt(2)
            nn.init.orthogonal_(layer.weight, gain, generator=generator)
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


class QNetwork(nn.Module):
    """Q(s, ·) of one choice out of A. Without hidden layers it is a table over choices, and linear
    over vectors.

    dueling: the last hidden layer and the output stand twice, for A(s, ·) and for V(s), and Q = V +
    A − mean A (Wang et al. 2016, eq. 9).
    """

    def __init__(
        self,
        observation: Space,
        action: Space,
        *,
        generator: torch.Generator,
        widths: Sequence[int] = (128, 128),
        dueling: bool = False,
        layer_norm: bool = True,
        normalise: bool = False,
    ) -> None:
        """widths: of the hidden layers; (512,) after the convolution of pictures in the papers.
        normalise: numbers that are observed.

        Raises UserError for actions that are not one choice, and for pictures that are too small.
        """
        super().__init__()
        if not isinstance(action, Choices) or len(action.sizes) != 1:
            raise UserError(
                f"actions {action} were given: a Q-network wants one choice out of n. Use PPO, or "
                "SAC and TD3 where actions are real numbers."
            )
        encoder, self.choices = encoder_for(observation, generator, normalise), action.sizes[0]
        shared = (encoder.width, *widths[:-1])
        self.trunk = nn.Sequential(
            encoder, hidden(shared, generator=generator, layer_norm=layer_norm)
        )
        self.streams = nn.ModuleList(
            hidden(
                (shared[-1], *widths[-1:]),
                generator=generator,
                layer_norm=layer_norm,
                outputs=outputs,
            )
            for outputs in ((self.choices, 1) if dueling else (self.choices,))
        )

    @property
    def normaliser(self) -> Encoder | None:
        """The running statistics of what is observed, None where pictures are."""
        first = self.trunk[0]
        return first if isinstance(first, Encoder) else None

    def forward(self, obs: Tensor) -> Tensor:
        """[N, *O] -> [N, A]; perceptrons of one stream by `perceptron_kernel`."""
        chain = self.find_chain()
        if chain is not None:
            encoded = self.trunk[0](obs)
            weights = self._take_weights(encoded, chain)
            if weights is not None:
                return go_through(encoded, weights, "relu")
        shared = self.trunk(obs)
        each = [stream(shared) for stream in self.streams]  # [N, A], and [N, 1] where it duels
        return each[0] if len(each) == 1 else each[1] + each[0] - each[0].mean(-1, keepdim=True)

    def kernel_form(self, x: Tensor) -> Weights | None:
        """The weights behind the encoder as the kernel takes them, where rows [N, I] are its to
        compute with.
        """
        chain = self.find_chain()
        return None if chain is None else self._take_weights(x, chain)

    def find_chain(self) -> list[Any] | None:
        """What follows the encoder, where that is one row of layers as they were made."""
        streams: list[Any] = list(self.streams._modules.values())
        if type(self.trunk) is not nn.Sequential or len(self.trunk._modules) != 2:
            return None
        encoder, shared = cast("Any", self.trunk._modules.values())
        chains = (shared, *streams)
        plain = all(type(chain) is nn.Sequential for chain in chains)
        if len(streams) != 1 or not plain or type(encoder) is not Encoder:
            return None
        if not all(map(is_watched_by_none, (self.trunk, *chains))):
            return None
        return [part for chain in chains for part in chain._modules.values()]

    def _take_weights(self, x: Tensor, parts: list[Any]) -> Weights | None:
        size = 3 if len(parts) > 1 and type(parts[1]) is nn.LayerNorm else 2
        between = parts[size - 1 :: size]
        if len(parts) % size != 1 or not all(map(_is_plain_relu, between)):
            return None
        return take_weights(x, parts[::size], parts[1::size] if size == 3 else ())


def _is_plain_relu(part: nn.Module) -> bool:
    return type(part) is nn.ReLU and is_watched_by_none(part)
