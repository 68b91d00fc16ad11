"""A small perceptron by the C of `csrc/`, forward and backward in one call each, where that can be
compiled; elsewhere, and where more is asked for than values and slopes, by torch's operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import Array, Structure, addressof, byref, c_int64, c_void_p
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fledge.c_library import load_sources

SOURCES = Path(__file__).with_name("csrc")
# A layer wider than that is bound by its products, which torch's library makes as fast or faster.
WIDEST = 128
MOST_ROWS = 4096
KINDS = {"tanh": 0, "relu": 1}  # of activation, as in perceptron.c
Shape = tuple[tuple[int, int, int, int], ...]  # of each layer: weight, bias, inside, outside


class _Layer(Structure):
    """As `Layer` of perceptron.c."""

    _fields_ = [
        ("weight", c_void_p), ("bias", c_void_p), ("inside", c_int64), ("outside", c_int64),
    ]  # fmt: skip


class _Work(Structure):
    """As `Work` of perceptron.c."""

    kept: Array[_Layer]
    _fields_ = [
        *((name, c_void_p) for name in (
            "layers", "inside", "hidden", "outside", "slope_outside", "gradient", "slope_inside",
            "room",
        )),
        *((name, c_int64) for name in ("depth", "rows", "activation")),
    ]  # fmt: skip


@cache
def load_kernel() -> Any:
    """The library, or None where it cannot be had."""
    library = load_sources(SOURCES, "the C of small networks", "torch's kernels do its work")
    if library is not None:
        library.say.argtypes = library.learn.argtypes = library.count_room.argtypes = [c_void_p]
        library.say.restype = library.learn.restype = None
        library.count_room.restype = c_int64
    return library


def suits_kernel(x: Tensor, layers: Sequence[nn.Linear]) -> bool:
    """Whether rows [N, I] go through these layers, as they are now, by the library."""
    return (
        type(x) is Tensor
        and x.dtype == torch.float32
        and x.is_cpu
        and x.ndim == 2
        and 0 < len(x) <= MOST_ROWS
        and all(map(_is_plain, layers))
        # C reads as many numbers as the weights ask for, whatever is given.
        and [x.shape[1], *(layer.out_features for layer in layers[:-1])]
        == [layer.in_features for layer in layers]
        and not torch.is_autocast_enabled("cpu")
        # Whoever differentiates forwards, or many rows at once, sees torch's operations.
        and not torch._C._are_functorch_transforms_active()
        and torch.autograd.forward_ad._current_level < 0
        and not torch.compiler.is_compiling()
        and load_kernel() is not None
    )


def _is_plain(layer: nn.Linear) -> bool:
    return (
        type(layer) is nn.Linear
        and max(layer.in_features, layer.out_features) <= WIDEST
        and is_watched_by_none(layer)
        and all(
            type(p) is nn.Parameter and p.dtype == torch.float32 and p.is_cpu and p.is_contiguous()
            for p in map(layer._parameters.get, ("weight", "bias"))
        )
    )


def is_watched_by_none(module: nn.Module) -> bool:
    """Whether nobody is told of what it computes."""
    return not (
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def go_through(x: Tensor, weights: Sequence[Tensor], activation: str) -> Tensor:
    """Linear layers with an activation of KINDS between them; weights: of each layer, and its bias.
    [N, I] -> [N, O]
    """
    if torch.is_grad_enabled():
        return _Through.apply(x, activation, *weights)  # pyright: ignore[reportReturnType]
    return say(x, weights, activation)[0]


def list_weights(layers: Sequence[nn.Linear]) -> list[Tensor]:
    """Weight and bias of each."""
    return [p for layer in layers for p in (layer.weight, layer.bias)]


def say(x: Tensor, weights: Sequence[Tensor], activation: str) -> tuple[Tensor, Tensor]:
    """Without history.  [N, I] -> [N, O], and what the hidden layers say, one behind the other"""
    shape, rows = _read_shape(weights), len(x)
    x = x.detach().contiguous()
    out = x.new_empty(rows, shape[-1][3])
    hidden = x.new_empty(rows * sum(layer[3] for layer in shape[:-1]))
    room = x.new_empty(_count_room(shape, rows))
    work = _make_work(
        shape, rows, activation, inside=x.data_ptr(), hidden=hidden.data_ptr(),
        outside=out.data_ptr(), room=room.data_ptr(),
    )  # fmt: skip
    load_kernel().say(byref(work))
    return out, hidden


def learn(
    x: Tensor,
    hidden: Tensor,
    slope: Tensor,
    weights: Sequence[Tensor],
    activation: str,
    gradient: Tensor | None,
    below: Tensor | None,
) -> None:
    """What the slope [N, O] of what was said is for the weights, one behind the other, and for the
    rows [N, I]: written where there is room for it.
    """
    shape, x, slope = _read_shape(weights), x.contiguous(), slope.contiguous()
    room = x.new_empty(_count_room(shape, len(x)))
    work = _make_work(
        shape, len(x), activation, inside=x.data_ptr(), hidden=hidden.data_ptr(),
        slope_outside=slope.data_ptr(), gradient=None if gradient is None else gradient.data_ptr(),
        slope_inside=None if below is None else below.data_ptr(), room=room.data_ptr(),
    )  # fmt: skip
    load_kernel().learn(byref(work))


class _Through(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, activation: str, *weights: Tensor) -> Tensor:
        out, hidden = say(x, weights, activation)
        ctx.activation = activation
        ctx.save_for_backward(x, hidden, *weights)
        return out

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, hidden, *weights = ctx.saved_tensors
        of_rows, _, *of_weights = ctx.needs_input_grad
        if torch.is_grad_enabled():  # what comes of it will be differentiated itself
            return _differentiate_again(ctx, x, weights, slope)
        gradient = x.new_empty(sum(p.numel() for p in weights)) if any(of_weights) else None
        below = x.new_empty(x.shape) if of_rows else None
        learn(x, hidden, slope, weights, ctx.activation, gradient, below)
        if gradient is None:
            return below, None, *(None for _ in weights)
        parts = gradient.split([p.numel() for p in weights])
        each = zip(parts, weights, of_weights, strict=True)
        return below, None, *(part.view(p.shape) if asked else None for part, p, asked in each)


def _differentiate_again(ctx: Any, x: Tensor, weights: Sequence[Tensor], slope: Tensor) -> Any:
    """The same slopes by torch's operations, which know their own."""
    h = x
    for i, (weight, bias) in enumerate(zip(weights[::2], weights[1::2], strict=True)):
        h = nn.functional.linear(h, weight, bias)
        if 2 * i + 2 < len(weights):
            h = h.tanh() if ctx.activation == "tanh" else h.relu()
    given = (x, x, *weights)  # the second place is of the activation, which has no slope
    asked = [t for t, needed in zip(given, ctx.needs_input_grad, strict=True) if needed]
    slopes = iter(torch.autograd.grad([h], asked, [slope], create_graph=True))
    return tuple(next(slopes) if needed else None for needed in ctx.needs_input_grad)


def _read_shape(weights: Sequence[Tensor]) -> Shape:
    pairs = zip(weights[::2], weights[1::2], strict=True)
    return tuple((w.data_ptr(), b.data_ptr(), w.shape[1], w.shape[0]) for w, b in pairs)


@lru_cache(maxsize=256)
def _lay_out(shape: Shape) -> Array[_Layer]:
    return (_Layer * len(shape))(*(_Layer(*layer) for layer in shape))


@lru_cache(maxsize=256)
def _count_room(shape: Shape, rows: int) -> int:
    return load_kernel().count_room(byref(_make_work(shape, rows, "tanh")))


def _make_work(shape: Shape, rows: int, activation: str, **held: int | None) -> _Work:
    """held: where each lies, as long as C reads it."""
    layers = _lay_out(shape)
    work = _Work(
        layers=addressof(layers), depth=len(shape), rows=rows, activation=KINDS[activation], **held
    )
    work.kept = layers  # other threads may push it out of the cache while C reads it
    return work
