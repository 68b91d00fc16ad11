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
MOST = 300_000


class FlatGradient:
    """Of these parameters, wherever they are: where they are no small network on the processor,
    each gradient lies by itself.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = parameters
        self._whole: Tensor | None = None  # once gathered, until `clear`
        self._buffer: Tensor | None = None
        if _suits(parameters):
            sizes = [p.numel() for p in parameters]
            self._buffer = torch.empty(sum(sizes), dtype=parameters[0].dtype)
            pairs = zip(self._buffer.split(sizes), parameters, strict=True)
            self._views = [part.view(p.shape) for part, p in pairs]

    def gather(self) -> Tensor:
        """What the parameters have come to, put together where they are a small network whose every
        parameter has learned.  -> its norm []
        """
        own = [p.grad for p in self.parameters if p.grad is not None]
        buffer = self._buffer
        if buffer is None or len(own) < len(self.parameters) or any(g.is_sparse for g in own):
            return rank_sums.total_norm(own)
        torch.cat([g.reshape(-1) for g in own], out=buffer)
        for p, view in zip(self.parameters, self._views, strict=True):
            p.grad = view
        self._whole = buffer
        return torch.linalg.vector_norm(buffer)

    def scale(self, factor: Tensor) -> None:
        """In place, this rank's parts of it."""
        if self._whole is None:
            rank_sums.scale_gradients(self.parameters, factor)
        else:
            self._whole.mul_(factor)

    def clear(self) -> None:
        """No parameter has a gradient."""
        self._whole = None
        for p in self.parameters:
            p.grad = None


def _suits(parameters: Sequence[nn.Parameter]) -> bool:
    return (
        len(parameters) > 1
        and sum(p.numel() for p in parameters) <= MOST
        and len({p.dtype for p in parameters}) == 1
        # Moments lie as their weights do, and a gradient must too.
        and all(p.device.type == "cpu" and not is_part(p) and p.is_contiguous() for p in parameters)
    )
