"""The network that generates is the network: whatever is cached, shared, copied or moved, its
logits are those of a plain forward pass.
"""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fledge.engine import generation
from fledge.engine.forms import make_form
from fledge.engine.kv_cache import count_reach
from fledge.log_prob import cap_logits
from fledge.models.language.mixture import Experts
from fledge.models.language.transformer import Transformer
from tests.subjects import seeded, transformer

KINDS: list[dict[str, Any]] = [
    {"kv_heads": 4},
    {"kv_heads": 1},
    {"kv_heads": 2, "qk_norm": True, "tied": False},
    {"window": 4},
    {"window": 3, "kv_heads": 2, "qk_norm": True},
    {"windows": (3, 0), "score_cap": 1.5, "logit_cap": 2.0, "norm": "rms_from_one",
     "norm_places": "around", "activation": "gelu_tanh", "embedding_scale": 4.0,
     "score_scale": 0.3, "local_rope_theta": 30.0},
    {"norm_places": "after", "qk_norm": True, "qk_norm_whole": True, "qkv_bias": True},
    {"norm": "layer", "learned_positions": True, "qkv_bias": True, "out_bias": True,
     "mlp_bias": True, "gated": False, "activation": "gelu", "kv_heads": 4},
    {"norm": "layer", "residual": "parallel", "rotary_width": 2, "qkv_bias": True},
    {"norm": "layer", "residual": "parallel, one norm", "rotary_width": 2, "windows": (0, 4)},
    {"unturned": (1,), "out_bias": True, "mlp_bias": True, "window": 4},
    {"experts": Experts(4, 2, 8, normalised=False, dense=(1,))},
]  # fmt: skip


def tokens(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 11, (rows, length), generator=seeded(seed))


def logits_of(network: Transformer, row: torch.Tensor) -> torch.Tensor:
    return cap_logits(network(row) @ network.unembedding.T, network.logit_cap)


def subject(kind: dict[str, Any]) -> Transformer:
    """Norms that do something: their gains are not 1."""
    network = transformer(dtype=torch.float64, context=20, **kind).requires_grad_(False)
    for name, weight in network.named_parameters():
        if "norm" in name or name.endswith("bias"):
            weight.copy_(
                1 + 0.3 * torch.randn(weight.shape, generator=seeded(len(name)), dtype=weight.dtype)
            )
    return network


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(KINDS),
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 5)), min_size=1, max_size=5),
    st.integers(1, 8),
    st.integers(0, 99),
    st.sampled_from([1, 3, 4, 20]),
)
def test_the_cache_changes_nothing_at_any_position(
    kind: dict[str, Any], lengths: list[tuple[int, int]], more: int, seed: int, block: int
) -> None:
    """Prompts read in two pieces of any lengths, into slots in any order; then a token at a time,
    slots changing places.
    """
    network = subject(kind)
    fast = make_form(network)
    rows = len(lengths)
    row = tokens(rows, 20, seed)
    whole = logits_of(network, row)
    with mock.patch.multiple(generation, SMALL_LAYER=0, BLOCK=block):
        cache = fast.make_cache(rows + 1, 20)
    order = torch.randperm(rows, generator=seeded(seed))  # row i in slot order[i]
    begin = torch.zeros(rows, dtype=torch.long)
    for piece in (0, 1):
        sizes = torch.tensor([pair[piece] for pair in lengths])
        longest = int(sizes.max())
        at = (begin[:, None] + torch.arange(longest)).clamp(max=19)
        hidden = fast.extend(row.gather(1, at), begin, order, (begin + sizes).tolist(), cache)
        for i, n in enumerate(sizes.tolist()):
            torch.testing.assert_close(
                fast.logits(hidden[i, :n]), whole[i, begin[i] : begin[i] + n], rtol=1e-6, atol=1e-6
            )
        begin = begin + sizes
    held = torch.empty_like(begin)
    held[order] = begin
    who = order.argsort()  # the row in each slot
    for _ in range(more):
        logits = fast.logits(fast.step(row[who, held], held, held.tolist(), cache))
        torch.testing.assert_close(logits, whole[who, held], rtol=1e-6, atol=1e-6)
        held = held + 1
        if rows > 1:  # slots 0 and 1 change places
            for source, target in ((0, rows), (1, 0), (rows, 1)):
                cache.move(source, target, 20)
            swap = [1, 0, *range(2, rows)]
            who, held = who[swap], held[swap]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=12), st.integers(1, 8))
def test_every_block_that_a_slot_holds_or_writes_is_reached(held: list[int], block: int) -> None:
    reached = count_reach(held, block)
    for j, reach in enumerate(reached):
        asked = [slot for slot, n in enumerate(held) if n >= j * block]
        assert reach == max(asked) + 1  # and no slot after the last of them
    assert (len(reached) - 1) * block <= max(held) < len(reached) * block


@pytest.mark.parametrize(
    ("precision", "bound", "width"),
    # groups of four bits need a width of 32
    [
        ("fp32", 1e-6, 16),
        ("bf16", 0.02, 16),
        ("fp16", 0.002, 16),
        ("int8", 0.04, 16),
        ("int4", 0.85, 32),
    ],
)
@pytest.mark.parametrize("native", [True, False])
def test_what_a_precision_changes_is_bounded(
    precision: Any, bound: float, width: int, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mean of |Δ log π| over 400 positions, with the compiled library where there is one, and
    without it: bounds of twice what was measured on these networks, whose logits are large.
    """
    if not native:
        monkeypatch.setattr(generation, "has_native", lambda kind: False)
    network = transformer(context=20, width=width, mlp_width=24 if width == 16 else 64)
    network.requires_grad_(False)
    row = tokens(20, 20)
    fast = make_form(network, precision)
    hidden = fast.extend(
        row, torch.zeros(20, dtype=torch.long), torch.arange(20), [20] * 20, fast.make_cache(20, 20)
    )
    logp = fast.logits(hidden.flatten(0, 1)).log_softmax(-1)
    off = float((logp - logits_of(network, row).flatten(0, 1).log_softmax(-1)).abs().mean())
    assert off < bound
    assert precision == "fp32" or off > 1e-5  # it does round
