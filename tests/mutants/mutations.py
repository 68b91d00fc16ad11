"""Small faults in a source file, one at a time: a sign, a direction, a bound, a condition, a choice
between two things alike.

Left alone, because they are no arithmetic: annotations, docstrings, sentences for the user,
imports, decorators, assertions.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

ARITHMETIC: dict[type[ast.operator], ast.operator] = {
    ast.Add: ast.Sub(),
    ast.Sub: ast.Add(),
    ast.Mult: ast.Div(),
    ast.Div: ast.Mult(),
    ast.FloorDiv: ast.Div(),
    ast.Mod: ast.Mult(),
    ast.Pow: ast.Mult(),
    ast.BitAnd: ast.BitOr(),
    ast.BitOr: ast.BitAnd(),
}
COMPARISONS: dict[type[ast.cmpop], tuple[ast.cmpop, ...]] = {
    ast.Lt: (ast.LtE(), ast.GtE()),
    ast.LtE: (ast.Lt(), ast.Gt()),
    ast.Gt: (ast.GtE(), ast.LtE()),
    ast.GtE: (ast.Gt(), ast.Lt()),
    ast.Eq: (ast.NotEq(),),
    ast.NotEq: (ast.Eq(),),
    ast.Is: (ast.IsNot(),),
    ast.IsNot: (ast.Is(),),
    ast.In: (ast.NotIn(),),
    ast.NotIn: (ast.In(),),
}


def _both_ways(*pairs: tuple[str, str]) -> dict[str, str]:
    return {a: b for pair in pairs for a, b in (pair, pair[::-1])}


CALLED = _both_ways(
    ("min", "max"), ("amin", "amax"), ("argmin", "argmax"), ("minimum", "maximum"), ("sum", "mean"),
    ("any", "all"),
    ("zeros_like", "ones_like"), ("zeros", "ones"), ("softmax", "log_softmax"),
    ("group_max", "group_mean"),
    ("catch_up", "follow"),
)  # fmt: skip
TWINS = _both_ways(
    ("terminated", "truncated"), ("preferred", "rejected"), ("obs", "next_obs"), ("low", "high"),
    ("teacher", "student"),
    ("clip_low", "clip_high"), ("best", "worst"), ("logp", "old_logp"), ("policy", "reference"),
    ("preferred_ratio", "rejected_ratio"), ("preferred_logp", "rejected_logp"),
    ("preferred_mean", "rejected_mean"),
    ("noise", "next_noise"), ("wanted", "unwanted"), ("desirable_weight", "undesirable_weight"),
    ("value", "target"),
)  # fmt: skip
REMOVED = {"detach", "clamp", "abs", "square", "sqrt", "exp", "log", "flip", "clone"}  # x.exp() → x
# whose arguments are not two alike
UNORDERED = {
    "isinstance",
    "getattr",
    "hasattr",
    "range",
    "zip",
    "partial",
    "slice",
}
KINDS = {
    "policy": "policy", "reference": "policy", "teacher": "policy", "student": "policy",
    "actor_critic": "policy",
    "learner": "learner", "batch": "batch", "part": "batch", "rows": "batch", "kept": "batch",
    "kind": "kind", "self": "self",
    "stopwatch": "stopwatch", "fit": "function", "loss": "function", "between_steps": "callback",
}  # fmt: skip
# joined by |, not masks
MAPPINGS = {
    "figures",
    "marks",
    "distance",
    "spread",
    "state",
    "each",
    "settings",
    "parts",
}


@dataclass(frozen=True)
class Mutant:
    file: str  # below src/fledge
    line: int
    place: str  # the class and function it stands in
    before: str
    after: str
    number: int  # of those that read the same in this place
    source: str  # of the whole file
    reach: tuple[int, int]  # lines: whoever runs one of them can notice

    @property
    def name(self) -> str:
        """What it is called in the file of survivors: without a line number, which moves."""
        told = f"{self.file} · {self.place} · {self.before} → {self.after}"
        return told if self.number == 1 else f"{told} · {self.number}"

    @property
    def module(self) -> str:
        return self.file.split("/")[0].removesuffix(".py")


WHOLE_FILE = (1, 10**9)
Place = tuple[str, tuple[int, int]]  # the class and function, and the lines that reach it


def _walk(
    node: ast.AST, place: str = "", reach: tuple[int, int] = WHOLE_FILE
) -> Iterator[tuple[Any, ast.AST, Place]]:
    """Every node that may change, with what may stand instead."""
    if isinstance(node, ast.Import | ast.ImportFrom | ast.Raise | ast.Assert | ast.JoinedStr):
        return
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return  # a docstring
    if isinstance(node, ast.ClassDef):
        if not any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases):
            for child in node.body:
                yield from _walk(child, f"{place}.{node.name}".lstrip("."), WHOLE_FILE)
        return
    if isinstance(node, ast.FunctionDef):
        inside = f"{place}.{node.name}".lstrip(".")
        body = node.body[0].lineno, node.end_lineno or node.lineno
        for default in (*node.args.defaults, *(each for each in node.args.kw_defaults if each)):
            yield from _walk(default, inside, body)
        for child in node.body:
            yield from _walk(child, inside, body)
        return
    if isinstance(node, ast.stmt) and reach != WHOLE_FILE:
        reach = _lines(node)
    for instead in _replacements(node):
        yield node, instead, (place or "module", reach)
    annotation = getattr(node, "annotation", None)
    for child in ast.iter_child_nodes(node):
        if child is not annotation:
            yield from _walk(child, place, reach)


def _lines(node: ast.stmt) -> tuple[int, int]:
    """Of a statement; of one with a body, those before it."""
    body = getattr(node, "body", None)
    return node.lineno, max(
        node.lineno, body[0].lineno - 1
    ) if body else node.end_lineno or node.lineno


def _replacements(node: ast.AST) -> Iterator[ast.AST]:
    if (
        isinstance(node, ast.BinOp)
        and type(node.op) in ARITHMETIC
        and not _joins_mappings(node.left, node.right)
    ):
        yield ast.BinOp(node.left, ARITHMETIC[type(node.op)], node.right)
    elif isinstance(node, ast.AugAssign) and type(node.op) in ARITHMETIC:
        if not _joins_mappings(node.target, node.value):
            yield ast.AugAssign(node.target, ARITHMETIC[type(node.op)], node.value)
            yield ast.Pass()
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not | ast.Invert):
        yield node.operand
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        for other in COMPARISONS.get(type(node.ops[0]), ()):
            yield ast.Compare(node.left, [other], node.comparators)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.IfExp):
        yield ast.IfExp(node.test, node.orelse, node.body)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield ast.Constant(node.value + 1 if isinstance(node.value, int) else node.value * 2 or 1.0)
    elif isinstance(node, ast.Call):
        yield from _calls(node)
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and node.attr in TWINS:
        yield ast.Attribute(node.value, TWINS[node.attr], node.ctx)
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield ast.Pass()


def _calls(node: ast.Call) -> Iterator[ast.AST]:
    method = node.func if isinstance(node.func, ast.Attribute) else None
    called = method.attr if method else getattr(node.func, "id", "")
    if called in CALLED:
        other = CALLED[called]
        yield ast.Call(
            ast.Attribute(method.value, other) if method else ast.Name(other),
            node.args,
            node.keywords,
        )
    if method and called in REMOVED:
        yield method.value
    for i, keyword in enumerate(node.keywords if called == "clamp" else ()):
        if keyword.arg in ("min", "max"):
            other = ast.keyword(CALLED[keyword.arg], keyword.value)
            yield ast.Call(
                node.func, node.args, [*node.keywords[:i], other, *node.keywords[i + 1 :]]
            )
    alike = not any(
        isinstance(arg, ast.Constant | ast.Starred | ast.Lambda | ast.Tuple) for arg in node.args
    )
    if alike and len(node.args) >= 2 and called not in UNORDERED and _same_kind(*node.args[:2]):
        first = 1 if called == "where" and len(node.args) == 3 else 0
        args = list(node.args)
        args[first], args[first + 1] = args[first + 1], args[first]
        yield ast.Call(node.func, args, node.keywords)


def _same_kind(one: ast.AST, other: ast.AST) -> bool:
    """Not a policy beside a batch: they cannot be taken for one another, and the TypeError would
    count as a fault that was seen.
    """
    kinds = [
        KINDS.get(getattr(side, "id", getattr(side, "attr", "")), "tensor") for side in (one, other)
    ]
    return kinds[0] == kinds[1]


def _joins_mappings(*sides: ast.AST) -> bool:
    """Whether | stands between dicts: no mask, and nothing but a TypeError would come of another
    operator.
    """
    for side in sides:
        name = getattr(side, "id", getattr(side, "attr", ""))
        if (
            isinstance(side, ast.Dict | ast.DictComp)
            or name in MAPPINGS
            or name.endswith("figures")
        ):
            return True
        if isinstance(side, ast.BinOp) and _joins_mappings(side.left, side.right):
            return True
    return False


def _short(text: str, most: int = 70) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def mutants(file: str, source: str) -> list[Mutant]:
    """All of a file, in the order of the source; what they read like is unique within it."""
    encoded = source.encode()
    starts = [0]
    for line in encoded.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    made: list[Mutant] = []
    seen: dict[tuple[str, str, str], int] = {}
    changes = sorted(
        _walk(ast.parse(source)), key=lambda change: (change[0].lineno, change[0].col_offset)
    )
    for node, instead, (place, reach) in changes:
        begin, end = (
            starts[node.lineno - 1] + node.col_offset,
            starts[node.end_lineno - 1] + node.end_col_offset,
        )
        after = ast.unparse(ast.fix_missing_locations(instead))
        read = place, _short(encoded[begin:end].decode()), _short(after)
        seen[read] = seen.get(read, 0) + 1
        written = after if isinstance(node, ast.stmt) else f"({after})"
        changed = (encoded[:begin] + written.encode() + encoded[end:]).decode()
        made.append(Mutant(file, node.lineno, *read, seen[read], changed, reach))
    return made
