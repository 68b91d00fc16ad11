"""A packed network is the network: the same numbers, the weights of the moment, and nothing of the original changed."""

from __future__ import annotations

import torch
from torch import nn

from fledge.models.packed import PackedLinear, packed, product
from fledge.models.transformer import Transformer, TransformerConfig

SIZES = TransformerConfig(vocab_size=50, context=16, layers=2, width=32, heads=4, kv_heads=2)


def test_product_is_the_matrix_product():
    generator = torch.Generator().manual_seed(0)
    weight, x = (torch.randn(*size, generator=generator, dtype=torch.float64) for size in ((37, 19), (5, 3, 19)))
    exact = torch.einsum("abi,oi->abo", x, weight)
    torch.testing.assert_close(product(weight)(x), exact)  # as it is: only float32 is packed
    torch.testing.assert_close(product(weight.float())(x.float()).double(), exact, atol=1e-5, rtol=1e-5)


def test_packed_network_gives_the_same_hidden_states():
    network = Transformer(SIZES, generator=torch.Generator().manual_seed(0))
    tokens = torch.randint(50, (3, 16))
    with torch.no_grad():
        torch.testing.assert_close(packed(network)(tokens), network(tokens), atol=2e-6, rtol=1e-5)


def test_packed_network_leaves_the_original_as_it_is_and_shares_what_it_does_not_pack():
    network = Transformer(SIZES)
    twin = packed(network)
    assert any(isinstance(layer, PackedLinear) for layer in twin.modules())
    assert not any(isinstance(layer, PackedLinear) for layer in network.modules())
    assert sum(isinstance(layer, nn.Linear) for layer in network.modules()) == 4 * SIZES.layers
    assert twin.embedding.weight is network.embedding.weight


def test_packed_network_has_the_weights_of_the_moment():
    network, tokens = Transformer(SIZES), torch.randint(50, (1, 4))
    with torch.no_grad():
        before = packed(network)(tokens)
        network.blocks[0].down.weight.add_(1.0)
        torch.testing.assert_close(packed(network)(tokens), network(tokens))
        assert not torch.allclose(packed(network)(tokens), before)
