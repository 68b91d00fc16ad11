"""Which label is worth asking for next? What each acquisition function says of the pool.

Uncertainty and margin: Settles 2009, sections 2.1 and 3.1; expected model change: Settles, Craven &
Ray 2008; BALD: Houlsby, Huszár, Ghahramani & Lengyel 2011, eq. 2; core-set: Sener & Savarese 2018,
algorithm 1; several at a time: Kirsch, Farquhar, Atighehchian, Jesson, Branchaud-Charron & Gal 2023
(stochastic batch acquisition, "power").
"""

from __future__ import annotations

import torch
from torch import Tensor

TINY = 1e-300  # whose logarithm is finite
METHODS = ("random", "uncertainty", "margin", "bald", "core_set", "expected_change")


def uncertainty(p: Tensor) -> Tensor:
    """H[p(y|x)] in nats.  [N, C] -> [N]"""
    return -torch.special.xlogy(p, p).sum(-1)


def margin(p: Tensor) -> Tensor:
    """How near the two likeliest labels are, negative.  [N, C] -> [N]"""
    two = p.topk(2, -1).values
    return two[:, 1] - two[:, 0]


def bald(p: Tensor) -> Tensor:
    """I[y; w | x] = H[E_w p] − E_w H[p]: what the label would tell of the weights.  [K, N, C] ->
    [N], of K draws of the posterior
    """
    return uncertainty(p.mean(0)) - uncertainty(p).mean(0)


def expected_change(p: Tensor, x: Tensor) -> Tensor:
    """E_y |∇_W nll|, of a softmax over x: Σ_y p_y |p − e_y| |x|.  [N, C], [N, D] -> [N]"""
    # |p − e_y|² = Σ p² − 2 p_y + 1
    apart = (p.square().sum(-1, keepdim=True) - 2 * p + 1).clamp(min=0).sqrt()
    return (p * apart).sum(-1) * x.norm(dim=-1)


def core_set(x: Tensor, labelled: Tensor, count: int) -> Tensor:
    """The farthest from all that is labelled, one after the other.  [N, D], [n] long -> [count]
    long
    """
    distance = torch.cdist(x, x[labelled]).amin(1)
    distance[labelled] = -torch.inf  # a copy of what is labelled is as near as that itself
    chosen = []
    for _ in range(count):
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (x - x[chosen[-1]]).norm(dim=1))
        distance[chosen[-1]] = -torch.inf
    return torch.tensor(chosen)


def choose(
    method: str, x: Tensor, labelled: Tensor, count: int, draws: Tensor,
    generator: torch.Generator, power: float = 1.0,
) -> Tensor:  # fmt: skip
    """`count` things of the pool x [N, D] that have no label yet, drawn one after the other with
    chances that go as score^power: the highest scores are those of things that are alike, and one
    label tells of them all. draws: [K, N, C], what is said of the pool: first by the weights
    themselves, then by draws of their posterior.  -> [count] long
    """
    if method == "core_set":
        return core_set(x, labelled, count)
    scores = {
        "random": lambda: torch.ones(len(x), dtype=torch.float64),
        "uncertainty": lambda: uncertainty(draws[0]),
        "margin": lambda: 1 + margin(draws[0]),
        "bald": lambda: bald(draws[1:]),
        "expected_change": lambda: expected_change(draws[0], x),
    }[method]()
    # Gumbel's noise on log chances: the largest are a draw without replacement (Vieira 2014).
    even = torch.rand(len(x), dtype=torch.float64, generator=generator)
    noise = -(-even.clamp(min=TINY).log()).log()
    drawn = power * scores.clamp(min=TINY).log() + noise
    drawn[labelled] = -torch.inf
    return drawn.topk(count).indices
