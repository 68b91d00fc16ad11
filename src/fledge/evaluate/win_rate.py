"""Whose answers are better: pairs that a judge has seen in both orders, for it may like the first
one, or the second, wherever it stands.

Zheng et al. 2023, "Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena", §3.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fledge.evaluate.intervals import SHARE, bounded_interval


@dataclass(frozen=True)
class WinRate:
    """rate: the mean over prompts of 1, ½ for a tie, 0, in both orders together; low, high: where
    it lies. wins, ties, losses: prompts. first: how often what stood first was preferred; a judge
    that goes by what it reads has ½. swayed: the share of prompts on which the order decided.
    """

    rate: float
    low: float
    high: float
    wins: int
    ties: int
    losses: int
    first: float
    swayed: float


def measure_win_rate(
    as_first: Sequence[float], as_second: Sequence[float], share: float = SHARE
) -> WinRate:
    """as_first, as_second: what our answer got where it stood first, and where it stood second: 1
    preferred, ½ a tie, 0 not.  [N], [N]
    """
    if len(as_first) != len(as_second) or not as_first:
        raise ValueError(
            f"{len(as_first)} verdicts in one order and {len(as_second)} in the other were given: "
            "give as many, one or more."
        )
    both = [(a + b) / 2 for a, b in zip(as_first, as_second, strict=True)]
    low, high = bounded_interval(both, share)
    pairs = list(zip(as_first, as_second, strict=True))
    first = sum(as_first) + sum(1 - b for b in as_second)
    return WinRate(
        rate=sum(both) / len(both),
        low=low,
        high=high,
        wins=sum(each > 0.5 for each in both),
        ties=sum(each == 0.5 for each in both),
        losses=sum(each < 0.5 for each in both),
        first=first / (2 * len(both)),
        swayed=sum((a > 0.5 > b) or (a < 0.5 < b) for a, b in pairs) / len(both),
    )
