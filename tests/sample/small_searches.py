"""Searches over a language that can be written down, and the same search by dictionaries."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from fledge.engine.engine import Engine
from fledge.exact.enumerable import Language
from fledge.policy import TokenPolicy
from fledge.sample.token_search import (
    SearchPlan,
    TokenSearch,
    Worth,
    make_search_engine,
    search_tokens,
)
from fledge.verify.table import TableNetwork

LANGUAGE = Language(3, 3, stop=2)
STOP = frozenset({2})


class Small:
    """A policy and a reward for every sequence, both drawn at random."""

    def __init__(self, seed: int, scale: float = 1.0) -> None:
        self.network = TableNetwork(3, 3, seed=seed, scale=scale)
        self.policy = TokenPolicy(self.network)
        self.logits = self.network.logits(LANGUAGE).detach()
        self.logp = LANGUAGE.log_prob(self.logits)
        random = torch.Generator().manual_seed(100 + seed)
        self.reward = torch.rand(len(LANGUAGE.sequences), generator=random, dtype=torch.float64)
        self.by_word = dict(zip(LANGUAGE.sequences, self.reward.tolist(), strict=True))

    @property
    def best(self) -> tuple[int, ...]:
        return max(self.by_word, key=lambda word: self.by_word[word])

    def expect(self, prefix: tuple[int, ...]) -> float:
        """E[r] of what the policy says after a prefix, by enumeration; of a sequence its reward."""
        if prefix in self.by_word:
            return self.by_word[prefix]
        row = self.logits[LANGUAGE.prefixes.index(prefix)].softmax(0).tolist()
        return sum(p * self.expect((*prefix, a)) for a, p in enumerate(row))

    def value(self, places: Sequence[int], said: Any) -> list[float]:
        """A critic without error."""
        return [self.expect(tuple(one.tokens)) for one in said]

    def judge(self, places: Sequence[int], said: Any) -> list[float]:
        return [self.by_word[tuple(one.tokens)] for one in said]

    def engine(self, leaves: int = 1) -> Engine:
        return make_search_engine(self.policy, [[0]], 3, leaves)

    def search(self, worth: Worth | None = None, **plan: Any) -> TokenSearch:
        given: dict[str, Any] = {"width": 3, "leaves": 1} | plan
        settings = SearchPlan(**given)
        [one] = search_tokens(
            self.engine(settings.leaves), [[0]], worth or self.judge, settings,
            max_new_tokens=3, stop=STOP, seed=7,
        )  # fmt: skip
        return one


def search_by_dictionaries(
    logits: Tensor, value: Callable[[tuple[int, ...]], float], simulations: int, c: float
) -> dict[tuple[int, ...], int]:
    """PUCT as MuZero's pseudo-code has it, without its visit-dependent constant: how often every
    sequence and prefix was gone through.
    """
    visits: dict[tuple[int, ...], int] = {}
    worths: dict[tuple[int, ...], float] = {}
    opened: set[tuple[int, ...]] = set()
    low, high = math.inf, -math.inf
    for _ in range(simulations):
        path: tuple[int, ...] = ()
        while path in opened:
            row = logits[LANGUAGE.prefixes.index(path)].softmax(0).tolist()
            total = sum(visits.get((*path, a), 0) for a in range(len(row)))
            scores = {}
            for a, p in enumerate(row):
                n = visits.get((*path, a), 0)
                q = worths[(*path, a)] / n if n else value(path)
                q = (q - low) / (high - low) if high > low else 0.0
                scores[a] = q + c * p * math.sqrt(1 + total) / (1 + n)
            path = (*path, max(scores, key=lambda a: scores[a]))
        came = value(path)
        if path not in LANGUAGE.sequences:
            opened.add(path)
        low, high = min(low, came), max(high, came)
        for t in range(1, len(path) + 1):
            visits[path[:t]] = visits.get(path[:t], 0) + 1
            worths[path[:t]] = worths.get(path[:t], 0.0) + came
    return visits
