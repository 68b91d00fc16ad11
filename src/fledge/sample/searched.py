"""Trajectories out of a search over tokens: the branches of a tree for each prompt of a task, with
the share of every edge as its reward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from fledge import ranks
from fledge.engine.request import Completion
from fledge.plan.token_tree import Path, TokenTree, weigh_by_visits, weigh_by_worth
from fledge.sample.rollouts import Group, Rollouts, summarise_groups
from fledge.sample.token_search import (
    SearchPlan,
    TokenSearch,
    make_search_engine,
    search_tokens,
)
from fledge.tasks.named import Example
from fledge.text.asking import encode_prompt
from fledge.trajectories import Sampled


@dataclass(frozen=True)
class Branch:
    """A way from a prompt to where its tree ends. own [t]: the edges that no branch before it has;
    share and logp [t].
    """

    tokens: list[int]
    own: list[bool]
    share: list[float]
    logp: list[float]
    stopped: bool


class SearchedRollouts:
    """Endless batches of prompts_per_step trees. The task, the prompts and the draws are those of a
    `Rollouts`, and so is the state; figures are of the policy's own answer to each prompt, before
    it has searched, and `searched_reward` is what the best answer of each search earned.
    """

    def __init__(self, rollouts: Rollouts, plan: SearchPlan, soft_beta: float | None) -> None:
        """soft_beta: shares of the soft optimum instead of visit shares."""
        self.rollouts, self.plan, self.soft_beta = rollouts, plan, soft_beta
        self.figures: dict[str, float] = {}

    def __next__(self) -> Sampled:
        r = self.rollouts
        examples = [r.task.example(r.position + i, "train") for i in range(r.prompts_per_step)]
        r.position += r.prompts_per_step
        prompts = [encode_prompt(r.tokenizer, example.prompt) for example in examples]
        seed = int(torch.randint(2**62, (), generator=r.generator))
        own = ranks.deal_level([len(prompt) for prompt in prompts])
        with r.stopwatch.phase("generate"):
            mine = self._search(examples, prompts, own, seed) if own else {}
            every = {i: one for share in ranks.gather(mine) for i, one in share.items()}
        order = sorted(every)
        self.figures = summarise_groups([every[i][1] for i in order]) | {
            "searched_reward": sum(every[i][2] for i in order) / len(order)
        }
        return join_branches([prompts[i] for i in order], [every[i][0] for i in order])

    def _search(
        self, examples: Sequence[Example], prompts: Sequence[list[int]], own: Sequence[int],
        seed: int,
    ) -> dict[int, tuple[list[Branch], Group, float]]:  # fmt: skip
        """Of each own prompt: its branches, the policy's own answer, what the best one earned."""
        r = self.rollouts
        marks: dict[tuple[int, Path], dict[str, float]] = {}

        def worth(places: Sequence[int], said: Sequence[Completion]) -> Sequence[float]:
            texts = [r.tokenizer.decode(one.tokens) for one in said]
            asked = [examples[own[place]] for place in places]
            given = r.scorer(asked, said, texts)
            for k, (place, one) in enumerate(zip(places, said, strict=True)):
                marks[place, tuple(one.tokens)] = {name: v[k] for name, v in given.items()}
            return given["reward"]

        mine = [prompts[i] for i in own]
        engine = make_search_engine(r.policy, mine, r.max_new_tokens, self.plan.leaves, r.precision)
        searches = search_tokens(
            engine, mine, worth, self.plan, max_new_tokens=r.max_new_tokens,
            stop=frozenset(r.tokenizer.ends), seed=seed, numbers=own,
        )  # fmt: skip
        made = {}
        for place, (i, one) in enumerate(zip(own, searches, strict=True)):
            assert one.first is not None
            told = marks[place, tuple(one.first.tokens)]
            group = Group(examples[i], [one.first], {name: [v] for name, v in told.items()})
            made[i] = list_branches(one, self._weigh(one.tree)), group, one.best[0].score
        return made

    def _weigh(self, tree: TokenTree) -> dict[Path, float]:
        if self.soft_beta is None:
            return weigh_by_visits(tree)
        return weigh_by_worth(tree, self.soft_beta)

    def state_dict(self) -> dict[str, Any]:
        return self.rollouts.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.rollouts.load_state_dict(state)


def list_branches(search: TokenSearch, edges: Mapping[Path, float]) -> list[Branch]:
    """Every edge in one branch, and no branch that is the beginning of another."""
    logp: dict[Path, float] = {
        (*node.path, token): float(node.logp[edge])
        for node in search.tree.nodes()
        for edge, token in enumerate(node.tokens)
    }
    inner = {path[:-1] for path in edges}
    seen: set[Path] = set()
    branches = []
    for path in edges:
        if path in inner:
            continue
        every = [path[: t + 1] for t in range(len(path))]
        branches.append(
            Branch(
                list(path), [each not in seen for each in every], [edges[each] for each in every],
                [logp[each] for each in every], path[-1] in search.tree.stop,
            )
        )  # fmt: skip
        seen.update(every)
    return branches


def join_branches(prompts: Sequence[Sequence[int]], trees: Sequence[Sequence[Branch]]) -> Sampled:
    """The branches of tree 0, 1, …, side by side: an edge that stands in several is chosen in
    one.
    """
    pairs = [(g, prompts[g], one) for g, branches in enumerate(trees) for one in branches]
    longest = max(len(prompt) + len(one.tokens) for _, prompt, one in pairs)
    shape = (len(pairs), longest - 1)
    obs = torch.zeros(len(pairs), longest, dtype=torch.long)
    chosen, terminated, truncated = (torch.zeros(shape, dtype=torch.bool) for _ in range(3))
    share, logp = torch.zeros(shape), torch.zeros(shape)
    for i, (_, prompt, one) in enumerate(pairs):
        first, last = len(prompt) - 1, len(prompt) + len(one.tokens) - 2
        own = torch.tensor(one.own)
        obs[i, : last + 2] = torch.tensor([*prompt, *one.tokens])
        chosen[i, first : last + 1] = own
        share[i, first : last + 1] = torch.tensor(one.share) * own
        logp[i, first : last + 1] = torch.tensor(one.logp) * own
        terminated[i, last], truncated[i, last] = True, not one.stopped
    return Sampled(
        obs, obs[:, 1:], chosen, share, terminated, truncated, logp=logp,
        group=torch.tensor([g for g, _, _ in pairs]),
    )  # fmt: skip
