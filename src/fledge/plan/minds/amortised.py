"""Which mind is it, by a network that has learned it from walks of minds it was told: after that a
new walk costs a pass through the network, however many minds there are (inference compilation; Le,
Baydin & Wood 2017, eq. 4).

Sample: minds from the prior, walks by their plans. Score: −log q(mind | actions so far) after every
action, which is the least where q is the posterior, for then it is the posterior's entropy and no
more. Weigh: every action alike. Fit: Adam, with a rate that falls to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fledge.plan.minds.inverse_planning import change_wants, measure
from fledge.plan.minds.planned import Planned
from fledge.plan.minds.simulated_walks import Simulator, Walks, follow_exactly
from fledge.plan.minds.walk_scene import ACTS
from fledge.seeds import generator_for, seed_for

SHORTEST = 20  # actions: walks that are learned from are at least allowed so many
SMALLEST = -30.0  # log of a chance that counts as none where the network is compared


@dataclass(frozen=True)
class Learning:
    """updates: of Adam, each by `walks` fresh walks. width: of the network's state. held_out:
    walks that are never learned from.
    """

    updates: int
    walks: int
    width: int
    learning_rate: float
    held_out: int


class MindNetwork(nn.Module):
    """log q(mind | actions so far), action by action: what was known, where and what was done, as
    one vector; what each says for each mind, summed, as the logs of a likelihood are; and what a
    recurrent state of them adds (GRU; Cho et al. 2014), for wants that change.

    It begins as the prior.
    """

    def __init__(self, planned: Planned, width: int) -> None:
        super().__init__()
        scene = planned.scene
        self.known = nn.Embedding(len(scene.knowledge.states), width)
        self.done = nn.Embedding(scene.after.shape[1] * len(ACTS), width)
        self.mix = nn.Linear(width, width)
        self.state = nn.GRU(width, width, batch_first=True)
        self.evidence = nn.Linear(width, len(planned.minds))
        self.minds = nn.Linear(width, len(planned.minds))
        for layer in (self.evidence, self.minds):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.prior = planned.prior.log().float()

    def forward(self, known: Tensor, place: Tensor, act: Tensor) -> Tensor:
        """[B, T] long each -> [B, T, M]"""
        step = (self.known(known) + self.done(place * len(ACTS) + act)).relu()
        mixed = self.mix(step).relu()
        state, _ = self.state(mixed)
        summed = self.evidence(mixed).cumsum(1)
        return (self.prior + summed + self.minds(state)).log_softmax(-1)


class MindLearner:
    """Learns the network, and says how far it is from the exact posterior on held-out walks."""

    unfinished = None

    def __init__(self, planned: Planned, learning: Learning, seed: int) -> None:
        self.planned, self.learning = planned, learning
        self.simulator = Simulator(planned, max(SHORTEST, 2 * len(planned.scene.path)))
        self.generator = generator_for(seed, "samples", "minds")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for(seed, "weights"))
            self.network = MindNetwork(planned, learning.width)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=learning.learning_rate)
        self.place = 0
        held_out = generator_for(seed, "evaluation", "minds")
        self.held_out = self.simulator.draw(learning.held_out, held_out)
        self.exact = follow_exactly(planned, self.held_out)

    def update(self, batch: int, between_steps: Callable[[], None] = lambda: None) -> Any:
        walks = self.simulator.draw(self.learning.walks, self.generator)
        log_q = self.network(walks.known, walks.place, walks.act)
        nats = -log_q.gather(2, walks.mind[..., None])[..., 0]
        loss = nats[walks.chosen].mean()
        for group in self.optimizer.param_groups:
            left = 1 - self.place / self.learning.updates
            group["lr"] = self.learning.learning_rate * left
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.place += 1
        return {"loss": loss.item()}

    @torch.no_grad()
    def judge(self) -> dict[str, float]:
        """nats_apart: KL(exact ‖ network), the mean over all actions of the held-out walks; of the
        last actions; uncertainty: of the exact posterior, after a walk.
        """
        walks = self.held_out
        apart = tell_apart(self.exact, self.network(walks.known, walks.place, walks.act))
        last = walks.chosen.sum(1, keepdim=True) - 1
        ended = self.exact.gather(1, last[..., None].expand(-1, -1, self.exact.shape[2]))[:, 0]
        return {
            "nats_apart": float(apart[walks.chosen].mean()),
            "nats_apart_at_the_end": float(apart.gather(1, last).mean()),
            "uncertainty_at_the_end": float(-(ended.exp() * ended.clamp(min=-1e300)).sum(1).mean()),
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(), "place": self.place,
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.place = state["place"]


def tell_apart(exact: Tensor, network: Tensor) -> Tensor:
    """KL(exact ‖ network) in nats; both in logs.  [..., M] -> [...]"""
    p = exact.exp()
    return (p * (exact.clamp(min=SMALLEST) - network.double())).sum(-1)


class NetworkReading:
    """The scene's own path as a learned network reads it, action by action.

    posterior: [M], after the last action that was read. foretold: how likely that was, by the
    posterior before it.
    """

    unfinished = None

    def __init__(self, planned: Planned, network: MindNetwork) -> None:
        self.planned, self.scene = planned, planned.scene
        self.steps = self.scene.steps
        known, place, act = torch.tensor(self.steps).T
        with torch.no_grad():
            # Kept in logs: of a mind that is all but excluded the chance itself would be 0.
            self.every = network(known[None], place[None], act[None])[0].double()
        walk = Walks(act[None], known[None], place[None], act[None], (act >= 0)[None])
        self.exact = follow_exactly(planned, walk)[0]
        self.seen, self.foretold = 0, 1.0

    @property
    def posterior(self) -> Tensor:
        return self.every[self.seen - 1].exp() if self.seen else self.planned.prior

    def update(self, batch: int, between_steps: Callable[[], None] = lambda: None) -> Any:
        """Take in the next action."""
        known, place, act = self.steps[self.seen]
        before = change_wants(self.planned, self.posterior.log()).exp()
        self.foretold = float(before @ self.planned.log_policy(known, place)[:, act].exp())
        self.seen += 1
        apart, _ = self.say_apart()
        return measure(self.posterior) | {"foretold": self.foretold, "nats_apart": apart[-1]}

    def say_apart(self) -> tuple[list[float], list[float]]:
        """KL(exact ‖ network) in nats, and the total variation, after each action that was read."""
        exact, said = self.exact[: self.seen], self.every[: self.seen]
        moved = 0.5 * (exact.exp() - said.exp()).abs().sum(1)
        return tell_apart(exact, said).tolist(), moved.tolist()

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen, "foretold": self.foretold}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.seen, self.foretold = state["seen"], state["foretold"]
