"""An algorithm of your own: a class with update(batch). It is trained with, and held against the
exact policy gradient.
"""

import torch

import fledge
from fledge.fit import nll, total
from fledge.trajectories import Weighed


class AboveTheMean:
    """REINFORCE whose baseline is the mean reward of the group, the row's own among them."""

    gradient_claim = "unbiased up to scale (G-1)/G"

    def __init__(self, policy, learner, stopwatch):
        self.policy, self.learner = policy, learner

    def update(self, batch):
        reward = torch.where(batch.chosen, batch.reward, 0.0).sum(1)  # [B]: what each row earned
        peers = (batch.group[:, None] == batch.group).to(reward.dtype)  # [B, B]
        advantage = reward - peers @ reward / peers.sum(1)
        weighed = Weighed.of(batch, weight=advantage[:, None].expand(batch.chosen.shape))
        rows = self.learner.count_rows(batch)  # before the batch is cut

        def loss(part):
            logp = self.policy.log_prob(part.obs, part.action, part.chosen)  # [B, T]
            return total(nll(logp, part.weight), part.chosen, rows), {}

        return self.learner.step(loss, weighed)


if __name__ == "__main__":  # a run reads the class out of this file
    sizes = {"tokenizer": "bytes", "layers": 1, "width": 32, "heads": 2, "context": 64}
    base = fledge.pretrain(["the cat sat. " * 40] * 4, **sizes, tokens_per_step=1024, steps=20)
    prompts = {"task": "upper", "max_new_tokens": 8, "prompts_per_step": 16}
    print(fledge.align(base, algorithm=AboveTheMean, **prompts, steps=4))
    print("holds:", fledge.verify(__file__)["holds"])
