"""What the compiled library says is what the formulas say, in float64; and without it the engine is
as it was.
"""

from __future__ import annotations

import copy
import multiprocessing
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from fledge.engine import generation, native
from fledge.engine.forms import make_form
from fledge.engine.native import KINDS, has_native, load_native
from fledge.engine.native_product import NativeProduct
from tests.engine.test_generation import KINDS as NETWORKS
from tests.engine.test_generation import logits_of, tokens
from tests.subjects import transformer

pytestmark = pytest.mark.skipif(
    load_native() is None, reason="no compiler, or a processor without these instructions"
)
# how far a weight of 1 may be off
STEPS = {"fp32": 2**-20, "fp16": 2**-11, "bf16": 2**-8, "int8": 1 / 127}
SHAPES = [(32, 16, 1), (96, 51, 5), (37, 19, 13), (576, 64, 2), (64, 600, 40)]


def numbers(*size: int) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(sum(size)))


def needs(kind: str) -> None:
    if not has_native(kind):
        pytest.skip(f"no product of {kind} here")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_product_is_the_matrix_product_with_the_norm_before_it_and_what_follows(
    kind: str, shape: tuple[int, int, int]
) -> None:
    needs(kind)
    outputs, inputs, rows = shape
    weight, x, gain = numbers(outputs, inputs), numbers(rows, inputs), numbers(inputs)
    other, made = numbers(rows, outputs), NativeProduct(weight, kind)
    W, X = weight.double(), x.double()
    bound = 4 * STEPS[kind] * inputs**0.5
    torch.testing.assert_close(made(x).double(), X @ W.T, atol=bound, rtol=0)
    torch.testing.assert_close(made.add(x, other).double(), X @ W.T + other, atol=bound, rtol=0)
    normed = X / (X.square().mean(-1, keepdim=True) + 1e-3).sqrt()
    torch.testing.assert_close(made(x, 1e-3).double(), normed @ W.T, atol=bound, rtol=0)
    y = made(x, 1e-3, gain).double()
    torch.testing.assert_close(y, (normed * gain) @ W.T, atol=3 * bound, rtol=0)
    if outputs % 32 == 0:
        gate, up = (normed @ W.T).chunk(2, -1)
        y = NativeProduct(weight, kind, gated=True)(x, 1e-3).double()
        torch.testing.assert_close(y, gate * gate.sigmoid() * up, atol=0.0, rtol=10)
        error = (y - gate * gate.sigmoid() * up).abs()
        assert bool((error <= 2 * bound * (1 + gate.abs() + up.abs())).all())


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_has_nothing_to_do_with_its_neighbours_nor_with_the_threads(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs(kind)
    made, x = NativeProduct(numbers(96, 40), kind), numbers(31, 40) * 3
    y = made(x, 1e-5)
    for r in (0, 11, 12, 30):
        assert torch.equal(made(x[r : r + 1], 1e-5)[0], y[r])
    for count in (1, 2, 5):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=count: count)
        assert torch.equal(made(x, 1e-5), y)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_number_is_heard(kind: str) -> None:
    needs(kind)
    weight, x = numbers(64, 24), numbers(3, 24)
    spoilt = weight.clone()
    spoilt[5, 3] = torch.nan
    assert bool(NativeProduct(spoilt, kind)(x)[:, 5].isnan().all())
    x[1, 2] = torch.nan
    y = NativeProduct(weight, kind)(x)
    assert y.isnan().any(1).tolist() == [False, True, False]


def test_weights_of_8_bits_are_the_nearest_and_x_is_as_exact_as_16_bits() -> None:
    needs("int8")
    weight = numbers(64, 32)
    made = NativeProduct(weight, "int8")
    rounded = made(torch.eye(32)).T.double()
    step = weight.abs().amax(1, keepdim=True) / 127
    assert bool(((rounded - weight).abs() <= 0.501 * step).all())
    x = numbers(9, 32)
    x[:, 3] = 300.0
    off = made(x).double() - x.double() @ rounded.T
    assert float(off.abs().max()) < 300 * 2**-15 * 32 * 3


def test_silu_from_end_to_end_of_float32() -> None:
    gate = torch.tensor([-200.0, -104, -90, -30, -1, -1e-30, 0, 1e-30, 1, 30, 90, 200, 3e38])
    weight = torch.zeros(32, 2)
    weight[:16, 0], weight[16:, 1] = 1.0, 1.0
    x = torch.stack([gate, torch.ones_like(gate)], 1)
    y = NativeProduct(weight, "fp32", gated=True)(x)[:, 0]
    torch.testing.assert_close(y, (gate.double() * gate.double().sigmoid()).float())


def read_two_pieces_and_steps(fast: Any, row: torch.Tensor, slots: int) -> torch.Tensor:
    """The logits of positions 7 to 15: prompts of 7 tokens, then a token at a time."""
    rows, cache = len(row), fast.make_cache(slots, 20)
    begin = torch.zeros(rows, dtype=torch.long)
    fast.extend(row[:, :7], begin, torch.arange(rows), 7, cache)
    said = []
    for at in range(7, 16):
        lengths = begin + at
        said.append(fast.logits(fast.step(row[:, at], lengths, lengths.tolist(), cache)))
    return torch.stack(said, 1)


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("small", [0, 10**9])
@pytest.mark.parametrize("there", [True, False])
def test_a_network_says_with_the_library_and_without_it_what_a_plain_forward_pass_says(
    kind: dict[str, Any], small: int, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heads of 16, as the library looks at them; a cache of one block, and one of several."""
    if not there:
        monkeypatch.setattr(generation, "has_native", lambda kind: False)
    monkeypatch.setattr(generation, "SMALL_LAYER", small)
    monkeypatch.setattr(generation, "BLOCK", 4)
    network = transformer(context=20, width=64, mlp_width=32, **kind).requires_grad_(False)
    for name, weight in network.named_parameters():
        if "norm" in name or name.endswith("bias"):
            weight.copy_(1 + 0.3 * numbers(*weight.shape))
    fast, row = make_form(network), tokens(5, 20)
    assert isinstance(fast.unembed.product, NativeProduct) == there
    whole = logits_of(copy.deepcopy(network).double(), row)[:, 7:16]
    said = read_two_pieces_and_steps(fast, row, 6)
    torch.testing.assert_close(said.double(), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16", "int8", "int4"])
def test_slots_of_unequal_length_in_a_narrow_cache(
    precision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "SMALL_LAYER", 0)
    network = transformer(context=20, width=64, mlp_width=64).requires_grad_(False)
    fast, row = make_form(network, precision), tokens(3, 20)
    cache, held = fast.make_cache(4, 20), torch.tensor([9, 4, 1])
    fast.extend(row[:, :9], torch.zeros(3, dtype=torch.long), torch.arange(3), 9, cache)
    said = fast.logits(fast.step(row[torch.arange(3), held], held, held.tolist(), cache))
    whole = logits_of(network, row)[torch.arange(3), held]
    off = (said.log_softmax(-1) - whole.log_softmax(-1)).abs().mean()
    bounds = {"fp32": 1e-4, "bf16": 0.03, "fp16": 0.003, "int8": 0.06, "int4": 0.85}
    assert float(off) < bounds[precision]


def test_two_threads_of_python_and_a_child_of_a_fork_get_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    made, x = NativeProduct(numbers(4096, 64), "fp32"), numbers(24, 64)
    y, others = made(x), list[bool]()

    def again() -> None:
        others.extend(torch.equal(made(x), y) for _ in range(50))

    callers = [threading.Thread(target=again) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert others == [True] * 150
    child = multiprocessing.get_context("fork").Process(target=leave_if_same, args=(made, x, y))
    child.start()
    child.join(30)
    assert child.exitcode == 0


def leave_if_same(made: NativeProduct, x: torch.Tensor, y: torch.Tensor) -> None:
    raise SystemExit(0 if torch.equal(made(x), y) else 1)


@pytest.mark.parametrize("compiler", [None, "/bin/false", "/nowhere/cc"])
def test_without_a_compiler_the_engine_is_as_it_was(
    compiler: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(native.shutil, "which", lambda name: compiler)
    load_native.cache_clear()
    try:
        assert load_native() is None
        fast = make_form(transformer(width=64).requires_grad_(False))
        assert not isinstance(fast.unembed.product, NativeProduct)
    finally:
        load_native.cache_clear()


def test_what_was_compiled_is_kept_and_another_source_is_compiled_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = native._name_library("/usr/bin/cc")
    assert first.is_relative_to(tmp_path)
    changed = tmp_path / "csrc"
    shutil.copytree(native.SOURCES, changed)
    with (changed / "numbers.h").open("a") as file:
        file.write("\n")
    monkeypatch.setattr(native, "SOURCES", changed)
    assert native._name_library("/usr/bin/cc") != first
