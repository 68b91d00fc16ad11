"""Where a measurement differs from what is claimed, in one sentence each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fledge.verify.referee.question import Hearing
from fledge.verify.referee.second_way import SAME_BITS

if TYPE_CHECKING:
    from fledge.verify.referee.ruling import Ruling
    from fledge.verify.referee.world_ruling import WorldRuling

CHANGED = 1e-5  # relative: a gradient is another one


def name_faults(ruling: Ruling, hearing: Hearing) -> Iterator[str]:
    """In the order in which someone would look for them."""
    if ruling.claimed and ruling.equation != ruling.claimed:
        yield from _name_equation(ruling)
    if ruling.lost:
        yield f"no number in {ruling.lost:.1%} of the batches, where a group's rewards are equal"
    if ruling.pieces > CHANGED:
        yield from _name_pieces(ruling)
    if ruling.padding > CHANGED:
        yield f"padding is counted: three tokens more change the gradient by {ruling.padding:.1%}"
    if ruling.left is not None and ruling.left > CHANGED:
        yield f"padding on the left is counted: it changes the gradient by {ruling.left:.1%}"
    if ruling.garbage > CHANGED:
        yield f"what stands under the mask changes the gradient by {ruling.garbage:.1%}"
    if ruling.leak > CHANGED:
        yield f"a part of the gradient, of size {ruling.leak:.1e}, lies after a sequence's end"
    if ruling.resumed not in (None, SAME_BITS):
        yield (
            "a run saved after two steps and resumed is another one than that which went through: "
            f"{ruling.resumed} after four, of what the weights moved"
        )
    if ruling.ranks is not None and ruling.ranks > CHANGED:
        yield f"two processes change the gradient by {ruling.ranks:.1%}"
    if not ruling.second.agrees:
        yield name_second(ruling)
    if hearing.unbiased:
        yield from _name_bias(ruling, hearing)


def name_second(ruling: Ruling | WorldRuling) -> str:
    second = ruling.second
    if second.by == "differences":
        return f"the gradient is not that of the loss it returns: {second.apart:.1%} apart"
    return (
        f"samples give the scale {second.low:.4f} to {second.high:.4f}, "
        f"enumeration {ruling.scale:.4f}"
    )


def _name_equation(ruling: Ruling) -> Iterator[str]:
    if not ruling.equation:
        if math.isfinite(ruling.residual):  # else there was no number at all, which is said
            yield f"none of the equations fits: the nearest is {ruling.residual:.1e} away"
        return
    measured, claimed = ruling.equation.split("; "), ruling.claimed.split("; ")
    for part in measured:
        if part not in claimed:
            other = [each for each in claimed if each not in measured]
            yield f"computes “{part}”" + (f", claims “{'; '.join(other)}”" if other else "")
    if set(measured) < set(claimed):
        yield f"leaves out “{'; '.join(each for each in claimed if each not in measured)}”"


def _name_pieces(ruling: Ruling) -> Iterator[str]:
    size = f"two micro-batches change the gradient by up to {ruling.pieces:.1%}"
    if "z = max" in ruling.equation:
        yield f"the divergence z is estimated in each micro-batch: {size}"
    elif "of the batch" in ruling.equation or "over the batch" in ruling.equation:
        yield f"advantages are normalised over the micro-batch: {size}"
    elif "mean over all tokens" in ruling.equation or "NLL of the chosen" in ruling.equation:
        yield f"the loss is averaged over each micro-batch's tokens: {size}"
    else:
        yield size


def _name_bias(ruling: Ruling, hearing: Hearing) -> Iterator[str]:
    if ruling.bias > CHANGED:
        yield (f"the expected gradient is biased by {ruling.bias:.1%} (cosine {ruling.cosine:.4f})")
    elif abs(ruling.scale - 1) > CHANGED:
        size = hearing.group
        own = abs(ruling.scale - (size - 1) / size) < CHANGED
        yield f"unbiased only up to scale {ruling.scale:.4f}" + (
            " = (G−1)/G: each sample is in its own baseline" if own else ""
        )
