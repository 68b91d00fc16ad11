"""Best-first search over tokens: the beginning that could still become best is continued next, so
that what it ends with is proved to be the best there is (Hart, Nilsson & Raphael 1968), as far as
its simulations last.

A completion is worth log π(y) + r(y)/β, without a reward log π(y) alone: the first is largest where
the optimum of E[r] − β KL, π(y) exp(r(y)/β) / Z, has its mode.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from fledge.engine.engine import Engine
from fledge.engine.request import Completion, Request
from fledge.errors import UserError
from fledge.plan.token_tree import Path
from fledge.sample.token_search import Searched, SearchPlan, Worth


@dataclass(frozen=True)
class Reward:
    """worth: of completions that have ended. beta: nats that a reward of 1 is worth, as 1/β. most:
    what no completion earns more than; None where nobody knows, and beginnings are then ranked by
    what `worth` says of them as they stand, which proves nothing.
    """

    worth: Worth
    beta: float
    most: float | None


@dataclass
class Front:
    """What is known of one prompt: beginnings that may be continued, and what has ended.

    open: (−what it may become, number, path, log π of each token). rest: what a beginning that was
    not kept for want of width could become at the most.
    """

    prompt: list[int]
    room: int
    open: list[tuple[float, int, Path, tuple[float, ...]]] = field(default_factory=list)
    best: list[Searched] = field(default_factory=list)
    rest: float = -math.inf
    opened: int = 0

    def may_improve(self, n_best: int) -> bool:
        if not self.open:
            return False
        return len(self.best) < n_best or -self.open[0][0] > self.best[n_best - 1].score

    def take_beginning(self) -> list[Searched]:
        """The one that may become best: what there is where nothing has ended."""
        score, _, path, logp = min(self.open)
        return [Searched(self.prompt, list(path), list(logp), "length", list(logp), score=-score)]

    def is_proved(self, n_best: int, exact: bool) -> bool:
        """Whether nothing that was not looked at can be better than the n_best."""
        if not exact or len(self.best) < n_best or self.may_improve(n_best):
            return False
        return self.rest <= self.best[n_best - 1].score


def search_best_first(
    engine: Engine,
    prompts: Sequence[Sequence[int]],
    plan: SearchPlan,
    *,
    max_new_tokens: int,
    stop: frozenset[int],
    n_best: int = 1,
    reward: Reward | None = None,
) -> list[tuple[list[Searched], bool]]:
    """Of each prompt the n_best completions, best first, and whether that is proved. plan:
    simulations are beginnings that are continued. Raises UserError for a prompt that leaves no
    room.
    """
    context = engine.policy.network.config.context
    forbidden = 0 if engine.forbidden is None else len(engine.forbidden)
    actions = len(engine.policy.network.unembedding) - forbidden
    width = min(plan.width, actions)
    count = itertools.count()
    bound = 0.0 if reward is None or reward.most is None else reward.most / reward.beta
    fronts = [Front(list(p), min(max_new_tokens, context - len(p))) for p in prompts]
    for front in fronts:
        front.open.append((-bound, next(count), (), ()))
    while True:
        taken = []
        for i, front in enumerate(fronts):
            for _ in range(min(plan.leaves, plan.simulations - front.opened)):
                if front.may_improve(n_best):
                    taken.append((i, *heapq.heappop(front.open)[2:]))
                    front.opened += 1
        if not taken:
            exact = reward is None or reward.most is not None
            return [
                (front.best[:n_best] or front.take_beginning(), front.is_proved(n_best, exact))
                for front in fronts
            ]
        answers = engine.run(
            Request([*fronts[i].prompt, *path], 1, stop=stop, alternatives=width)
            for i, path, _ in taken
        )
        grown: list[tuple[int, Searched]] = []
        for (i, path, logp), answer in zip(taken, answers, strict=True):
            if answer.error is not None:
                raise UserError(f"prompt {i}: {answer.error}")
            front = fronts[i]
            for token, chance in answer.alternatives[0]:
                tokens = [*path, token]
                ended = "stop" if token in stop else "length"
                every = [*logp, chance]
                grown.append((i, Searched(front.prompt, tokens, every, ended, every)))
            if width < actions:  # each of the others is less likely than the last of these
                front.rest = max(front.rest, sum(logp) + answer.alternatives[0][-1][1] + bound)
        _place(fronts, grown, reward, bound, count)


def _place(
    fronts: Sequence[Front],
    grown: Sequence[tuple[int, Searched]],
    reward: Reward | None,
    bound: float,
    count: itertools.count[int],
) -> None:
    """What has ended competes, what has not may be continued."""
    over = [one.stopped or len(one.tokens) >= fronts[i].room for i, one in grown]
    gains = [bound] * len(grown)
    if reward is not None:
        asked = [k for k, done in enumerate(over) if done or reward.most is None]
        said: Sequence[Completion] = [grown[k][1] for k in asked]
        for k, worth in zip(asked, reward.worth([grown[k][0] for k in asked], said), strict=True):
            gains[k] = float(worth) / reward.beta
    for (i, one), done, gain in zip(grown, over, gains, strict=True):
        score = sum(one.raw_logp) + gain
        if done:
            fronts[i].best.append(dataclasses.replace(one, score=score))
        else:
            heapq.heappush(
                fronts[i].open, (-score, next(count), tuple(one.tokens), tuple(one.raw_logp))
            )
    for i in {i for i, _ in grown}:
        fronts[i].best.sort(key=lambda one: -one.score)
