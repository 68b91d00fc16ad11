"""A policy gradient with a mistake to find: the baseline is the group's best reward, perhaps the
row's own. Try `fledge verify` on it.
"""

import torch

from fledge.fit import nll, total
from fledge.trajectories import Weighed


class WrongBaseline:
    gradient_claim = "unbiased"  # not so: a baseline may not depend on the row's own action

    def __init__(self, policy, learner, stopwatch):
        self.policy, self.learner = policy, learner

    def update(self, batch):
        reward = torch.where(batch.chosen, batch.reward, 0.0).sum(1)  # [B]: what each row earned
        peers = batch.group[:, None] == batch.group  # [B, B]
        best = torch.where(peers, reward, -torch.inf).amax(1)
        # the best row of a group learns nothing from having been the best
        advantage = reward - best
        weighed = Weighed.of(batch, weight=advantage[:, None].expand(batch.chosen.shape))
        rows = self.learner.count_rows(batch)

        def loss(part):
            logp = self.policy.log_prob(part.obs, part.action, part.chosen)  # [B, T]
            return total(nll(logp, part.weight), part.chosen, rows), {}

        return self.learner.step(loss, weighed)
