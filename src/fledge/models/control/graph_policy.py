"""A policy with one small network for all joints of a body, which tell their neighbours in the tree
what they know before they act.

After Wang et al. 2018, "NerveNet": input, propagation and output models with weights shared by the
nodes. Simpler there: a residual step of tanh in place of a GRU; and what sets joints apart is their
shape, not a type given by hand.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fledge.models.control.body_graph import BodyGraph, body_of
from fledge.models.control.mlp import mlp


class GraphPolicy(nn.Module):
    """Encoded observations [N, O] -> a number for each action [N, A]: the `actor` of an
    `ActorCritic`.

    The number of parameters does not depend on that of the joints. Joints that are alike, on
    branches that are alike, act alike where they observe alike.
    """

    places: Tensor
    root_places: Tensor
    driven: Tensor
    shape: Tensor
    tree: Tensor

    def __init__(self, body: BodyGraph, *, generator: torch.Generator, width: int = 32) -> None:
        """width: D, how many numbers a node knows. They are told on for as many rounds as it takes
        from any node to any other.
        """
        super().__init__()
        nodes, self.rounds, self.observations = len(body.names), body.diameter, body.observations
        self.root = mlp((len(body.observed[0]), width), generator=generator, last_gain=math.sqrt(2))
        self.joint = mlp(
            (2 + body.shape.shape[1], width), generator=generator, last_gain=math.sqrt(2)
        )
        self.tell = mlp((3 * width, width), generator=generator)
        self.act = mlp((width, width, 1), generator=generator, last_gain=0.01)
        above = torch.zeros(nodes, nodes)  # [n, n]: row i has a 1 at the parent of i
        for i, parent in enumerate(body.parent[1:], start=1):
            above[i, parent] = 1
        # row i: the mean over the children of i
        below = above.T / above.sum(0).clamp(min=1)[:, None]
        buffers = {
            "root_places": torch.tensor(body.observed[0]),
            "places": torch.tensor(body.observed[1:], dtype=torch.long).reshape(-1, 2),
            "driven": torch.tensor(body.driven),
            "shape": body.shape.clone(),
            "tree": torch.cat([above, below]),  # [2n, n]
        }
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, encoded: Tensor) -> Tensor:
        """[N, O] -> [N, A]. Raises ValueError for observations that are not the body's."""
        if encoded.shape[-1] != self.observations:
            raise ValueError(
                f"{encoded.shape[-1]} numbers are observed, and the body's joints have "
                f"{self.observations} positions and speeds: a graph policy wants these and nothing "
                "else."
            )
        seen = encoded.T[self.places].transpose(1, 2)  # [n − 1, N, 2]
        shape = self.shape[:, None].expand(-1, len(encoded), -1).to(encoded.dtype)
        first = self.root(encoded[:, self.root_places])[None]  # [1, N, D]
        known = torch.cat([first, self.joint(torch.cat([seen, shape], -1))]).tanh()  # [n, N, D]
        for _ in range(self.rounds):
            # of the parent, of the children
            heard = (self.tree.to(known.dtype) @ known.flatten(1)).view(2, *known.shape)
            known = known + self.tell(torch.cat([known, heard[0], heard[1]], -1)).tanh()
        return self.act(known[self.driven]).squeeze(-1).T


def graph_policy_for(world: str, *, generator: torch.Generator) -> GraphPolicy:
    """For one of gymnasium's MuJoCo worlds, by its name. Raises UserError as `body_of` does."""
    return GraphPolicy(body_of(world), generator=generator)
