"""What comes out of a replay memory, beside the history that went in: returns of several steps, and
how often and how heavy by surprise.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fledge.sample.replay import Replay, Surprise, Transitions
from fledge.trajectories import Trajectories
from fledge.verify.rows import TableRow

GAMMA = 0.8
FLOAT32 = 1e-6  # relative: rewards are kept in float32


def history(copies: int = 3, steps: int = 14) -> Trajectories:
    """Every observation has a number of its own; ends of both kinds, and steps that nobody chose
    after them.
    """
    random = torch.Generator().manual_seed(81)
    ended = torch.rand(copies, steps, generator=random) < 0.25
    cut = torch.rand(copies, steps, generator=random) < 0.5
    chosen = torch.cat([torch.ones(copies, 1, dtype=torch.bool), ~ended[:, :-1]], 1)
    ended &= chosen
    obs = torch.arange(copies * (steps + 1)).view(copies, steps + 1)
    action, reward = (
        torch.randint(0, 4, (copies, steps), generator=random),
        torch.randn(copies, steps, generator=random),
    )
    return Trajectories(obs, action, chosen, reward, ended & ~cut, ended & cut)


def sum_by_hand(batch: Trajectories, i: int, t: int, n: int) -> tuple[float, int, float, bool]:
    """Σ γ^k r_k over up to n steps, what was seen after them, γ^k, and whether the world ended
    there.
    """
    total, k = 0.0, 0
    while True:
        total += GAMMA**k * float(batch.reward[i, t + k])
        k += 1
        here = t + k - 1
        over = bool(batch.terminated[i, here] | batch.truncated[i, here])
        if over or k == n or t + k == batch.reward.shape[1] or not bool(batch.chosen[i, t + k]):
            return total, int(batch.obs[i, t + k]), GAMMA**k, bool(batch.terminated[i, here])


def returns_row(id: str, n: int) -> TableRow:
    """400 draws out of some thirty steps: every one is met, and is what the history says."""
    batch = history()
    memory = Replay(600, generator=torch.Generator().manual_seed(82))
    memory.push(batch)
    drawn = memory.draw(400, GAMMA, n)
    width, error, met = batch.obs.shape[1], 0.0, set()
    for j, number in enumerate(drawn.obs.tolist()):
        i, t = divmod(number, width)
        met.add(number)
        reward, after, discount, terminated = sum_by_hand(batch, i, t, n)
        same = int(drawn.action[j]) == int(batch.action[i, t]) and int(drawn.next_obs[j]) == after
        same &= bool(drawn.terminated[j]) is terminated and float(drawn.weight[j]) == 1
        wrong = max(
            abs(float(drawn.reward[j]) - reward),
            abs(float(drawn.discount[j]) - discount),
            float(not same),
        )
        error = max(error, wrong)
    every = batch.obs[:, :-1][batch.chosen].tolist()
    figure = error if met == set(every) else math.inf
    return TableRow(
        id, f"replay, returns of {n} step{'s' * (n > 1)}", "every step that was chosen, as it came",
        figure, FLOAT32,
        f"{len(met)} of {len(every)} steps drawn, each the history's to {error:.1e}",
    )  # fmt: skip


def surprise_row() -> TableRow:
    """Priorities of whole parts: of as many draws as there are parts, each step is drawn exactly as
    often as it has parts.

    P(i) ∝ (|δ| + ε)^α, and the weight is (N·P(i))^−β over the largest, β on its way from 0.4 to 1
    (Schaul et al. 2016, §3.3 and 3.4).
    """
    batch, alpha = history(1, 6), 0.5
    memory = Replay(
        100, generator=torch.Generator().manual_seed(83), surprise=Surprise(alpha=alpha, beta=0.4)
    )
    memory.push(batch)
    drawn = memory.draw(200, GAMMA)
    index = {int(number): int(place) for number, place in zip(drawn.obs, drawn.index, strict=True)}
    numbers = sorted(index)
    parts = [1 + k % 3 for k in range(len(numbers))]
    error = float(drawn.weight.sub(1).abs().max())  # new steps are all as likely
    places = torch.tensor([index[number] for number in numbers])
    memory.surprised(
        places, torch.tensor([part ** (1 / alpha) - 1e-6 for part in parts], dtype=torch.float64)
    )
    for gone, beta in ((0.0, 0.4), (0.5, 0.7), (1.0, 1.0), (1.25, 1.0)):
        again = memory.draw(sum(parts), GAMMA, gone=gone)
        error = max(error, measure_draws(again, numbers, parts, beta))
    return TableRow(
        "M3", "replay, by surprise", "as often as |δ|^α, as heavy as (N·P)^−β", error, FLOAT32,
        f"{len(numbers)} steps of {sum(parts)} parts, four draws: counts and weights to "
        f"{error:.1e}",
    )  # fmt: skip


def measure_draws(drawn: Transitions, numbers: list[int], parts: list[int], beta: float) -> float:
    """The largest error of counts and weights."""
    counts = [int((drawn.obs == number).sum()) for number in numbers]
    chance = [part / sum(parts) for part in parts]
    raw = [(len(parts) * p) ** -beta for p in chance]
    weight: dict[int, float] = {
        number: each / max(raw) for number, each in zip(numbers, raw, strict=True)
    }
    apart: Tensor = drawn.weight - torch.tensor([weight[int(number)] for number in drawn.obs])
    return max(float(apart.abs().max()), float(counts != parts))


def memory_rows() -> list[TableRow]:
    return [returns_row("M1", 1), returns_row("M2", 3), surprise_row()]
