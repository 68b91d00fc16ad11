"""The gradient of a small network in one piece of memory: its norm and its clipping are one
operation each, not one for every weight.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fledge import rank_sums
from fledge.sharded import is_part

# Numbers of a network that is small: to copy more of them takes longer than the calls it saves.
MOST = 100_000
# Whoever writes a gradient where it belongs copies nothing.
MOST_OFFERED = 1_000_000


class FlatGradient:
    """Of these parameters, wherever they are: where they are no small network on the processor,
    each gradient lies by itself.

    Whoever knows a loss's gradient without autograd `offer`s room for it and `add`s it.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = parameters
        self.added = False  # since that was last set to False
        self._whole = False  # whether the buffer is the gradient
        self._size = sum(p.numel() for p in parameters) if _suits(parameters) else 0
        self._buffer: Tensor | None = None  # once it is needed
        self._views: list[Tensor] = []  # of it

    def _cut(self, whole: Tensor) -> list[Tensor]:
        parts = whole.split([p.numel() for p in self.parameters])
        return [part.view(p.shape) for part, p in zip(parts, self.parameters, strict=True)]

    def _take_buffer(self) -> Tensor:
        if self._buffer is None:
            self._buffer = torch.empty(self._size, dtype=self.parameters[0].dtype)
            self._views = self._cut(self._buffer)
        return self._buffer

    def offer(self, parameters: Sequence[Tensor]) -> Tensor | None:
        """Room for the gradient of these parameters, one behind the other; None where they are not
        all that learn, in their order, or do not lie in one piece, or somebody is to be told of the
        gradient of one.
        """
        if not self._size or len(parameters) != len(self.parameters):
            return None
        if any(p is not own for p, own in zip(parameters, self.parameters, strict=True)):
            return None
        if any(p._backward_hooks or p._post_accumulate_grad_hooks for p in parameters):
            return None
        used = any(p.grad is not None for p in self.parameters)
        return torch.empty_like(self._take_buffer()) if used else self._take_buffer()

    def add(self, gradient: Tensor) -> None:
        """What was written where `offer` said."""
        self.added = True
        if gradient is self._buffer:
            self._adopt()
            return
        for p, part in zip(self.parameters, self._cut(gradient), strict=True):
            p.grad = part if p.grad is None else p.grad.add_(part)

    def _adopt(self) -> None:
        self._whole = True
        for p, view in zip(self.parameters, self._views, strict=True):
            p.grad = view

    def gather(self) -> Tensor:
        """What the parameters have come to, put together where they are a small network whose every
        parameter has learned.  -> its norm []
        """
        own = [p.grad for p in self.parameters if p.grad is not None]
        if not self._size or len(own) < len(self.parameters) or any(g.is_sparse for g in own):
            return rank_sums.total_norm(own)
        if not self._whole or any(g is not v for g, v in zip(own, self._views, strict=True)):
            self._whole = False
            if self._size > MOST:
                return rank_sums.total_norm(own)
            buffer = self._take_buffer()
            buffer.copy_(torch.cat([g.reshape(-1) for g in own]))  # of which it may hold some
            self._adopt()
        return torch.linalg.vector_norm(self._take_buffer())

    def scale(self, factor: Tensor) -> None:
        """In place, this rank's parts of it."""
        if self._whole and self._buffer is not None:
            self._buffer.mul_(factor)
        else:
            rank_sums.scale_gradients(self.parameters, factor)

    def clear(self) -> None:
        """No parameter has a gradient."""
        self._whole = False
        for p in self.parameters:
            p.grad = None


def _suits(parameters: Sequence[nn.Parameter]) -> bool:
    return (
        len(parameters) > 1
        and sum(p.numel() for p in parameters) <= MOST_OFFERED
        and len({p.dtype for p in parameters}) == 1
        # Moments lie as their weights do, and a gradient must too.
        and all(p.device.type == "cpu" and not is_part(p) and p.is_contiguous() for p in parameters)
    )
