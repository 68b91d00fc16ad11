"""A policy gradient whose baseline is the mean reward of the *other* rows of the group. `fledge
verify examples/good_baseline.py`
"""

import torch

from fledge.fit import nll, total
from fledge.trajectories import Weighed


class GoodBaseline:
    gradient_claim = "unbiased"

    def __init__(self, policy, learner, stopwatch):
        self.policy, self.learner = policy, learner

    def update(self, batch):
        reward = torch.where(batch.chosen, batch.reward, 0.0).sum(1)  # [B]: what each row earned
        peers = (batch.group[:, None] == batch.group).to(reward.dtype)  # [B, B]
        others = peers - torch.eye(len(batch)).to(peers)
        # of the others only: no row meets its own luck
        advantage = reward - others @ reward / others.sum(1)
        weighed = Weighed.of(batch, weight=advantage[:, None].expand(batch.chosen.shape))
        rows = self.learner.count_rows(batch)

        def loss(part):
            logp = self.policy.log_prob(part.obs, part.action, part.chosen)  # [B, T]
            return total(nll(logp, part.weight), part.chosen, rows), {}

        return self.learner.step(loss, weighed)
