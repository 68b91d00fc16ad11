"""What an algorithm says of its own gradient, and whether the measurement agrees.

An algorithm (its class, the object, or the function that makes it) carries the attribute
`gradient_claim`, one of three sentences: "unbiased", "unbiased up to scale (G-1)/G" with any
arithmetic of G (samples of a group), B (rows of a batch) and T (steps of a sequence), or "biased: "
and why. The first two are checked; the third is held to its formula where one is known (the
package's own
algorithms: verify/biases.py), and where none is its figure is shown.
"""

from __future__ import annotations

import ast
import functools
import inspect
import operator
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fledge.errors import UserError
from fledge.verify.laboratory import Hardware, Measured
from fledge.verify.rows import Noise, RowCurves, TableRow

SCALED = "unbiased up to scale "
# Scales that a reader knows by name: what the statement says beside the number.
_NAMED = ("(G−1)/G", "1/G", "1/T", "(G−1)/(G·T)", "1/(G·T)", "G/(G−1)", "G", "T", "(B−1)/B")
_OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def claim_of(make: Any, algorithm: Any) -> str | None:
    """The attribute of a function or `functools.partial` that made the algorithm, else the
    algorithm's own.

    What an algorithm says may depend on its settings, so that a class alone does not know it.
    """
    while not inspect.isclass(make):
        if hasattr(make, "gradient_claim"):
            return make.gradient_claim
        if not isinstance(make, functools.partial):
            break
        make = make.func
    return getattr(algorithm, "gradient_claim", None)


def scale_of(claim: str, samples: int, length: int, groups: int = 1) -> float:
    """The number that a scale is, with G = samples, B = groups·G and T = length. Raises UserError
    where it is no arithmetic of these.
    """
    known = {"G": samples, "B": groups * samples, "T": length}
    text = claim.removeprefix(SCALED).strip()
    try:
        value = _compute(
            ast.parse(text.replace("−", "-").replace("·", "*"), mode="eval").body, known
        )
        if value:
            return value
    except (SyntaxError, ValueError, ZeroDivisionError):
        pass
    raise UserError(
        f'the claim "{claim}" names no scale: write a number made of G, B and T, such as "unbiased '
        'up to scale (G-1)/G".'
    )


def _compute(node: ast.expr, known: Mapping[str, int]) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    if isinstance(node, ast.Name) and node.id in known:
        return float(known[node.id])
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        sides = (_compute(side, known) for side in (node.left, node.right))
        return _OPERATORS[type(node.op)](*sides)
    raise ValueError(ast.dump(node))


def statement(measured: Measured, length: int, tolerance: float) -> str:
    """In words, whatever was claimed: unbiased, unbiased up to a scale, or how biased."""
    noise = measured.noise()
    error, scale = measured.relative_error, measured.scale
    if noise is not None:
        verdict = "no bias seen" if error <= noise[1] else f"biased, cosine {measured.cosine:.3f}"
        return (
            f"{verdict}: relative error {error:.3f}, of which sampling explains {noise[0]:.3f} "
            "(95%)"
        )
    if error <= tolerance:
        return "unbiased"
    if not float(measured.expected.norm()):
        return "biased: the expected gradient is zero"
    if scale and measured.error_after(scale) <= tolerance:
        return f"unbiased up to scale {scale:.4g}{_name(scale, measured, length)}"
    return (
        f"biased: relative error {error:.3g}, cosine {measured.cosine:.3f}; "
        f"{measured.error_after(scale):.3g} remains at the best scale, {scale:.3g}"
    )


def _name(scale: float, measured: Measured, length: int) -> str:
    for name in _NAMED:
        if "−1" in name and measured.samples == 1:
            continue
        if abs(
            scale_of(SCALED + name, measured.samples, length, measured.groups) - scale
        ) < 1e-4 * abs(scale):
            return f" = {name}"
    return ""


def judge(
    id: str,
    subject: str,
    claim: str | None,
    measured: Measured,
    length: int,
    hardware: Hardware,
    note: str = "",
    formula: Tensor | None = None,
) -> TableRow:
    """The row of an estimator on sequences of up to `length` steps. Raises UserError for a claim of
    no known form.

    formula: what a biased estimator should be on average, [P, V].
    """
    claim = claim if claim is None else str(claim)
    if formula is not None:
        figure, bound = measured.error_from(formula), hardware.tolerance
        note = f", as its formula says to {figure:.1e}{note}"
    elif claim is None or claim.startswith("biased:"):
        figure, bound = measured.relative_error, None
    elif claim == "unbiased" or claim.startswith(SCALED):
        scale = (
            1.0
            if claim == "unbiased"
            else scale_of(claim, measured.samples, length, measured.groups)
        )
        figure, noise = measured.error_after(scale), measured.noise(scale)
        bound = hardware.tolerance if noise is None else noise[1]
    else:
        raise UserError(
            f'{subject} has the gradient_claim "{claim}": it must be "unbiased", "unbiased up to '
            'scale (G-1)/G", or "biased: " and why.'
        )
    said = statement(measured, length, hardware.tolerance)
    return TableRow(
        id,
        subject,
        claim or "no claim",
        figure,
        bound,
        f"{said}{note}",
        Noise(measured.samples, measured.relative_variance, measured.effective),
        (parity(subject, measured),),
    )


def parity(subject: str, measured: Measured) -> RowCurves:
    """Every component of the expected gradient over that of the true one: an unbiased estimator
    lies on the diagonal.
    """
    order = measured.true.flatten().argsort()
    true, expected = (x.flatten()[order].tolist() for x in (measured.true, measured.expected))
    lines = {"expected": (true, expected), "exact": ([true[0], true[-1]], [true[0], true[-1]])}
    caption = (
        f"{measured.samples * measured.groups} "
        f"sample{'s' * (measured.samples * measured.groups > 1)} an update"
    )
    return RowCurves(subject, "", "component of the true gradient", lines, caption)
