"""The network that generates is the network: whatever is cached, shared, copied or moved, its logits are those of a plain forward pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fledge.models.generation import zones
from fledge.models.transformer import Transformer
from tests.subjects import seeded, transformer

KINDS: list[dict[str, Any]] = [
    {"kv_heads": 4},
    {"kv_heads": 1},
    {"kv_heads": 2, "qk_norm": True, "tied": False},
    {"window": 4},
    {"window": 3, "kv_heads": 2, "qk_norm": True},
]


def tokens(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 11, (rows, length), generator=seeded(seed))


def logits_of(network: Transformer, row: torch.Tensor) -> torch.Tensor:
    return network(row) @ network.unembedding.T


def subject(kind: dict[str, Any]) -> Transformer:
    """Norms that do something: their gains are not 1."""
    network = transformer(dtype=torch.float64, context=20, **kind).requires_grad_(False)
    for name, weight in network.named_parameters():
        if "norm" in name:
            weight.copy_(1 + 0.3 * torch.randn(weight.shape, generator=seeded(len(name)), dtype=weight.dtype))
    return network


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(KINDS),
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 5)), min_size=1, max_size=5),
    st.integers(1, 8),
    st.integers(0, 99),
    st.booleans(),
)
def test_the_cache_changes_nothing_at_any_position(
    kind: dict[str, Any], lengths: list[tuple[int, int]], more: int, seed: int, in_zones: bool
) -> None:
    """Prompts read in two pieces of any lengths, into lanes in any order; then a token at a time, lanes changing places."""
    network = subject(kind)
    fast = network.for_generation()
    rows = len(lengths)
    row = tokens(rows, 20, seed)
    whole = logits_of(network, row)
    cache = fast.lanes(rows + 1, 20)
    order = torch.randperm(rows, generator=seeded(seed))  # row i in lane order[i]
    begin = torch.zeros(rows, dtype=torch.long)
    for piece in (0, 1):
        sizes = torch.tensor([pair[piece] for pair in lengths])
        longest = int(sizes.max())
        at = (begin[:, None] + torch.arange(longest)).clamp(max=19)
        hidden = fast.extend(row.gather(1, at), begin, order, int((begin + longest).max()), cache)
        for i, n in enumerate(sizes.tolist()):
            torch.testing.assert_close(
                fast.logits(hidden[i, :n]), whole[i, begin[i] : begin[i] + n], rtol=1e-6, atol=1e-6
            )
        begin = begin + sizes
    held = torch.empty_like(begin)
    held[order] = begin
    who = order.argsort()  # the row in each lane
    for _ in range(more):
        seen = zones((held + 1).tolist(), 2, 1) if in_zones else [(rows, 0, int(held.max()) + 1)]
        found = fast.logits(fast.step(row[who, held], held, seen, cache))
        torch.testing.assert_close(found, whole[who, held], rtol=1e-6, atol=1e-6)
        held = held + 1
        if rows > 1:  # lanes 0 and 1 change places
            for source, target in ((0, rows), (1, 0), (rows, 1)):
                cache.move(source, target, 20)
            swap = [1, 0, *range(2, rows)]
            who, held = who[swap], held[swap]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(1, 8), st.integers(1, 30))
def test_zones_cover_what_lanes_hold_once_and_lead_to_the_end(lengths: list[int], coarse: int, worth: int) -> None:
    covered = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    for n, a, b in zones(lengths, coarse, worth):
        covered[:n, a:b] += 1
    held = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    assert bool((covered[held] == 1).all())
    assert int(covered.max()) == 1


def test_zones_spare_what_short_lanes_do_not_hold() -> None:
    assert zones([300] * 8 + [60] * 120) == [(128, 0, 64), (8, 64, 300)]
    assert zones([60] * 120 + [300]) == [(121, 0, 300)]  # out of order: right, and not spared
    assert zones([100] * 64) == [(64, 0, 100)]


@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-6), ("bf16", 0.02), ("int8", 0.04)])
def test_what_a_precision_changes_is_bounded(precision: Any, bound: float) -> None:
    """Mean of |Δ log π| over 400 positions: bounds of twice what was measured on this network, whose logits are large."""
    network = transformer(context=20).requires_grad_(False)
    row = tokens(20, 20)
    fast = network.for_generation(precision)
    hidden = fast.extend(row, torch.zeros(20, dtype=torch.long), torch.arange(20), 20, fast.lanes(20, 20))
    found = fast.logits(hidden.flatten(0, 1)).log_softmax(-1)
    off = float((found - logits_of(network, row).flatten(0, 1).log_softmax(-1)).abs().mean())
    assert off < bound
    assert precision == "fp32" or off > 1e-4  # it does round
