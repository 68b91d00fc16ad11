"""Adapters of one base multiply by packed weights that lie in memory once, and say what the merged
models say.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fledge.engine import generation
from fledge.engine.engine import Engine
from fledge.engine.forms import make_form
from fledge.engine.generation import Generation
from fledge.engine.native import has_native
from fledge.engine.packed_weights import AdaptedProduct, PackedWeights
from fledge.engine.request import Request
from fledge.hub.adapter_start import Adapter, start_bottlenecks, start_lora
from fledge.hub.adapter_targets import ALL_LINEAR
from fledge.models.language.adapters import LoRA
from fledge.models.language.bottleneck import Houlsby
from fledge.models.language.transformer import Transformer
from fledge.trained_state import share_weights
from tests.engine.strangers import plain
from tests.engine.test_generation import tokens
from tests.subjects import policy_of, seeded, transformer

BOUNDS: dict[Generation, float] = {"fp32": 1e-5, "bf16": 0.03, "int8": 0.05}


def put_on(base: Transformer, settings: Adapter, seed: int) -> Transformer:
    """The base's own weights under an adapter that has learned something."""
    network = share_weights(base)
    if isinstance(settings, LoRA):
        start_lora(network, settings, [ALL_LINEAR], [], "fp32", seeded(seed))
    else:
        assert isinstance(settings, Houlsby)
        start_bottlenecks(network, settings, "fp32", seeded(seed))
    with torch.no_grad():
        for weight in network.parameters():
            if weight.requires_grad:
                weight += 0.05 * torch.randn(weight.shape, generator=seeded(seed))
    return network.requires_grad_(False)


def list_packed(form: Any) -> dict[int, int]:
    """Bytes of packed weights, by where they lie."""
    held: dict[int, int] = {}

    def visit(product: Any) -> None:
        if isinstance(product, AdaptedProduct):
            for part in (product.shared, product.down, product.up):
                visit(part)
        else:
            held[product.weight.data_ptr()] = product.weight.nbytes

    for layer in form.layers:
        for affine in (layer.qkv, layer.out, layer.gate_up, layer.down):
            visit(affine.product)
    visit(form.unembed.product)
    return held


@pytest.mark.parametrize("precision", BOUNDS)
def test_two_adapters_and_their_base_hold_its_packed_weights_once(precision: Generation) -> None:
    if not has_native(precision):
        pytest.skip("no library for this processor: each is laid out alone")
    base = transformer(context=40, width=256, mlp_width=512, heads=4, kv_heads=2)
    base.requires_grad_(False)
    kinds: tuple[Adapter, ...] = (LoRA(2), LoRA(4, alpha=8.0), LoRA(2, dora=True), Houlsby(4))
    networks = [base, *(put_on(base, kind, i) for i, kind in enumerate(kinds))]
    packed = PackedWeights(networks, precision)
    forms = [make_form(network, precision, packed=packed) for network in networks]
    alone = sum(list_packed(forms[0]).values())
    three = list_packed(forms[0]) | list_packed(forms[1]) | list_packed(forms[2])
    assert sum(three.values()) < 1.5 * alone  # and less of a network that is wider than 256
    assert list_packed(forms[0]).items() <= list_packed(forms[4]).items()  # bottlenecks stand apart
    row = tokens(3, 40)
    for network, form in zip(networks, forms, strict=True):
        cache = form.make_cache(3, 40)
        hidden = form.extend(
            row, torch.zeros(3, dtype=torch.long), torch.arange(3), [40] * 3, cache
        )
        said = form.logits(hidden.flatten(0, 1)).log_softmax(-1)
        whole = (network(row) @ network.unembedding.T).flatten(0, 1).log_softmax(-1)
        assert float((said - whole).abs().mean()) < BOUNDS[precision]
        if precision == "fp32":
            assert float((said - whole).abs().max()) < 1e-4


def test_an_adapter_says_the_same_alone_and_among_strangers() -> None:
    base = transformer(context=40, width=64, mlp_width=64).requires_grad_(False)
    network = put_on(base, LoRA(2), 1)
    policy = policy_of(network)
    packed = PackedWeights([base, network], "fp32")
    requests = [Request(tokens(1, 3 + i)[0, : 3 + i].tolist(), 20, seed=i) for i in range(9)]
    together = Engine(policy, slots=9, packed=packed).run(requests)
    alone = [Engine(policy, slots=1, packed=packed).run([request])[0] for request in requests]
    assert [row.tokens for row in together] == [row.tokens for row in alone]
    if has_native("fp32"):  # bit for bit; torch's kernels round by how many rows there are
        assert [row.logp for row in together] == [row.logp for row in alone]
    for row in together:
        whole = plain(policy, network, row.prompt, row.tokens)[:-1]
        told = whole.gather(1, torch.tensor(row.tokens)[:, None])[:, 0]
        # as far apart as float32 and double are in this network
        assert row.raw_logp == pytest.approx(told.tolist(), abs=1e-4)


def test_weights_that_change_are_shared_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    base = transformer(context=40, width=64, mlp_width=64).requires_grad_(False)
    network = put_on(base, LoRA(2), 1)
    engine = Engine(policy_of(network), slots=1, packed=PackedWeights([base, network], "fp32"))
    request = Request([1, 2, 3], 10, seed=1)
    engine.run([request])
    with torch.no_grad():
        base.blocks[0].down.weight.add_(0.5)
    engine.renew()
    [row] = engine.run([request])
    [other] = Engine(policy_of(network), slots=1).run([request])
    assert row.tokens == other.tokens
    assert row.logp == other.logp
    monkeypatch.setattr(generation, "has_native", lambda kind: False)
    packed = PackedWeights([base, network], "fp32")
    [row] = Engine(policy_of(network), slots=1, packed=packed).run([request])
    assert row.raw_logp == pytest.approx(other.raw_logp, abs=1e-4)
