"""Searches over tokens beside enumeration: the likeliest sequence, the mode of the optimum, and
what a search teaches.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fledge.engine.request import Completion
from fledge.exact.enumerable import Language, optimum
from fledge.plan.token_tree import weigh_by_worth
from fledge.policy import TokenPolicy
from fledge.sample.best_first import Reward, search_best_first
from fledge.sample.token_search import SearchPlan, make_search_engine, search_tokens
from fledge.verify.rows import TableRow
from fledge.verify.table import TableNetwork

LANGUAGE = Language(3, 3, stop=2)
STOP = frozenset({2})
SEEDS, BETA = 8, 0.4
PROMPT = [[0]]


class Question:
    """A policy and a reward for every sequence, drawn at random."""

    def __init__(self, seed: int, scale: float) -> None:
        network = TableNetwork(3, 3, seed=seed, scale=scale)
        self.policy = TokenPolicy(network)
        self.logp = LANGUAGE.log_prob(network.logits(LANGUAGE).detach())
        random = torch.Generator().manual_seed(seed)
        self.reward = torch.rand(len(self.logp), generator=random, dtype=torch.float64)
        self.by_word = dict(zip(LANGUAGE.sequences, self.reward.tolist(), strict=True))

    def judge(self, places: Sequence[int], said: Sequence[Completion]) -> list[float]:
        return [self.by_word[tuple(one.tokens)] for one in said]

    def find_best(self, reward: Reward | None) -> tuple[tuple[int, ...], float, bool]:
        """The sequence that best-first search comes to, its score, and whether it is proved."""
        engine = make_search_engine(self.policy, PROMPT, 3, 2)
        [(best, proved)] = search_best_first(
            engine, PROMPT, SearchPlan(100, 3, 2), max_new_tokens=3, stop=STOP, reward=reward
        )
        return tuple(best[0].tokens), best[0].score, proved


def best_first_row(id: str, rewarded: bool) -> TableRow:
    error, missed = 0.0, 0
    for seed in range(SEEDS):
        question = Question(seed, 2.0)
        reward = Reward(question.judge, BETA, 1.0) if rewarded else None
        word, score, proved = question.find_best(reward)
        exact: Tensor = question.logp + (question.reward / BETA if rewarded else 0.0)
        missed += not proved or word != LANGUAGE.sequences[int(exact.argmax())]
        error = max(error, abs(score - float(exact.max())))
    what = "log π(y) + r(y)/β" if rewarded else "log π(y)"
    return TableRow(
        id, f"best-first search over tokens, {what}", "ends with the best of all sequences, proved",
        max(error, float(missed)), 1e-9,
        f"{SEEDS - missed} of {SEEDS} languages, scores to {error:.1e}",
    )  # fmt: skip


def soft_target_row() -> TableRow:
    """Trees so explored that every sequence was come to."""
    error = 0.0
    for seed in range(SEEDS // 2):
        question = Question(seed, 0.3)
        engine = make_search_engine(question.policy, PROMPT, 3, 1)
        [search] = search_tokens(
            engine, PROMPT, question.judge, SearchPlan(400, 3, 1, 1e4), max_new_tokens=3,
            stop=STOP, seed=seed,
        )  # fmt: skip
        shares = weigh_by_worth(search.tree, BETA)
        best = optimum(question.reward, question.logp, BETA).exp()
        told = torch.tensor([shares.get(w, 0.0) for w in LANGUAGE.sequences], dtype=torch.float64)
        error = max(error, float((told - best).abs().max()))
    return TableRow(
        "TS3", "search as a teacher, target=soft", "where exhausted, the optimum of E[r] − β·KL",
        error, 1e-9, f"probabilities of all sequences to {error:.1e}",
    )  # fmt: skip


def token_search_rows() -> list[TableRow]:
    return [best_first_row("TS1", False), best_first_row("TS2", True), soft_target_row()]
