"""Which weights go, counted by numpy; and a network with parts cut out says what the whole one does
with these parts set to 0.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.models.language.mixture import Experts
from fledge.models.language.pruning import (
    choose_kept,
    cut_parts,
    keep_largest,
    keep_largest_of,
    list_matrices,
    rank_parts,
)
from tests.subjects import seeded, transformer


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.75])
def test_the_largest_stay(sparsity: float) -> None:
    weight = torch.randn(12, 40, generator=seeded(0))
    kept = keep_largest(weight, sparsity).numpy()
    gone = int(sparsity * 480)
    bar = np.sort(np.abs(weight.numpy()), axis=None)[gone]
    assert np.array_equal(kept, np.abs(weight.numpy()) >= bar)
    assert int((~kept).sum()) == gone


def test_equal_weights_go_in_order() -> None:
    assert keep_largest(torch.ones(2, 4), 0.5).tolist() == [[False] * 4, [True] * 4]


def test_two_of_every_four() -> None:
    weight = torch.randn(12, 40, generator=seeded(0))
    kept = keep_largest_of(weight, 2, 4).numpy().reshape(-1, 4)
    for row, mask in zip(np.abs(weight.numpy()).reshape(-1, 4), kept, strict=True):
        assert set(np.flatnonzero(mask)) == set(np.argsort(row)[2:])
    with pytest.raises(UserError, match="pattern=free"):
        keep_largest_of(torch.ones(2, 6), 2, 4)


def test_matrices_are_those_of_the_blocks_each_for_itself() -> None:
    network = transformer(experts=Experts(3, 1, 8, dense=(1,)))
    shapes = [tuple(matrix.shape) for matrix in list_matrices(network)]
    attention = [(16, 16), (8, 16), (8, 16), (16, 16)]
    mixture = [(8, 16), (8, 16)] * 3 + [(16, 8)] * 3
    assert sorted(shapes) == sorted(2 * attention + mixture + [(24, 16)] * 2 + [(16, 24)])
    for matrix in list_matrices(network):
        matrix.zero_()  # views: the network's own
    weights = dict(network.blocks.named_parameters())
    assert all(not bool(w.any()) for n, w in weights.items() if w.ndim > 1 and "router" not in n)


NETWORKS: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen3": {"qk_norm": True, "head_width": 6, "tied": False},
    "with biases": {"qkv_bias": True, "out_bias": True, "mlp_bias": True},
    "gemma2": {"norm_places": "around", "windows": (4, 0), "score_cap": 5.0, "score_scale": 0.3},
    "no gate": {"gated": False, "mlp_bias": True, "norm": "layer", "residual": "parallel",
                "activation": "gelu", "kv_heads": 4},
}  # fmt: skip


@pytest.mark.parametrize("sizes", NETWORKS.values(), ids=NETWORKS)
def test_a_cut_network_says_what_the_masked_one_says(sizes: dict[str, Any]) -> None:
    network = transformer(**sizes)
    masked, c = copy.deepcopy(network), network.config
    channels = [torch.tensor([0, 3, 4, 11, 23]), torch.tensor([1, 2, 5, 9, 17])]
    groups = [torch.tensor([1]), torch.tensor([0])]
    smaller = cut_parts(network, channels, groups)
    each = c.heads // c.kv_heads * c.head_width
    with torch.no_grad():
        for block, kept, heads in zip(masked.blocks, channels, groups, strict=True):
            silent = torch.ones(c.mlp_width, dtype=torch.bool)
            silent[kept] = False
            block.down.weight[:, silent] = 0
            for group in set(range(c.kv_heads)) - set(heads.tolist()):
                block.attention.out.weight[:, group * each : (group + 1) * each] = 0
        tokens = torch.randint(11, (3, 20), generator=seeded(1))
        wanted, said = (one(tokens) @ one.unembedding.T for one in (masked, smaller))
    torch.testing.assert_close(said, wanted, atol=1e-5, rtol=1e-5)
    assert smaller.config.heads == c.heads // c.kv_heads
    assert smaller.config.parameters == sum(p.numel() for p in smaller.parameters())
    assert smaller.config.parameters < c.parameters


def test_parts_are_ranked_by_what_they_write() -> None:
    """By the sums of squares of what each alone adds to the residual stream, summed over tokens and
    axes.
    """
    network = transformer(mlp_bias=True)
    c = network.config
    tokens = torch.randint(11, (4, 20), generator=seeded(1))
    real = torch.rand(4, 20, generator=seeded(2)) < 0.7
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        return lambda module, given, answer: seen.update({name: given[0][real]})

    for layer, block in enumerate(network.blocks):
        block.down.register_forward_hook(keep(f"down {layer}"))
        block.attention.out.register_forward_hook(keep(f"out {layer}"))
    channels, groups = rank_parts(network, tokens, real)
    for layer, block in enumerate(network.blocks):
        x, weight = seen[f"down {layer}"], block.down.weight.detach()
        for j in range(c.mlp_width):
            wrote = x[:, j : j + 1] * weight[:, j]
            assert float(channels[layer][j]) == pytest.approx(float(wrote.norm()), rel=1e-4)
        x, weight = seen[f"out {layer}"], block.attention.out.weight.detach()
        each = c.heads // c.kv_heads * c.head_width
        for g in range(c.kv_heads):
            columns = range(g * each, (g + 1) * each)
            wrote = sum(float((x[:, j : j + 1] * weight[:, j]).square().sum()) for j in columns)
            assert float(groups[layer][g]) == pytest.approx(wrote**0.5, rel=1e-4)


def test_the_most_important_are_kept_in_order() -> None:
    assert choose_kept(torch.tensor([3.0, 9.0, 1.0, 9.0, 5.0]), 3).tolist() == [1, 3, 4]


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"experts": Experts(2, 1, 8)}, "mixture of experts"),
        ({"qk_norm": True, "qk_norm_whole": True}, "kv_groups=0"),
    ],
)
def test_what_cannot_be_cut_is_one_sentence(sizes: dict[str, Any], says: str) -> None:
    network = transformer(**sizes)
    kept = [torch.arange(5)] * 2, [torch.tensor([0])] * 2
    with pytest.raises(UserError, match=says):
        cut_parts(network, *kept)
