"""One seed, many streams: none is another's, shifted or not, and none is another run's."""

from __future__ import annotations

from typing import get_args

import torch

from fledge.seeds import Stream, generator_for, seed_for

STREAMS = get_args(Stream)


def test_a_stream_is_a_pure_function_of_seed_name_and_index() -> None:
    assert torch.equal(*(torch.rand(5, generator=generator_for(3, "actor", 1)) for _ in range(2)))


def test_no_two_streams_of_any_two_runs_share_a_draw() -> None:
    """800 draws of 53 bits from each of 4 runs × 10 streams × 3 indices: chance alone would make a
    pair in 1 of 2 million tests.
    """
    drawn = [
        torch.rand(800, generator=generator_for(seed, stream, index), dtype=torch.float64)
        for seed in (0, 1, 2, 2**62)
        for stream in STREAMS
        for index in (0, 1, "test")
    ]
    assert len(torch.cat(drawn).unique()) == 800 * len(drawn)


def test_a_seed_and_an_index_do_not_run_into_each_other() -> None:
    pairs = [(seed, index) for seed in range(20) for index in (*range(20), "0 1", "1 0")]
    seeds = {seed_for(seed, "worlds", index) for seed, index in pairs}
    assert len(seeds) == len(pairs)
    assert all(0 <= seed < 2**63 for seed in seeds)
