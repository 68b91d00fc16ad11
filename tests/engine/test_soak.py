"""Thousands of requests of every kind through one engine: each is answered once, and nothing is
left behind.
"""

from __future__ import annotations

import gc
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from fledge.engine.engine import Engine
from fledge.engine.request import Completion
from fledge.policy import TokenPolicy
from tests.engine.strangers import SPELT, same, stranger
from tests.subjects import policy_of, transformer


def subject() -> TokenPolicy:
    return policy_of(transformer(dtype=torch.float64, context=48, layers=1))


def resident() -> int:
    """Bytes of memory that the process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("count", [2_000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_every_request_is_answered_once_and_the_engine_is_as_it_was(count: int) -> None:
    """Between the first quarter and the end: no more objects than a slot's worth, and less than 8
    MiB more memory.
    """
    rng = np.random.default_rng(count)
    engine = Engine(subject(), slots=48, vocabulary=SPELT)
    storage, arrays = (
        engine.batch.cache.store.data_ptr(),
        {name: array.shape for name, array in tensors(engine).items()},
    )
    answers, waiting, ends = bytearray(count), 0, Counter[str]()
    quarter = (0, 0)
    for sample in range(count):
        assert engine.submit(stranger(rng, sample)) == sample
        waiting += 1
        while waiting > 60 or (sample == count - 1 and engine.busy):
            for number, row in engine.advance():
                answers[number] += 1
                waiting -= 1
                ends[row.ended] += 1
        if sample in (count // 4, count - 1):
            gc.collect()
            now = len(gc.get_objects()), resident()
            if sample == count - 1:
                assert now[0] - quarter[0] < 500
                assert now[1] - quarter[1] < 8 << 20
            quarter = now
    assert answers == b"\x01" * count
    assert not waiting
    assert min(ends[how] for how in ("stop", "stop_string", "length", "error")) > 0
    assert not any(
        (engine.busy, engine.queue, engine.batch.live, engine.done, engine.news, engine.batch.rules)
    )
    assert not any((engine.batch.prefix_cache.tokens, engine.batch.prefix_cache.by_prefix))
    assert engine.batch.cache.store.data_ptr() == storage
    stop = arrays.pop("stop")
    assert {
        name: array.shape for name, array in tensors(engine).items() if name != "stop"
    } == arrays
    # as wide as the most stop tokens of a request
    assert engine.batch.slots.stop.shape == (stop[0], 2)
    assert len(engine.batch.slots.held) == 48


def tensors(engine: Engine) -> dict[str, torch.Tensor]:
    return {
        name: value
        for name, value in vars(engine.batch.slots).items()
        if isinstance(value, torch.Tensor)
    }


@pytest.mark.parametrize("prefix_cache_rows", [0, 6])
def test_cancelling_a_tenth_of_the_rows_at_random_changes_no_other(prefix_cache_rows: int) -> None:
    """800 requests; what a cancelled row has said is the beginning of what it would have."""
    rng = np.random.default_rng(1)
    requests = [stranger(rng, sample) for sample in range(800)]
    policy = subject()
    whole = Engine(policy, slots=20, prefix_cache_rows=prefix_cache_rows, vocabulary=SPELT).run(
        requests
    )
    engine = Engine(policy, slots=20, prefix_cache_rows=prefix_cache_rows, vocabulary=SPELT)
    completions: dict[int, Completion] = {}
    begin, cancelled = 0, set[int]()
    while engine.busy or begin < 800:
        more = int(rng.integers(0, 12))
        for request in requests[begin : begin + more]:
            engine.submit(request)
        begin = min(800, begin + more)
        under_way = [row.number for row in (*engine.batch.live, *engine.queue)]
        if under_way and rng.random() < 0.5:
            number = int(rng.choice(under_way))
            engine.cancel(number)
            cancelled.add(number)
        for number, row in engine.advance():
            assert number not in completions
            completions[number] = row
    assert len(cancelled) > 60
    assert sorted(completions) == list(range(800))
    short = 0
    for number, row in completions.items():
        if number not in cancelled:
            same(row, whole[number], 1e-10)
            continue
        assert row.ended == "cancelled"
        assert row.tokens == whole[number].tokens[: len(row.tokens)]
        assert row.logp == pytest.approx(whole[number].logp[: len(row.tokens)], abs=1e-10)
        assert len(row.tokens) == len(row.raw_logp)
        assert row.alternatives == [] or len(row.alternatives) == len(row.tokens)
        short += 0 < len(row.tokens) < len(whole[number].tokens)
    assert short > 20
    assert not any((engine.busy, engine.queue, engine.batch.live, engine.done, engine.batch.rules))
    assert all(slot >= 20 for slot in engine.batch.prefix_cache.tokens)  # remembered rows only
