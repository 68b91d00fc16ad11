"""A calculator as a tool: arithmetic of numbers, and nothing else of Python."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from fledge.errors import UserError
from fledge.tools.tool import Tool

DIGITS = 4000  # of a number: beyond, a power takes the machine for minutes
_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip


def round_to(value: Any, places: Any = 0) -> Any:
    """Raises UserError for more places than a number has here."""
    if places != int(places) or abs(places) > DIGITS:
        raise UserError(f"numbers are rounded to a whole number of places, up to {DIGITS}.")
    return round(value, int(places)) if places else round(value)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sqrt": math.sqrt, "log": math.log, "exp": math.exp, "sin": math.sin, "cos": math.cos,
    "tan": math.tan, "abs": abs, "round": round_to, "min": min, "max": max, "floor": math.floor,
    "ceil": math.ceil,
}  # fmt: skip
_NAMES = {"pi": math.pi, "e": math.e}


def calculate(expression: str) -> str:
    """The value, of fractions exactly where it is a whole number or ends within 12 digits. Raises
    UserError for what is no arithmetic.
    """
    plain = expression.replace("×", "*").replace("÷", "/").replace("^", "**").replace("−", "-")
    plain = plain.replace(",", "") if "(" not in plain else plain
    try:
        tree = ast.parse(plain.replace("$", "").strip().rstrip("="), mode="eval")
        value = _evaluate(tree.body)
        if isinstance(value, Fraction) and value.denominator != 1:
            value = float(value)
        return f"{value:.12g}" if isinstance(value, float) else str(value)
    except UserError:
        raise
    except (SyntaxError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError) as e:
        raise UserError(f"{expression[:80]!r} cannot be calculated ({e}).") from None


def _evaluate(node: ast.AST) -> Any:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return Fraction(value) if isinstance(value, int) else Fraction(str(value))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _evaluate(operand)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _raise(_evaluate(left), _evaluate(right))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _BINARY[type(op)](_evaluate(left), _evaluate(right))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*map(_evaluate, args))
        case ast.Name(id=name) if name in _NAMES:
            return _NAMES[name]
    raise UserError(
        f"only numbers, + - * / // % **, brackets and {', '.join(_FUNCTIONS)} are calculated here."
    )


def _raise(base: Any, power: Any) -> Any:
    size = math.log10(abs(base) + 2) * abs(power) if base else 0
    if size > DIGITS:
        raise UserError(f"a power of more than {DIGITS} digits was asked for.")
    return base**power


CALCULATOR = Tool(
    "calculator",
    "Evaluates an arithmetic expression, such as (17 + 4) * 3.",
    {"expression": "the expression"},
    calculate,
)
