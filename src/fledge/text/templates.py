"""Renders the chat template of somebody else's model: Jinja in a sandbox, with what such templates
expect to find, and with bounds on how long it takes and how much it writes.

What they expect is what `transformers` gives them
(https://huggingface.co/docs/transformers/chat_templating_writing). Bounds: every pass of a loop and
every call of a macro is a step, of which a rendering has so many; texts, lists and numbers that
would grow beyond a size are refused before they are made.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import wraps
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from fledge.errors import UserError
from fledge.rows.tools import Known

MOST_STEPS = 100_000
MOST_CHARACTERS = 1 << 26
MOST_ITEMS = 1 << 20  # of a list
MOST_SECONDS = 30.0  # no honest template takes one; a slow machine is no fault of the template's

_WIDE = re.compile(r"\d{5,}|\*")  # a width in a format


class Refusal(TemplateError):
    """What a template says with raise_exception."""


class Template:
    """One chat template, compiled when it is first rendered."""

    def __init__(self, source: str, whose: str) -> None:
        """whose: what it is called in an error."""
        self.source, self.whose = source, whose
        self.marks_answers = re.search(r"\{%-?\s*generation\s*-?%\}", source) is not None
        """Whether it says what the assistant wrote, by {% generation %}."""
        calls = "tool_calls" in source
        self.known = Known(
            tools=re.search(r"\btools\b", source) is not None,
            calls=calls,
            results=calls or re.search(r"""["']tool["']""", source) is not None,
            thoughts=re.search(r"\b(reasoning_content|reasoning|thinking)\b", source) is not None,
        )
        """What it has words of its own for, as far as its text shows."""
        self._environment = _Environment()
        self._compiled: Any = None
        self._lock = threading.Lock()

    def render(self, variables: Mapping[str, Any], marks: tuple[str, str] = ("", "")) -> str:
        """marks: what to write before and after each text that {% generation %} encloses.

        Raises UserError for a template that refuses the conversation, that fails, or that takes too
        long.
        """
        with self._lock:
            self._environment.start(marks)
            try:
                if self._compiled is None:
                    self._compiled = self._environment.from_string(self.source)
                return self._environment.gather(self._compiled.generate(variables))
            except Refusal as error:
                raise UserError(
                    f"the chat template of {self.whose} refuses this conversation: {error}"
                ) from None
            except RecursionError:
                reason = "it calls itself without an end"
            except Exception as error:  # a template is a program: anything may go wrong in it
                reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(
            f"the chat template of {self.whose} fails ({reason}): mend it, or change the "
            "conversation to what it can say."
        )


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, which alone bounds neither time nor memory."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
        )
        self.filters = {name: _bound(each) for name, each in self.filters.items()}
        self.filters["tojson"] = self.to_json
        self.globals |= {
            "raise_exception": _refuse,
            "strftime_now": lambda layout: datetime.now().strftime(layout),
            "namespace": _Names,
            "dict": lambda *args, **kwargs: dict(*args, **kwargs),
        }
        self.start(("", ""))

    def start(self, marks: tuple[str, str]) -> None:
        """A rendering begins."""
        self.marks, self.steps, self.since = marks, 0, time.monotonic()

    def count_step(self) -> bool:
        """Always true, so that it can stand in a condition."""
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise SecurityError(f"it takes more than {MOST_STEPS:,} steps")
        if time.monotonic() - self.since > MOST_SECONDS:
            raise SecurityError(f"it takes longer than {MOST_SECONDS:.0f} s")
        return True

    def gather(self, pieces: Any) -> str:
        """The text of a rendering, piece by piece."""
        kept, size = [], 0
        for piece in pieces:
            size += len(piece)
            _check_size(size)
            kept.append(piece)
        return "".join(kept)

    def join_texts(self, *parts: Any) -> str:
        """a ~ b"""
        texts = [str(part) for part in parts]
        _check_size(sum(map(len, texts)))
        return "".join(texts)

    def to_json(
        self,
        value: Any,
        ensure_ascii: bool = False,
        indent: Any = None,
        separators: Any = None,
        sort_keys: bool = False,
    ) -> str:
        """Without the escapes for HTML of Jinja's own filter."""
        text = json.dumps(
            value,
            ensure_ascii=ensure_ascii,
            indent=indent,
            separators=separators,
            sort_keys=sort_keys,
        )
        # Private characters stand for no text: they stay themselves, to be taken out again.
        return re.sub(r"\\u([ef][0-9a-f]{3})", _keep_private, text) if ensure_ascii else text

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "*":
            for many, times in ((left, right), (right, left)):
                if isinstance(many, str | Sequence) and isinstance(times, int):
                    _check_size(len(many) * times, many)
        if operator == "+" and isinstance(left, Sequence) and isinstance(right, Sequence):
            _check_size(len(left) + len(right), left)
        if operator == "%" and isinstance(left, str) and _WIDE.search(left):
            raise SecurityError("it pads a text to a width of more than four digits")
        if operator in ("*", "**") and isinstance(left, int) and isinstance(right, int):
            size = left.bit_length() * max(abs(right), 1) if operator == "**" else 0
            if max(size, left.bit_length(), right.bit_length()) > 4096:
                raise SecurityError("it computes a number of more than 4,096 bits")
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, obj: Any, *args: Any, **kwargs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        _check_arguments((*args, *kwargs.values()))
        return super().call(context, obj, *args, **kwargs)

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        return super()._generate(_Counted().visit(source), *args, **kwargs)


class _Counted(NodeTransformer):
    """Makes every pass of a loop and every call of a macro a step, and `~` a bounded join."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(_call("count_step")))
        if node.test is not None:  # what it leaves out is looked at all the same
            node.test = nodes.And(_call("count_step"), node.test)
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(_call("count_step")))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _call("join_texts", node.nodes)


def _call(name: str, arguments: Sequence[nodes.Expr] = ()) -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute(name), list(arguments), [], None, None)


class _Generation(Extension):
    """{% generation %} … {% endgeneration %}: what the assistant wrote."""

    tags = frozenset({"generation"})  # pyright: ignore[reportAssignmentType]

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("mark"), [], [], body).set_lineno(line)

    def mark(self, caller: Callable[[], str]) -> str:
        before, after = self.environment.marks  # pyright: ignore[reportAttributeAccessIssue]
        return before + caller() + after


class _Names(Namespace):
    """Jinja's namespace() without names that begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # as Jinja's own: `self` is a name to give
        self, *given = args
        names = dict(*given, **kwargs)
        for name in names:
            _check_name(name)
        Namespace.__init__(self, names)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"it stores {name} in a namespace")


def _refuse(message: object) -> None:
    raise Refusal(str(message))


def _keep_private(match: re.Match[str]) -> str:
    code = int(match[1], 16)
    return chr(code) if 0xE000 <= code < 0xF900 else match[0]


def _check_size(size: int, kind: object = "") -> None:
    most = MOST_CHARACTERS if isinstance(kind, str) else MOST_ITEMS
    if size > most:
        raise SecurityError(f"it makes a text or a list with more than {most:,} items")


def _check_arguments(values: Sequence[Any]) -> None:
    """Counts and widths, as of center() or replace(): those that a text is made of."""
    if any(type(value) is int and value > 100_000 for value in values):
        raise SecurityError("it calls something with a number above 100,000")
    if any(isinstance(value, str) and len(value) > MOST_CHARACTERS for value in values):
        raise SecurityError(f"it calls something with more than {MOST_CHARACTERS:,} characters")


def _bound(each: Callable[..., Any]) -> Callable[..., Any]:
    """A filter of Jinja's whose arguments are checked. `wraps` keeps the marks by which Jinja knows
    what to give it.
    """

    @wraps(each)
    def checked(*args: Any, **kwargs: Any) -> Any:
        _check_arguments((*args[1:], *kwargs.values()))
        return each(*args, **kwargs)

    return checked
