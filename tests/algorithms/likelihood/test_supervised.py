"""Maximum likelihood finds the frequencies of the data, and learns by heart what leaves no
choice.
"""

from __future__ import annotations

import torch

from fledge.algorithms.likelihood.supervised import Supervised
from fledge.learner import Learner, Schedule
from fledge.optimizers import adamw
from fledge.policy import TokenPolicy
from fledge.stopwatch import Stopwatch
from fledge.trajectories import from_rows
from tests.subjects import TableNetwork, learner, policy_of, seeded, transformer


def test_a_table_learns_the_frequencies_of_the_data() -> None:
    rows = [[3, 0, 1]] * 6 + [[3, 0, 2]] * 3 + [[3, 1, 1]] * 1
    batch = from_rows(rows, [[False, True, True]] * 10)
    network = TableNetwork(3, 2)
    policy = TokenPolicy(network)
    algorithm = Supervised(
        policy,
        Learner(
            policy, Schedule(0.1, 600, shape="cosine", final=0.0), optimizer=adamw(weight_decay=0.0)
        ),
        Stopwatch(),
    )
    figures: dict[str, float] = {}
    for _ in range(600):
        figures = algorithm.update(batch)
    first, after_zero = network.table[:, 0].softmax(0), network.table[:, 1].softmax(0)
    torch.testing.assert_close(
        first, torch.tensor([0.9, 0.1, 0.0], dtype=torch.float64), rtol=0, atol=2e-3
    )
    torch.testing.assert_close(
        after_zero, torch.tensor([0.0, 6 / 9, 3 / 9], dtype=torch.float64), rtol=0, atol=2e-3
    )
    # the loss is the mean over trained tokens: the entropy of the data
    entropy = torch.distributions.Categorical(torch.tensor([6.0, 3.0, 1.0])).entropy() / 2
    assert abs(figures["loss"] - entropy.item()) < 1e-3
    assert figures["tokens"] == 20


def test_a_transformer_learns_to_copy() -> None:
    """The prompt is given, the copy is trained: 4 random symbols of 8, which chance gets right once
    in 4,096.
    """
    policy = policy_of(transformer(0, width=48, heads=4, kv_heads=4, mlp_width=96))
    algorithm = Supervised(policy, learner(policy, rate=4e-3, clip=1.0), Stopwatch())
    random = seeded(0)
    loss = []
    for _ in range(250):
        words = torch.randint(3, 11, (64, 4), generator=random).tolist()
        batch = from_rows([[1, *word, 2, *word] for word in words], [[False] * 6 + [True] * 4] * 64)
        loss.append(algorithm.update(batch)["loss"])
    assert loss[0] > 2
    assert sum(loss[-10:]) / 10 < 0.1
