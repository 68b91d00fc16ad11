"""Monte Carlo tree search over tokens: prompts side by side, leaves read by the token engine
together, and its prefix cache reads nothing twice.

A leaf is worth what a completion that the model says from there earns (a rollout, drawn or of the
likeliest tokens), or what a value says of it as it stands.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fledge.engine.engine import Engine
from fledge.engine.generation import Generation
from fledge.engine.request import Completion, Request
from fledge.errors import UserError
from fledge.log_prob import PLAIN, Decoding
from fledge.plan.token_tree import Node, TokenTree
from fledge.policy import TokenPolicy

# finished rows that the prefix cache keeps, of all prompts: what a leaf continues is among them
CACHED = 64, 256
CACHED_OF_ONE = 8
GREEDY = Decoding(temperature=0.0)

# (number of the prompt of each, completions, or beginnings of them) -> what each is worth
Worth = Callable[[Sequence[int], Sequence[Completion]], Sequence[float]]


@dataclass(frozen=True)
class SearchPlan:
    """simulations: looks, a prompt. width: likeliest tokens that are tried after a beginning.
    leaves: looks side by side. rollouts: whether a leaf is worth what is said from there; greedy:
    by the likeliest tokens.
    """

    simulations: int = 64
    width: int = 8
    leaves: int = 4
    exploration: float = 1.25
    rollouts: bool = True
    greedy: bool = False


@dataclass(frozen=True)
class Searched(Completion):
    """A completion that a search came to. score: what it is worth, by what was searched for."""

    score: float = 0.0


@dataclass
class TokenSearch:
    """What one prompt's search came to. best: the completions that are worth most, best first, each
    once. first: the rollout from the prompt itself, which is the model's own answer.
    """

    prompt: list[int]
    tree: TokenTree
    best: list[Searched] = field(default_factory=list)
    first: Searched | None = None

    def most_visited(self) -> Searched:
        """The beginning that was gone through most: what there is where nothing came to an end."""
        way, node = [], self.tree.root
        while node.opened and node.visits.any():
            edge = int(node.visits.argmax())
            way.append((node, edge))
            node = node.below[edge]
        one = _name_end(self, way, 0)
        return dataclasses.replace(one, score=0.0 if node.guess is None else node.guess)


def make_search_engine(
    policy: TokenPolicy, prompts: Sequence[Sequence[int]], max_new_tokens: int, leaves: int,
    precision: Generation = "fp32",
) -> Engine:  # fmt: skip
    """One with room for these prompts' leaves and a prefix cache for what they continue. Raises
    UserError for a policy with a rule or a constraint: the tree is of the model itself.
    """
    if policy.rule != PLAIN or policy.bound is not None:
        raise UserError(
            "a search over tokens goes by the model itself: leave temperature, top_k, top_p, min_p "
            "and constraints out."
        )
    longest = max(map(len, prompts)) + max_new_tokens
    return Engine(
        policy, slots=min(256, len(prompts) * leaves), precision=precision,
        positions=min(longest, policy.network.config.context),
        prefix_cache_rows=min(max(CACHED[0], CACHED_OF_ONE * len(prompts)), CACHED[1]),
    )  # fmt: skip


def search_tokens(
    engine: Engine,
    prompts: Sequence[Sequence[int]],
    worth: Worth,
    plan: SearchPlan,
    *,
    max_new_tokens: int,
    stop: frozenset[int],
    seed: int,
    numbers: Sequence[int] | None = None,
) -> list[TokenSearch]:
    """One search a prompt. worth: of completions that have ended; without rollouts also of their
    beginnings. numbers: of the prompts among all, which their draws go by.

    Raises UserError for a prompt that leaves no room.
    """
    context = engine.policy.network.config.context
    width = min(plan.width, len(engine.policy.network.unembedding))
    searches = [
        TokenSearch(
            list(prompt),
            TokenTree(min(max_new_tokens, context - len(prompt)), stop, plan.exploration),
        )
        for prompt in prompts
    ]
    numbers = range(len(prompts)) if numbers is None else numbers
    done = [0] * len(prompts)
    while min(done, default=plan.simulations) < plan.simulations:
        looks = []  # prompt, way, request
        for i, one in enumerate(searches):
            for _ in range(min(plan.leaves, plan.simulations - done[i])):
                way = one.tree.select()
                if way is None:
                    break
                place = numbers[i] * plan.simulations + done[i]
                looks.append((i, way, _ask(one.tree, way, prompts[i], plan, width, seed, place)))
                done[i] += 1
        _look(engine, searches, looks, worth, plan)
    for one in searches:
        one.best.sort(key=lambda each: (-each.score, -sum(each.raw_logp)))
    return searches


def _ask(
    tree: TokenTree, way: Any, prompt: Sequence[int], plan: SearchPlan, width: int, seed: int,
    place: int,
) -> Request | None:  # fmt: skip
    """What the engine is asked of a leaf; nothing of a completion that has ended."""
    node = tree.find(way)
    if node.ended:
        return None
    return Request(
        [*prompt, *node.path], tree.room - len(node.path) if plan.rollouts else 1, stop=tree.stop,
        rule=GREEDY if plan.greedy else PLAIN, alternatives=width, seed=seed, sample=place,
    )  # fmt: skip


def _look(
    engine: Engine, searches: Sequence[TokenSearch], looks: Sequence[Any], worth: Worth,
    plan: SearchPlan,
) -> None:  # fmt: skip
    """The engine's answers of one round, what they are worth, and both into the trees."""
    asked = [request for _, _, request in looks if request is not None]
    answers = iter(engine.run(asked))
    judged: list[tuple[int, Any, Searched]] = []  # what is to be asked its worth
    for i, way, request in looks:
        tree = searches[i].tree
        node = tree.find(way)
        if request is None:
            if node.guess is not None:
                tree.back_up(way, node.guess)
                continue
            judged.append((i, way, _name_end(searches[i], way, engine.version)))
            continue
        answer = next(answers)
        if answer.error is not None:
            raise UserError(f"prompt {i}: {answer.error}")
        tree.open(node, answer.alternatives[0])
        judged.append((i, way, _join(searches[i], way, answer, plan.rollouts)))
    scores = worth([i for i, _, _ in judged], [one for _, _, one in judged])
    for (i, way, one), score in zip(judged, scores, strict=True):
        search = searches[i]
        node = search.tree.find(way)
        node.guess = float(score) if node.guess is None else node.guess
        search.tree.back_up(way, float(score))
        if plan.rollouts or node.ended:
            _keep(search, dataclasses.replace(one, score=float(score)), first=not way)


def _name_end(search: TokenSearch, way: Sequence[tuple[Node, int]], version: int) -> Searched:
    """A completion that was said token by token, along a way."""
    node, logp = search.tree.find(way), [float(node.logp[edge]) for node, edge in way]
    ended = "stop" if node.stopped else "length"
    return Searched(search.prompt, list(node.path), logp, ended, logp, version=version)


def _join(
    search: TokenSearch, way: Sequence[tuple[Node, int]], answer: Completion, rollouts: bool
) -> Searched:
    """The way and what was said after it; without rollouts the way alone, which goes on."""
    begun = _name_end(search, way, answer.version)
    if not rollouts:
        return begun
    logp = begun.logp + answer.raw_logp
    tokens = begun.tokens + answer.tokens
    return Searched(search.prompt, tokens, logp, answer.ended, logp, version=answer.version)


def _keep(search: TokenSearch, one: Searched, first: bool) -> None:
    if first and search.first is None:
        search.first = one
    if all(one.tokens != other.tokens for other in search.best):
        search.best.append(one)
