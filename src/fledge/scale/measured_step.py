"""A few optimizer steps of a network of given sizes on random rows, started by torchrun: what the
allocator counts at most, and how long a step takes. Prints one JSON object, of all ranks.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from fledge import ranks
from fledge.algorithms.likelihood.supervised import Supervised
from fledge.costs.work import RankLayout, Work
from fledge.learner import Learner, Schedule
from fledge.models.language.transformer import Transformer
from fledge.models.language.transformer_config import TransformerConfig
from fledge.policy import TokenPolicy
from fledge.scale.meeting import meet, read_place
from fledge.scale.planned import divide_as_planned
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories

STEPS = 3  # that are timed, after two: moments are made in the first


def main(words: list[str]) -> None:
    """words: the work as `describe_work` writes it."""
    work = read_work(json.loads(words[0]))
    torch.set_num_threads(1)
    with meet(read_place(os.environ)) if work.layout.ranks > 1 else nullcontext():
        each = ranks.gather(measure(work))
        if ranks.is_first():
            print(json.dumps(each))


def describe_work(work: Work) -> str:
    return json.dumps(dataclasses.asdict(work))


def read_work(told: dict[str, Any]) -> Work:
    sizes = {**told["sizes"]}
    del sizes["scaling"]  # of what is measured here no row is longer than the context
    return Work(**{
        **told, "sizes": TransformerConfig(**sizes), "layout": RankLayout(**told["layout"]),
    })  # fmt: skip


def measure(work: Work) -> dict[str, float]:
    """Of this rank: `bytes` at most, `seconds` of a step, and of the machine what they hang on:
    `rate`, FLOP/s of a product of matrices, and `link`, bytes a second to the other ranks.
    """
    made: list[Callable[[], Any]] = []
    peak = measure_peak(lambda: made.append(take_steps(work, 2)))
    seconds = sum(time_call(made[0]) for _ in range(STEPS)) / STEPS
    return {"bytes": peak, "seconds": seconds, "rate": measure_rate(work), "link": measure_link()}


def measure_rate(work: Work) -> float:
    """FLOP/s of one matrix product of the network's, in its precision: the best of three."""
    tokens, width, hidden = work.piece_tokens, work.sizes.width, work.sizes.mlp_width
    dtype = torch.bfloat16 if work.precision == "bf16" else torch.float32
    left, right = torch.ones(tokens, width, dtype=dtype), torch.ones(width, hidden, dtype=dtype)
    return 2 * tokens * width * hidden / min(time_call(lambda: left @ right) for _ in range(3))


def measure_link() -> float:
    """Bytes a second that a rank sends in a sum over all of them; 1 where it is alone."""
    world, summed = ranks.world(), torch.ones(2**20)
    if world == 1:
        return 1.0
    seconds = min(time_call(lambda: ranks.add_up([summed])) for _ in range(3))
    return 2 * (world - 1) / world * summed.nbytes / seconds


def time_call(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def take_steps(work: Work, steps: int) -> Callable[[], Any]:
    """A network and its learner that have made so many steps.  -> what makes one more"""
    sizes = work.sizes
    policy = TokenPolicy(Transformer(sizes, generator=torch.Generator().manual_seed(0)))
    divide_as_planned(policy, work.layout)
    learner = Learner(
        policy, Schedule(1e-4, 100), rows_per_micro_batch=work.layout.rows, precision=work.precision
    )
    algorithm = Supervised(policy, learner, Stopwatch())
    batch = make_rows(work)
    for _ in range(steps):
        algorithm.update(batch)
    return lambda: algorithm.update(batch)


def make_rows(work: Work) -> Trajectories:
    """Random tokens, every one of them trained on."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, work.sizes.vocab_size, (work.rows, work.tokens + 1), generator=generator)
    steps = torch.ones(work.rows, work.tokens, dtype=torch.bool)
    return Trajectories(
        obs=ids, action=ids[:, 1:], chosen=steps, reward=torch.zeros(steps.shape),
        terminated=~steps, truncated=~steps,
    )  # fmt: skip


def measure_peak(call: Callable[[], Any]) -> float:
    """The most bytes that tensors take at a time which are made within the call, by the account
    of PyTorch's CPU allocator.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    assert profiler.profiler is not None
    events: Any = profiler.profiler.kineto_results
    changes = sorted(
        (event.start_ns(), event.nbytes())
        for event in events.events()
        if event.name() == "[memory]"
    )
    held = most = 0
    for _, change in changes:
        held += change
        most = max(most, held)
    return most


if __name__ == "__main__":
    main(sys.argv[1:])
