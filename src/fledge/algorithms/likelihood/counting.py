"""Maximum likelihood by counting: an n-gram model that grows by one token of context with every
pass over the text.

sample: data, all of it.  score: –.  weigh: 1.  fit: counts, smoothed in closed form; no gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch

from fledge.algorithms.likelihood.smoothing import add_k, kneser_ney
from fledge.models.language.ngram import Ngram
from fledge.models.language.ngram_network import NgramNetwork
from fledge.policy import TokenPolicy
from fledge.stopwatch import Stopwatch
from fledge.text.ngram_counts import Counts, Grams, HeldText, Ints, count_words, hold_text
from fledge.text.ngram_passes import Pieces, count_longer, count_together


class Counting:
    """policy: over an `NgramNetwork`, which becomes the model of what is counted.

    smoothing: kneser_ney, or add_k with its k (0 is maximum likelihood).  prune: as in
    `kneser_ney`.
    """

    unfinished = None  # a pass is one update: there is nothing to be in the middle of

    def __init__(
        self, policy: TokenPolicy, stopwatch: Stopwatch, smoothing: str, k: float, prune: int
    ) -> None:
        self.policy, self.stopwatch = policy, stopwatch
        self.smoothing, self.k, self.prune = smoothing, k, prune
        self.counts: Counts | None = None
        self.held: HeldText | None = None  # the text, where it fits into memory

    def update(
        self, batch: Iterable[Ints], between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One pass: single tokens first, then n-grams one longer each time. ngrams: how many
        different ones there are of this length.
        """
        network = self.policy.network
        with self.stopwatch.phase("fit"):
            if self.counts is None:
                size, border = network.config.vocab_size, network.border
                self.counts = count_words(batch, size, border)
            else:
                self.counts = self._count_longer(batch, self.counts)
            network.become(self.estimate(self.counts))
            self.policy.raise_version()
        last = (
            self.counts.grams[-1].keys if self.counts.grams else np.flatnonzero(self.counts.words)
        )
        return {"ngrams": float(len(last)), "order": float(self.counts.order)}

    def _count_longer(self, batch: Iterable[Ints], counts: Counts) -> Counts:
        self.held = self.held or hold_text(batch, counts)
        if self.held is not None:
            return self.held.count_longer(counts)
        if isinstance(batch, Pieces):  # which other processes can read too
            return count_together(batch.stream, counts)
        return count_longer(batch, counts)

    def estimate(self, counts: Counts) -> Ngram:
        allowed = self.policy.allowed
        sayable = np.ones(len(counts.words), bool) if allowed is None else allowed.numpy()
        if self.smoothing == "kneser_ney":
            return kneser_ney(counts, sayable, self.prune)
        return add_k(counts, sayable, self.k)

    def state_dict(self) -> dict[str, Any]:
        counts = self.counts
        if counts is None:
            return {}
        grams = [[torch.from_numpy(x) for x in (g.keys, g.counts, g.suffix)] for g in counts.grams]
        return {"words": torch.from_numpy(counts.words), "grams": grams}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if not state:
            return
        network: NgramNetwork = self.policy.network
        grams = tuple(Grams(*(x.numpy() for x in parts)) for parts in state["grams"])
        self.counts = Counts(state["words"].numpy(), grams, network.border)
        network.become(self.estimate(self.counts))
        self.policy.raise_version()
