"""A data set of single steps, each with the action that somebody says was right there, out of which
batches are drawn; it only grows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.trajectories import Trajectories


class Labelled:
    """N observations and N actions of this process. All of it is state, N·(O + A) numbers; nothing
    is ever dropped.
    """

    def __init__(self) -> None:
        self.obs: Tensor | None = None  # [N, *O]
        self.action: Tensor | None = None  # [N, *A]

    def __len__(self) -> int:
        return 0 if self.obs is None else len(self.obs)

    def add(self, obs: Tensor, action: Tensor) -> None:
        """[n, *O], [n, *A]"""
        self.obs = obs if self.obs is None else torch.cat([self.obs, obs])
        self.action = action if self.action is None else torch.cat([self.action, action])

    def draw(self, rows: int, generator: torch.Generator) -> Trajectories:
        """Steps chosen at random, each as likely as any other every time, as rows of one step.  ->
        [rows, 1], its reward 0

        Raises UserError while there is nothing to draw from.
        """
        if self.obs is None or self.action is None or not len(self.obs):
            raise UserError(
                "no step has been labelled yet: the batches so far held none that anybody chose; "
                "let them be longer."
            )
        which = torch.randint(len(self.obs), (rows,), generator=generator).to(self.obs.device)
        obs, no = self.obs[which], torch.zeros(rows, 1, dtype=torch.bool, device=self.obs.device)
        # Nobody looks at what came after: the same observation stands there, and takes no memory.
        twice = obs[:, None].expand(-1, 2, *obs.shape[1:])
        return Trajectories(
            twice,
            self.action[which][:, None],
            ~no,
            torch.zeros_like(no, dtype=torch.float32),
            no,
            no,
        )

    def state_dict(self) -> dict[str, Any]:
        return {"obs": self.obs, "action": self.action}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.obs, self.action = state["obs"], state["action"]
