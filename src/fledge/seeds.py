"""One seed, many independent streams of random numbers, each with a name: the only place where a
run's seed becomes a generator.

Two generators with one seed give the same numbers, and `seed + 1` is the next run's seed: what a
world does by chance must be independent of what its actor draws, and neither may repeat in another
run.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import torch

Stream = Literal[
    "weights",  # of a fresh network; index: which one, where there are several
    "worlds",  # where episodes begin, and what a world does by chance
    "workers",  # index: which worker; the seed of all that it does
    "actor",  # what is done in a world
    "samples",  # what a language model says; index: who, and to which split
    "data",  # the order in which data is read; index: by whom
    "batches",  # which rows an optimizer step takes, out of a batch or a memory
    "dropout",  # of an optimizer step; index: which one
    "noise",  # what a loss draws for itself
    "judge",  # of a reward or a judge that draws
    "evaluation",  # what a policy is judged by; index: by which measure
]


def seed_for(seed: int, stream: Stream, index: int | str = 0) -> int:
    """The seed of one stream of a run.  -> 0 ≤ number < 2^63, by SHA-256 of all three

    index: tells streams of one kind apart.
    """
    digest = hashlib.sha256(f"{seed} {stream} {index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator_for(seed: int, stream: Stream, index: int | str = 0) -> torch.Generator:
    """A fresh generator of one stream of a run."""
    return torch.Generator().manual_seed(seed_for(seed, stream, index))
