"""Which edge a simulation takes from a node, for many nodes at a time.

Formulas only, [N, E] in and out. q is what the player whose turn it is gets on average; n counts
visits; an edge that is not allowed has the score −∞.
UCT: Kocsis & Szepesvári 2006 (UCB1, Auer et al. 2002). PUCT: Silver et al. 2017, AlphaGo Zero's
methods. Gumbel: Danihelka et al. 2022, section 5 and appendices B and D.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from fledge.worlds.games.game import Numbers

NEVER = -np.inf


def uct_score(q: Numbers, n: Numbers, allowed: Numbers, exploration: float) -> Numbers:
    """q + c √(ln Σn / n); what was never tried comes first.  [N, E] -> [N, E]"""
    every = np.maximum(n.sum(1, keepdims=True), 1)
    score = q + exploration * np.sqrt(np.log(every) / np.maximum(n, 1))
    score = np.where(n == 0, np.inf, score)
    return np.where(allowed, score, NEVER)


def puct_score(
    q: Numbers, n: Numbers, prior: Numbers, value: Numbers, allowed: Numbers, exploration: float
) -> Numbers:
    """q + c P √Σn / (1 + n); what was never tried is worth what the node is. At a node that was
    never left √Σn counts as 1, so that the prior decides.  [N, E], value [N] -> [N, E]
    """
    every = np.maximum(n.sum(1, keepdims=True), 1)
    worth = np.where(n == 0, value[:, None], q)
    score = worth + exploration * prior * np.sqrt(every) / (1 + n)
    return np.where(allowed, score, NEVER)


def chance_score(n: Numbers, prior: Numbers, allowed: Numbers) -> Numbers:
    """The outcome that came too seldom for its chance so far: p (Σn + 1) − n. Nothing is drawn, and
    no outcome is ever farther from its share than by E − 1 visits.  [N, E] -> [N, E]
    """
    return np.where(allowed, prior * (n.sum(1, keepdims=True) + 1) - n, NEVER)


def mix_value(q: Numbers, n: Numbers, prior: Numbers, value: Numbers) -> Numbers:
    """What a node is worth by its own value and by the edges that were tried (Danihelka et al.,
    appendix D, eq. 33): (v + Σn · Σ π q / Σ π) / (1 + Σn), over tried edges.  [N, E] -> [N]
    """
    tried = n > 0
    share = np.where(tried, np.maximum(prior, np.finfo(np.float64).tiny), 0.0)
    every, whole = n.sum(1), share.sum(1)
    mean = (share * q).sum(1) / np.where(whole > 0, whole, 1.0)
    return (value + every * mean) / (1 + every)


def improved_logits(
    q: Numbers,
    n: Numbers,
    prior: Numbers,
    value: Numbers,
    allowed: Numbers,
    visit_offset: float,
    value_scale: float,
) -> Numbers:
    """log π + σ(completed q), of which the softmax is the improved policy (eqs. 8 and 11): an edge
    that was not tried has the mixed value; σ(q) = (c_visit + max n) c_scale q with q in 0…1.
    [N, E] -> [N, E]
    """
    completed = np.where(n > 0, q, mix_value(q, n, prior, value)[:, None])
    weight = (visit_offset + n.max(1, keepdims=True)) * value_scale
    log_prior = np.log(np.maximum(prior, np.finfo(np.float64).tiny))
    return np.where(allowed, log_prior + weight * (1 + completed) / 2, NEVER)


def softmax(logits: Numbers) -> Numbers:
    """[N, E] -> [N, E]; 0 at −∞"""
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


def gumbel_inner_score(improved: Numbers, n: Numbers, allowed: Numbers) -> Numbers:
    """π′ − n / (1 + Σn): below the root visits follow the improved policy without any noise (eq.
    14).  [N, E] -> [N, E]
    """
    score = softmax(improved) - n / (1 + n.sum(1, keepdims=True))
    return np.where(allowed, score, NEVER)


@cache
def list_halvings(considered: int, simulations: int) -> tuple[int, ...]:
    """How often the next edge to be tried at the root has been tried before, at each simulation:
    sequential halving (Karnin et al. 2013; Danihelka et al., figure 1). Phases of equal length; in
    each all edges that are left are tried in turn, and after it the better half is left.
    """
    if considered <= 1:
        return tuple(range(simulations))
    phases = math.ceil(math.log2(considered))
    tried, sequence, left = [0] * considered, list[int](), considered
    while len(sequence) < simulations:
        for _ in range(max(1, simulations // (phases * left))):
            sequence += tried[:left]
            tried[:left] = [n + 1 for n in tried[:left]]
        left = max(2, left // 2)
    return tuple(sequence[:simulations])


def table_of_halvings(most: int, simulations: int) -> NDArray[np.int64]:
    """`list_halvings` of 0, 1, … most edges.  -> [most + 1, simulations]"""
    return np.array([list_halvings(m, simulations) for m in range(most + 1)])
