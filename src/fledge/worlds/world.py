"""What a world is: copies of it side by side that are seen, acted upon, and begin anew by
themselves.

Every world answers in the same words. An episode ends by itself (`terminated`) or because time is
up (`truncated`); the observation that comes with the end is the episode's true last one. The next
`step` only begins anew: what is done then reaches nobody, its reward is 0, and its observation is
the first of the next episode. That step is nobody's choice: whoever writes it down marks it so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from torch import Tensor

SMALLEST_PICTURE = (
    36  # pixels of a side: below that a convolution of three layers has nothing left to look at
)


@dataclass(frozen=True)
class Choices:
    """One of n, or several such at once. sizes (4,): a tensor [] of integers 0…3 each; sizes (3,
    3): [2] of 0…2 each.
    """

    sizes: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return () if len(self.sizes) == 1 else (len(self.sizes),)


@dataclass(frozen=True)
class Box:
    """Real numbers, float32, or pictures, uint8. low, high: as `shape`; they may be infinite."""

    low: Tensor
    high: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.low.shape)

    @property
    def bounded(self) -> bool:
        return bool(self.low.isfinite().all() and self.high.isfinite().all())


Space = Choices | Box


class Step(NamedTuple):
    """What became of one action in each of n copies."""

    obs: Tensor  # [n, *O]
    reward: Tensor  # [n] float32
    terminated: Tensor  # [n] bool: the world ended
    truncated: Tensor  # [n] bool: time is up, and the world would have gone on


class World(Protocol):
    """`copies` of one world side by side. Not differentiable. Tensors that it gives are the
    caller's to keep.
    """

    @property
    def name(self) -> str: ...
    @property
    def copies(self) -> int: ...
    @property
    def observation(self) -> Space: ...
    @property
    def action(self) -> Space: ...

    def reset(self, seed: int) -> Tensor:
        """All copies begin anew, each with random numbers of its own.  -> obs [n, *O]"""
        ...

    def step(self, action: Tensor) -> Step:
        """[n, *A] -> what became of it. Raises UserError if the world fails, or shows what is no
        number.
        """
        ...

    @property
    def restorable(self) -> bool:
        """Whether `load_state_dict` brings back exactly where `state_dict` was taken; if not, all
        copies begin anew there.
        """
        ...

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> Tensor:
        """-> obs [n, *O] as it stands"""
        ...

    def close(self) -> None: ...
