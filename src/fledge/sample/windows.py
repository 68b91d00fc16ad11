"""Stretches of so many steps out of a memory, for models that carry something along."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fledge.sample.replay import Replay


class Stretches(NamedTuple):
    """As the memory holds them: where a step is not `chosen`, the next observation begins an
    episode.
    """

    obs: Tensor  # [N, T+1, *O]
    action: Tensor  # [N, T, *A]
    reward: Tensor  # [N, T]
    terminated: Tensor  # [N, T] bool
    chosen: Tensor  # [N, T] bool


def draw_stretches(replay: Replay, rows: int, steps: int) -> Stretches:
    """Each of a copy's own steps, beginning anywhere, every beginning as likely as any other; as
    long as the memory reaches where that is less than `steps`.

    Raises ValueError if there is nothing to draw.
    """
    if not len(replay):
        raise ValueError("nothing has been pushed yet: there is nothing to draw.")
    steps = min(steps, replay.filled)
    begins = replay.filled - steps + 1
    nth = torch.randint(begins * replay.copies, (rows,), generator=replay.generator).numpy()
    copy, begin = nth % replay.copies, nth // replay.copies
    first = replay.head - replay.filled + begin
    path = (first[:, None] + np.arange(steps + 1)) % replay.slots  # [N, T+1]
    during = path[:, :-1]
    held = (replay.action, replay.reward, replay.terminated, replay.chosen)
    return Stretches(
        torch.from_numpy(replay.obs[path, copy[:, None]]),
        *(torch.from_numpy(each[during, copy[:, None]]) for each in held),
    )
