"""What the compiled library says is what the formulas say, in float64; and without it the engine is
as it was.
"""

from __future__ import annotations

import copy
import multiprocessing
import threading
from ctypes import c_int
from typing import Any

import pytest
import torch

from fledge.engine import generation
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


@pytest.mark.parametrize("apart", [0, 1])
@pytest.mark.parametrize("shape", [*SHAPES, (64, 33, 100)])
def test_pairs_of_bfloat16_are_multiplied_or_taken_apart(
    apart: int, shape: tuple[int, int, int]
) -> None:
    """As processors of one maker or another do it. Of weights that bfloat16 has, what is left is
    how x is rounded: to bfloat16, or not at all.
    """
    needs("bf16")
    outputs, inputs, rows = shape
    weight, x = numbers(outputs, inputs).bfloat16().float(), numbers(rows, inputs)
    chosen = c_int.in_dll(load_native(), "pairs_apart")
    before = chosen.value
    try:
        chosen.value = apart
        made = NativeProduct(weight, "bf16")
        y, normed = made(x), made(x, 1e-3)
    finally:
        chosen.value = before
    root = (x.double().square().mean(-1, keepdim=True) + 1e-3).sqrt()
    for said, read in ((y, x), (normed, (x.double() / root).float())):
        exact = (read if apart else read.bfloat16()).double() @ weight.double().T
        torch.testing.assert_close(said.double(), exact, atol=2**-20 * 40 * inputs**0.5, rtol=0)
        if inputs > 1:
            other = (read.bfloat16() if apart else read).double() @ weight.double().T
            assert float((said - other).abs().max()) > 2**-10


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
    gate = torch.tensor([-3e38, -200.0, -104, -90, -30, -1, -1e-30, 0, 1e-30, 1, 30, 90, 200, 3e38])
    weight = torch.zeros(32, 2)
    weight[:16, 0], weight[16:, 1] = 1.0, 1.0
    x = torch.stack([gate, torch.ones_like(gate)], 1)
    y = NativeProduct(weight, "fp32", gated=True)(x)[:, 0]
    torch.testing.assert_close(y, (gate.double() * gate.double().sigmoid()).float())


def read_two_pieces_and_steps(fast: Any, row: torch.Tensor, slots: int) -> torch.Tensor:
    """The logits of positions 7 to 15: prompts of 7 tokens, then a token at a time."""
    rows, cache = len(row), fast.make_cache(slots, 20)
    begin = torch.zeros(rows, dtype=torch.long)
    fast.extend(row[:, :7], begin, torch.arange(rows), [7] * rows, cache)
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
    fast.extend(row[:, :9], torch.zeros(3, dtype=torch.long), torch.arange(3), [9] * 3, cache)
    said = fast.logits(fast.step(row[torch.arange(3), held], held, held.tolist(), cache))
    whole = logits_of(network, row)[torch.arange(3), held]
    off = (said.log_softmax(-1) - whole.log_softmax(-1)).abs().mean()
    bounds = {"fp32": 1e-4, "bf16": 0.03, "fp16": 0.003, "int8": 0.06, "int4": 0.85}
    assert float(off) < bounds[precision]


@pytest.mark.parametrize("kind", [
    {}, {"window": 6}, {"heads": 5, "kv_heads": 1, "head_width": 80, "width": 80},
    {"heads": 3, "kv_heads": 3, "head_width": 48, "width": 144},
])  # fmt: skip
@pytest.mark.parametrize("small", [0, 10**9])
def test_prompts_of_unlike_length_are_read_together_without_padding(
    kind: dict[str, Any], small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From places of their own, in slots in any order; what is padding leaves the cache alone."""
    monkeypatch.setattr(generation, "SMALL_LAYER", small)
    sizes: dict[str, Any] = {"context": 40, "width": 64, "mlp_width": 32} | kind
    network = transformer(**sizes).requires_grad_(False)
    fast, row = make_form(network), tokens(4, 40)
    assert fast.packs
    whole = logits_of(copy.deepcopy(network).double(), row)
    cache, slots = fast.make_cache(6, 40), torch.tensor([4, 1, 5, 2])
    fast.extend(row[:, :5], torch.zeros(4, dtype=torch.long), slots, [5, 1, 4, 2], cache)
    starts, ends = torch.tensor([5, 1, 4, 2]), [40, 2, 21, 9]
    at = (starts[:, None] + torch.arange(35)).clamp(max=39)
    hidden = fast.extend(row.gather(1, at), starts, slots, ends, cache)
    for i, end in enumerate(ends):
        said = fast.logits(hidden[i, : end - starts[i]])
        torch.testing.assert_close(said.double(), whole[i, starts[i] : end], rtol=1e-4, atol=1e-4)
    k = cache.gather(0, torch.arange(6), 40)  # [2, 6, kv_heads, 40, d]
    written = k.abs().sum((0, 2, 4)) > 0  # [6, 40]
    held = torch.zeros(6, dtype=torch.long)
    held[slots] = torch.tensor(ends)
    assert torch.equal(written, torch.arange(40) < held[:, None])


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


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_another_type_or_shape_are_refused(kind: str) -> None:
    needs(kind)
    made, x, gain = NativeProduct(numbers(64, 24), kind), numbers(3, 24), numbers(24)
    for wrong in (x.bfloat16(), x.double(), x[:, :23], x[0]):
        with pytest.raises((ValueError, IndexError)):
            made(wrong)
    with pytest.raises(ValueError, match="24"):
        made(x, 1e-5, gain[:23])
    with pytest.raises(ValueError, match="64"):
        made.add(x, numbers(3, 63))
    with pytest.raises(ValueError, match="gated"):
        NativeProduct(numbers(48, 24), kind, gated=True)
    torch.testing.assert_close(made(x, 1e-5, gain), made(x.T.contiguous().T, 1e-5, gain))
    assert made(x[:0], 1e-5).shape == (0, 64)


def test_a_row_past_its_slot_is_refused_and_nothing_is_written() -> None:
    network = transformer(context=20, width=64).requires_grad_(False)
    fast = make_form(network)
    cache = fast.make_cache(2, 8)
    for at in (-1, 8):
        held = torch.tensor([0, at])
        with pytest.raises(IndexError, match="slots of 8 positions"):
            fast.step(torch.tensor([1, 1]), held, held.tolist(), cache)
    with pytest.raises(IndexError, match="2 slots"):
        fast.step(torch.ones(3, dtype=torch.long), torch.zeros(3, dtype=torch.long), [0] * 3, cache)
    assert not bool(cache.store.any())


def test_guesses_past_the_slot_are_padding() -> None:
    network = transformer(context=20, width=64).requires_grad_(False)
    fast, row = make_form(network), tokens(1, 20)
    cache, slot = fast.make_cache(1, 20), torch.zeros(1, dtype=torch.long)
    fast.extend(row[:, :18], slot, slot, [18], cache)
    guessed = torch.cat([row[:, 18:], row[:, :2]], 1)
    hidden = fast.extend(guessed, slot + 18, slot, [22], cache)
    torch.testing.assert_close(
        fast.logits(hidden[0, :2]), logits_of(network, row)[0, 18:], rtol=1e-4, atol=1e-4
    )


def test_8_bits_from_the_least_numbers_to_the_greatest() -> None:
    needs("int8")
    eye = NativeProduct(torch.eye(32), "int8")
    assert not bool(eye(torch.zeros(1, 32)).any())
    for size in (1e-30, 1e-20, 1e20, 1e38):
        x = size * torch.linspace(-1, 1, 32)[None]
        torch.testing.assert_close(eye(x) / size, x / size, atol=2e-4, rtol=0)
        made = NativeProduct(size * torch.eye(32), "int8")
        torch.testing.assert_close(made(x / size), x, atol=2e-4 * size, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_row_needs_no_stack(kind: str) -> None:
    needs(kind)
    made, said = NativeProduct(torch.ones(32, 100_000), kind), list[torch.Tensor]()
    before = threading.stack_size(256 * 1024)
    try:
        caller = threading.Thread(target=lambda: said.append(made(torch.ones(1, 100_000), 0.0)))
        caller.start()
        caller.join()
    finally:
        threading.stack_size(before)
    torch.testing.assert_close(said[0], torch.full((1, 32), 1e5), rtol=1e-3, atol=0)
