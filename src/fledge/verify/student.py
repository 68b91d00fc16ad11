"""The student step on an enumerable language: fit a table to any distribution over sequences, by
the package's own loss and learner.
"""

from __future__ import annotations

from torch import Tensor

from fledge.exact.enumerable import Language
from fledge.fit import nll, total
from fledge.learner import Learner, Schedule
from fledge.optimizers import adamw
from fledge.policy import TokenPolicy
from fledge.trajectories import Weighed
from fledge.verify.laboratory import Hardware
from fledge.verify.table import TableNetwork, speak


def fit_weighted(
    language: Language, q: Tensor, hardware: Hardware, steps: int = 400
) -> tuple[Tensor, list[float]]:
    """The student step: minimise E_q[nll] with the package's policy, learner and loss, every
    sequence weighted by q.

    q [S] -> the fitted log-probabilities [S], and KL(q‖p) before each step and after the last.
    """
    network = TableNetwork(language.vocabulary, language.length, seed=8)
    policy = TokenPolicy(network).to(hardware.device, hardware.dtype)
    learner = Learner(
        policy,
        Schedule(0.1, steps, shape="cosine", final=0.0),
        optimizer=adamw(weight_decay=0.0),
        clip=0.0,
    )
    everything = range(len(language.sequences))
    rows = speak(language, everything, language.vocabulary, q.to(hardware.device, hardware.dtype))
    weights = q.to(hardware.device, hardware.dtype)[:, None].expand(rows.chosen.shape)
    rows = Weighed.of(rows, weight=weights)

    def loss(part: Weighed) -> tuple[Tensor, dict[str, Tensor]]:
        return total(
            nll(policy.log_prob(part.obs, part.action, part.chosen), part.weight), part.chosen, 1.0
        ), {}

    def read() -> Tensor:
        return language.log_prob(network.logits(language).detach().double().cpu())

    distances = []
    seen = q > 0
    for _ in range(steps):
        distances.append((q[seen] * (q[seen].log() - read()[seen])).sum().item())
        learner.step(loss, rows)
    return read(), [*distances, (q[seen] * (q[seen].log() - read()[seen])).sum().item()]
