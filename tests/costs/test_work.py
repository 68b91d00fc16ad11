"""Sizes, operations and activations of a plan, against published counts, PyTorch's own counter of
operations, and what autograd really keeps.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fledge.costs.machine import CARDS
from fledge.costs.memory import count_block
from fledge.costs.operations import count_attention, count_forward, count_keys, count_model
from fledge.costs.prediction import predict
from fledge.costs.published import published_config
from fledge.costs.work import RankLayout, Work, check_layout, count_numbers
from fledge.errors import UserError
from fledge.models.language.transformer_config import TransformerConfig
from fledge.policy import TokenPolicy
from tests.subjects import transformer


@pytest.mark.parametrize(
    ("name", "parameters"),
    # as their model cards have them, safetensors' own count
    [("1b", 1_235_814_400), ("8b", 8_030_261_248), ("70b", 70_553_706_496)],
)
def test_published_sizes_have_their_published_parameters(name: str, parameters: int) -> None:
    sizes = published_config(name)
    assert count_numbers(Work(sizes, 1, 1).tensors.every) == parameters == sizes.parameters


def test_operations_are_those_that_pytorch_counts() -> None:
    """Forward: products of blocks and head, and attention over all keys, of which a causal row
    looks at (T+1)/2 in the mean.
    """
    network, tokens = transformer(vocab_size=40, width=24, mlp_width=40), 16
    policy, ids = TokenPolicy(network), torch.zeros(3, tokens + 1, dtype=torch.long)
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), torch.no_grad(), counter:
        policy.log_prob(ids, ids[:, 1:])
    sizes = network.config
    products = count_forward(sizes, tokens) - count_attention(sizes, tokens)
    attention = count_attention(sizes, tokens) * tokens / ((tokens + 1) / 2)
    head = 2 * sizes.vocab_size * sizes.width
    assert counter.get_total_flops() == 3 * tokens * (products + attention + head)
    assert count_model(sizes, tokens) == 3 * (count_forward(sizes, tokens) + head)


def test_keys_of_a_window_are_counted_one_by_one() -> None:
    for tokens, window in ((7, 0), (7, 3), (7, 7), (3, 9)):
        seen = [min(t + 1, window or tokens) for t in range(tokens)]
        assert count_keys(tokens, window) == pytest.approx(sum(seen) / tokens)


def keep_bytes(network: Any, tokens: int, precision: str) -> int:
    """Of what a forward pass of one row keeps for its backward pass, weights apart."""
    own = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept: dict[int, int] = {}

    def keep(x: torch.Tensor) -> torch.Tensor:
        if x.untyped_storage().data_ptr() not in own:
            kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    ids = torch.zeros(1, tokens, dtype=torch.long)
    half = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    with half, torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        hidden = network(ids)
    del hidden
    return sum(kept.values())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"kv_heads": 4, "tied": False},
        {"gated": False, "activation": "gelu_tanh", "norm": "layer", "mlp_bias": True},
        {"residual": "parallel, one norm", "gated": False, "norm": "layer"},
        {"norm_places": "around"},
    ],
    ids=["Llama", "no groups", "GPT-2", "parallel", "norms around"],
)
def test_a_block_keeps_what_autograd_keeps(choices: dict[str, Any], precision: Any) -> None:
    """The difference between rows of two lengths, beyond those whose attention has a way of its own
    on a CPU: what hangs on no token falls out of it, and so does one layer's of the rest.
    """
    lengths = (528, 784)
    kept = {
        layers: [
            keep_bytes(
                transformer(context=1024, width=32, mlp_width=48, layers=layers, **choices),
                tokens, precision,
            )
            for tokens in lengths
        ]
        for layers in (1, 2)
    }  # fmt: skip
    slopes = {n: (long - short) / (lengths[1] - lengths[0]) for n, (short, long) in kept.items()}
    sizes = transformer(context=1024, width=32, mlp_width=48, **choices).config
    foretold = count_block(Work(sizes, 1, 1, precision), on_cpu=True)
    assert slopes[2] - slopes[1] == pytest.approx(foretold, rel=0.02)


def test_more_ranks_hold_less_and_none_is_forgotten() -> None:
    work = Work(published_config("8b"), 64, 8)
    whole = work.under(RankLayout()).held
    outside = count_numbers(work.tensors.outside)
    for shards in (2, 8, 64):
        assert whole / shards == work.under(RankLayout(shards=shards)).held
    norms = 2 * 32 * 4096
    held = work.under(RankLayout(shards=4, tensor=2)).held
    assert held == (outside + norms + (whole - outside - norms) / 2) / 4
    one, eight = (predict(work.under(RankLayout(replicas=n)), CARDS["h100"]) for n in (1, 8))
    assert one.computing == pytest.approx(8 * eight.computing)
    assert one.sending == 0 < eight.sending


def test_what_cannot_be_divided_is_said() -> None:
    sizes = TransformerConfig(vocab_size=8, width=24, heads=6, kv_heads=3, layers=1)
    work = Work(sizes, 4, 8)
    for layout, said in (
        (RankLayout(shards=8), "4 rows a step cannot be divided among 8 ranks"),
        (RankLayout(tensor=2), "tensor_parallel=2 does not divide the kv_heads"),
    ):
        with pytest.raises(UserError, match=said):
            check_layout(work.under(layout))
    with pytest.raises(UserError, match="optimizer=muon steps whole matrices"):
        check_layout(Work(sizes, 4, 8, optimizer="muon", layout=RankLayout(shards=2)))
