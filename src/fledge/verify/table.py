"""The policy that an enumerable language is spoken with: a network that is a table of logits, and
sequences as trajectories.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fledge.engine.forms import register_fast_form
from fledge.engine.slow_form import TokenCache
from fledge.exact.enumerable import Language
from fledge.trajectories import Trajectories
from fledge.weights_version import raise_version


class TableWalk:
    """A table as the token engine walks through it, prefix by prefix. Its cache holds the number of
    the prefix at every position of every slot.
    """

    incremental = True
    packs = False

    def __init__(self, network: TableNetwork) -> None:
        self.network = network
        self.device = network.table.device

    def make_cache(self, slots: int, positions: int) -> TokenCache:
        return TokenCache(slots, positions, self.device)

    def count_cache_bytes(self, slots: int, positions: int) -> int:
        return 8 * slots * positions

    def step(self, tokens: Tensor, lengths: Tensor, held: Any, cache: TokenCache) -> Tensor:
        slots = torch.arange(len(tokens), device=tokens.device)
        return self.extend(tokens[:, None], lengths, slots, held, cache)[:, 0]

    def extend(
        self, tokens: Tensor, starts: Tensor, slots: Tensor, ends: Any, cache: TokenCache
    ) -> Tensor:
        """[B, T] at positions `starts` and after -> the numbers of the prefixes they lead to [B,
        T]
        """
        numbers = []
        for t in range(tokens.shape[1]):
            at = (starts + t).clamp(max=cache.positions - 1)
            before = cache.store[slots, (at - 1).clamp(min=0)]
            here = torch.where(starts + t == 0, 0, self.network.child(before, tokens[:, t]))
            cache.store[slots, at] = here
            numbers.append(here)
        return torch.stack(numbers, 1)

    def logits(self, hidden: Tensor) -> Tensor:
        """[N] -> [N, V]"""
        return self.network.table[:, hidden.clamp(max=self.network.width - 1)].T


class TableNetwork(nn.Module):
    """Logits of their own for every prefix: a policy over symbols 0…V−1 that can be any
    distribution there is.

    A row is one opening token, which is not looked at, and up to `length` symbols. Prefixes are
    numbered like a heap with V children to a node; the hidden state is the number of the prefix,
    one-hot. With `markov` a prefix is only its length and its last symbol.
    """

    def __init__(
        self, vocabulary: int, length: int, seed: int = 0, scale: float = 1.0, markov: bool = False
    ) -> None:
        super().__init__()
        self.vocabulary, self.markov = vocabulary, markov
        # with the opening token
        self.config = SimpleNamespace(context=length + 1, vocab_size=vocabulary + 1)
        self.width = (
            1 + vocabulary * length if markov else sum(vocabulary**t for t in range(length + 1))
        )
        random = torch.Generator().manual_seed(seed)
        table = scale * torch.randn(vocabulary, self.width, generator=random, dtype=torch.float64)
        self.table = nn.Parameter(table)  # [V, prefixes]

    @property
    def unembedding(self) -> Tensor:
        return self.table

    def child(self, place: Any, symbol: Any) -> Any:
        """The number of a prefix with one more symbol."""
        node = (place + self.vocabulary - 1) // self.vocabulary if self.markov else place
        return node * self.vocabulary + symbol + 1

    def place(self, tokens: Tensor) -> Tensor:
        """[B, T] -> [B, T]"""
        places = [torch.zeros_like(tokens[:, 0])]
        for t in range(1, tokens.shape[1]):
            places.append(self.child(places[-1], tokens[:, t]))
        return torch.stack(places, 1)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        return F.one_hot(self.place(tokens), self.width).to(self.table.dtype)

    def document_mask(self, tokens: Tensor) -> None:
        return None

    def row_of(self, language: Language) -> Tensor:
        """The column of the table that holds each prefix of the language.  [P]"""
        opened = [torch.tensor([[0, *prefix]]) for prefix in language.prefixes]
        return torch.stack([self.place(row)[0, -1] for row in opened]).to(self.table.device)

    def logits(self, language: Language) -> Tensor:
        """As a table of the language.  [P, V]"""
        return self.table[:, self.row_of(language)].T

    @torch.no_grad()
    def hold(self, language: Language, logits: Tensor) -> TableNetwork:
        """Write a table of the language into this one.  [P, V]"""
        self.table[:, self.row_of(language)] = logits.T.to(self.table)
        raise_version(self)
        return self


# A table knows no other precision than its own.
register_fast_form(TableNetwork, lambda network, precision: TableWalk(network))


def speak(
    language: Language,
    words: Sequence[int],
    opening: int,
    reward: Tensor,
    step_logp: Tensor | None = None,
    group: Tensor | None = None,
) -> Trajectories:
    """The sequences with these numbers as trajectories, where `reward` is; the reward of each
    stands on its last symbol.

    reward [S], step_logp [S, T], group [B]
    """
    rows, steps = len(words), language.length
    obs = torch.zeros(rows, steps + 1, dtype=torch.long)
    obs[:, 0] = opening
    chosen, terminated, truncated = (torch.zeros(rows, steps, dtype=torch.bool) for _ in range(3))
    worth = torch.zeros(rows, steps, dtype=reward.dtype)
    for i, number in enumerate(words):
        word = language.sequences[number]
        obs[i, 1 : len(word) + 1] = torch.tensor(word)
        chosen[i, : len(word)] = True
        worth[i, len(word) - 1] = reward[number]
        terminated[i, len(word) - 1], truncated[i, len(word) - 1] = True, word[-1] != language.stop
    logp = (
        None
        if step_logp is None
        else step_logp[torch.as_tensor(words, device=step_logp.device)].detach()
    )
    made = Trajectories(
        obs, obs[:, 1:], chosen, worth, terminated, truncated, logp=logp, group=group
    )
    return made.to(reward.device)
