"""What a plan foretells is what ranks really hold and send: tensors counted in a step of FSDP2,
collectives on torch.distributed's fake backend, the allocator's account.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fledge.algorithms.likelihood.supervised import Supervised
from fledge.costs.communication import list_collectives
from fledge.costs.memory import NUMBER, count_moments, find_peak
from fledge.costs.published import published_config
from fledge.costs.work import RankLayout, Work
from fledge.learner import Learner, Schedule
from fledge.models.language.presets import transformer_config
from fledge.models.language.transformer import Transformer
from fledge.models.language.transformer_config import TransformerConfig
from fledge.policy import TokenPolicy
from fledge.scale.measured_step import make_rows, measure
from fledge.scale.planned import divide_as_planned
from fledge.scale.traced_step import as_counted, count_collectives
from fledge.stopwatch import Stopwatch
from tests.every_rank import on_ranks

# Nothing of it is a multiple of 2: the first rank holds the larger part.
ODD = TransformerConfig(
    vocab_size=11, context=16, layers=3, width=15, heads=2, kv_heads=1, head_width=5 + 1,
    mlp_width=9, tied=False,
)  # fmt: skip


def count_held(work: Work) -> tuple[int, int, int]:
    """Bytes of weights, of gradients when the optimizer steps, and of its moments, on this rank."""
    policy = TokenPolicy(Transformer(work.sizes))
    divide_as_planned(policy, work.layout)
    learner = Learner(policy, Schedule(0.01, 10))
    gradients: list[int] = []

    def count(tensors: Any) -> int:
        own = (getattr(x, "to_local", lambda x=x: x)() for x in tensors)
        return sum(x.numel() * x.element_size() for x in own if x.ndim)

    learner.optimizer.register_step_pre_hook(
        lambda *_: gradients.append(count(p.grad for p in policy.parameters()))
    )
    Supervised(policy, learner, Stopwatch()).update(make_rows(work))
    moments = (x for state in learner.optimizer.state.values() for x in state.values())
    return count(policy.parameters()), gradients[0], count(moments)


def test_weights_gradients_and_moments_are_those_of_a_real_step(tmp_path: Path) -> None:
    for shards in (1, 2):
        work = Work(ODD, 4, 8, "fp32", layout=RankLayout(shards=shards))
        foretold = (NUMBER * work.held, NUMBER * work.held, NUMBER * count_moments(work))
        if shards == 1:
            assert count_held(work) == foretold
        else:
            told = on_ranks(2, lambda work=work: count_held(work), tmp_path / "ranks")
            assert told[0] == foretold  # the one with the most
            assert all(a <= b for a, b in zip(told[1], told[0], strict=True))


def test_the_collectives_of_a_step_are_those_that_the_backend_is_asked_for() -> None:
    """In two micro-batches: weights divided, held whole, divided in copies, products divided."""
    sizes = transformer_config("nano", 4096, tied=False)
    layouts: list[tuple[Any, RankLayout]] = [
        ("fp32", RankLayout(shards=64)),
        ("fp32", RankLayout(replicas=8)),
        ("bf16", RankLayout(replicas=2, shards=4, half=True)),
        ("bf16", RankLayout(replicas=4, tensor=2)),
        ("bf16", RankLayout(2, 2, 2, half=True, gradient_checkpointing=True, rows=2)),
    ]
    for precision, layout in layouts:
        rows = 2 * layout.groups * layout.rows
        work = Work(sizes, rows, 8, precision, layout=layout)
        assert count_collectives(work) == as_counted(list_collectives(work)), layout


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [8, 64])
def test_the_collectives_of_8_b_are_counted_without_its_weights(ranks: int) -> None:
    work = Work(published_config("8b"), ranks, 8, "fp32", layout=RankLayout(shards=ranks))
    counted = count_collectives(work)
    assert counted == as_counted(list_collectives(work))
    # written out: 32 blocks of 218,112,000 numbers gathered twice, scattered once; embedding, head
    # and last norm once each
    outside = 2 * 128_256 * 4096 + 4096
    assert counted == {
        ("all-gather", 4 * 218_112_000): 64,
        ("reduce-scatter", 4 * 218_112_000): 32,
        ("all-gather", 4 * outside): 1,
        ("reduce-scatter", 4 * outside): 1,
    }


def test_the_allocator_counts_what_was_foretold() -> None:
    torch.set_num_threads(1)
    sizes = transformer_config("tiny", 1024, context=64)
    for layout in (RankLayout(rows=4), RankLayout(rows=8, gradient_checkpointing=True)):
        work = Work(sizes, 8, 64, "fp32", layout=layout)
        said = measure(work)
        assert find_peak(work, on_cpu=True).size == pytest.approx(said["bytes"], rel=0.1)
        assert said["seconds"] > 0
