"""A perceptron by the C of `csrc/`, forward and backward in one call each, where that can be
compiled; elsewhere, and where more is asked for than values and slopes, by torch's operations.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from ctypes import Array, Structure, addressof, byref, c_int64, c_void_p
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fledge.c_library import load_sources

SOURCES = Path(__file__).with_name("csrc")
# Of a layer, and of rows at once: more were not compared with torch's operations.
WIDEST = 512
MOST_ROWS = 4096
KINDS = {"tanh": 0, "relu": 1}  # of activation, as in perceptron.c
EPS = 1e-5  # of a norm, as in norms.c
# Of each layer: where its weight, bias, gain and shift are (0: none), inside, outside.
Shape = tuple[tuple[int, ...], ...]
_threads: int | None = None


class _Layer(Structure):
    """As `Layer` of perceptron.c."""

    _fields_ = [
        *((name, c_void_p) for name in ("weight", "bias", "gain", "shift")),
        ("inside", c_int64), ("outside", c_int64),
    ]  # fmt: skip


class _Work(Structure):
    """As `Work` of perceptron.c."""

    _fields_ = [
        *((name, c_void_p) for name in (
            "layers", "inside", "hidden", "outside", "slope_outside", "gradient", "slope_inside",
            "room",
        )),
        *((name, c_int64) for name in ("depth", "rows", "activation", "threads")),
    ]  # fmt: skip


@cache
def load_kernel() -> Any:
    """The library, or None where it cannot be had."""
    library = load_sources(SOURCES, "the C of small networks", "torch's kernels do its work")
    if library is not None:
        for name in ("say", "learn", "count_room", "count_hidden"):
            getattr(library, name).argtypes = [c_void_p]
        library.say.restype = library.learn.restype = None
        library.count_room.restype = library.count_hidden.restype = c_int64
        os.register_at_fork(after_in_child=library.begin_anew)
    return library


def use_threads(count: int | None) -> None:
    """From here on up to so many threads share the products of wide layers, whatever torch has;
    None: as many as torch. They change no number, and none waits for one that other programs keep
    from coming.
    """
    global _threads
    _threads = count


class Weights(list[Tensor]):
    """Of each layer its matrix, its bias and, where a norm follows, its gain and shift."""

    shape: Shape | None = None


def take_weights(
    x: Tensor, layers: Sequence[nn.Module], norms: Sequence[nn.Module] = ()
) -> Weights | None:
    """Those of linear layers as the library takes them; None where rows [N, I] do not go through
    them, as they are now, by it. norms: of what each layer says but the last; or none at all.
    """
    if not _suits(x) or len(norms) not in (0, len(layers) - 1):
        return None
    weights, width = Weights(), x.shape[1]
    for i, layer in enumerate(layers):
        if type(layer) is not nn.Linear or not is_watched_by_none(layer):
            return None
        # C reads as many numbers as the weights ask for, whatever is given.
        weight, bias = layer._parameters["weight"], layer._parameters["bias"]
        if weight is None or bias is None or weight.shape != (len(bias), width):
            return None
        width = len(bias)
        weights += (weight, bias)
        if i < len(norms):
            norm: Any = norms[i]
            if type(norm) is not nn.LayerNorm or not is_watched_by_none(norm):
                return None
            gain, shift = norm._parameters["weight"], norm._parameters["bias"]
            if gain is None or shift is None or norm.eps != EPS or gain.shape != (width,):
                return None
            weights += (gain, shift)
    if max(p.shape[-1] for p in weights) > WIDEST or not all(map(_is_plain, weights)):
        return None
    return weights if load_kernel() is not None else None


def _suits(x: Tensor) -> bool:
    return (
        type(x) is Tensor
        and x.dtype == torch.float32
        and x.is_cpu
        and x.ndim == 2
        and 0 < len(x) <= MOST_ROWS
        and not torch.is_autocast_enabled("cpu")
        # Whoever differentiates forwards, or many rows at once, sees torch's operations.
        and not torch._C._are_functorch_transforms_active()
        and torch.autograd.forward_ad._current_level < 0
        and not torch.compiler.is_compiling()
    )


def _is_plain(p: Tensor) -> bool:
    return type(p) is nn.Parameter and p.dtype == torch.float32 and p.is_cpu and p.is_contiguous()


def is_watched_by_none(module: nn.Module) -> bool:
    """Whether nobody is told of what it computes, nor computes it in its place."""
    return not (
        "forward" in module.__dict__
        or module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def go_through(x: Tensor, weights: Sequence[Tensor], activation: str) -> Tensor:
    """Linear layers with an activation of KINDS between them; weights: as `take_weights` gives
    them.  [N, I] -> [N, O]
    """
    if torch.is_grad_enabled():
        return _Through.apply(x, activation, *weights)  # pyright: ignore[reportReturnType]
    return say(x, weights, activation)[0]


def say(x: Tensor, weights: Sequence[Tensor], activation: str) -> tuple[Tensor, Tensor]:
    """Without history.  [N, I] -> [N, O], and what the hidden layers leave for `learn`"""
    x = x.detach().contiguous()
    rows = x.shape[0]
    plan = _make_plan(_read_shape(weights), rows)
    out = x.new_empty(rows, plan.outside)
    hidden, room = x.new_empty(plan.hidden), x.new_empty(plan.room)
    work = _Work(
        plan.place, x.data_ptr(), hidden.data_ptr(), out.data_ptr(), None, None, None,
        room.data_ptr(), plan.depth, rows, KINDS[activation],
        _threads or torch.get_num_threads(),
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
    x, slope = x.contiguous(), slope.contiguous()
    rows = x.shape[0]
    plan = _make_plan(_read_shape(weights), rows)
    room = x.new_empty(plan.room)
    work = _Work(
        plan.place, x.data_ptr(), hidden.data_ptr(), None, slope.data_ptr(),
        None if gradient is None else gradient.data_ptr(),
        None if below is None else below.data_ptr(),
        room.data_ptr(), plan.depth, rows, KINDS[activation],
        _threads or torch.get_num_threads(),
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
    h, layers = x, _part(weights)
    for i, (weight, bias, *norm) in enumerate(layers):
        h = nn.functional.linear(h, weight, bias)
        if i + 1 < len(layers):
            h = nn.functional.layer_norm(h, h.shape[-1:], *norm, eps=EPS) if norm else h
            h = h.tanh() if ctx.activation == "tanh" else h.relu()
    given = (x, x, *weights)  # the second place is of the activation, which has no slope
    asked = [t for t, needed in zip(given, ctx.needs_input_grad, strict=True) if needed]
    slopes = iter(torch.autograd.grad([h], asked, [slope], create_graph=True))
    return tuple(next(slopes) if needed else None for needed in ctx.needs_input_grad)


def _part(weights: Sequence[Tensor]) -> list[list[Tensor]]:
    """Those of each layer: only its matrix has two dimensions."""
    layers: list[list[Tensor]] = []
    for p in weights:
        if p.ndim == 2:
            layers.append([])
        layers[-1].append(p)
    return layers


def _read_shape(weights: Sequence[Tensor]) -> Shape:
    """As they were when they were asked for first: they stay where they are within a step."""
    known = weights.shape if isinstance(weights, Weights) else None
    if known is not None:
        return known
    shape: list[tuple[int, ...]] = []
    for weight, bias, *norm in _part(weights):
        places = [p.data_ptr() for p in norm] or (0, 0)
        outside, inside = weight.shape
        shape.append((weight.data_ptr(), bias.data_ptr(), *places, inside, outside))
    if isinstance(weights, Weights):
        weights.shape = tuple(shape)
    return tuple(shape)


@dataclass(frozen=True)
class _Plan:
    """What C is told of layers and how many rows go through them; numbers of the room it works in,
    and of what the hidden layers leave.
    """

    layers: Array[_Layer]
    place: int
    depth: int
    outside: int
    room: int
    hidden: int


@lru_cache(maxsize=256)
def _make_plan(shape: Shape, rows: int) -> _Plan:
    layers = (_Layer * len(shape))(*(_Layer(*layer) for layer in shape))
    place, depth = addressof(layers), len(shape)
    work = byref(_Work(layers=place, depth=depth, rows=rows))
    counts = load_kernel().count_room(work), load_kernel().count_hidden(work)
    return _Plan(layers, place, depth, shape[-1][-1], *counts)
