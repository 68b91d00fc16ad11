"""Several rankings of the same things as one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

DAMPING = 60  # Cormack et al. 2009, §2, who took it from a pilot study and found it matters little


def fuse_ranks(rankings: Sequence[Sequence[int]]) -> list[tuple[int, float]]:
    """Reciprocal rank fusion: score(d) = Σ_r 1 / (60 + rank_r(d)), ranks from 1; best first, and
    of equals the larger number. Cormack, Clarke & Büttcher 2009.
    """
    scores: dict[int, float] = defaultdict(float)
    for ranking in rankings:
        for rank, thing in enumerate(ranking, 1):
            scores[thing] += 1 / (DAMPING + rank)
    return sorted(scores.items(), key=lambda pair: (-pair[1], -pair[0]))
