"""The embedded default corpus: the prose of this Python installation, about 2 MB of English, read
in place.

It is the language reference that `help()` shows, the docstrings of the standard library's sources,
and those of the modules built into the interpreter. Equal installations give equal text in equal
order.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import sysconfig
import types
import warnings
from collections.abc import Iterator
from pathlib import Path

SHORTEST = 60
"""Docstrings with fewer characters are left out: most of them only repeat a name."""

# Tests and demonstrations, programs for editing and installing, other people's packages, and tables
# of characters.
_SKIPPED = {
    "test", "tests", "idle_test", "idlelib", "turtledemo", "lib2to3", "ensurepip", "encodings",
    "pydoc_data", "site-packages", "dist-packages", "__pycache__",
}  # fmt: skip


def python_prose() -> Iterator[tuple[str, str]]:
    """Pairs of a text and its source (a module's name), each text once.

    Where an installation lacks one of the three parts (small ones come without sources), the others
    are what there is.
    """
    seen: set[str] = set()
    for part in (_reference(), _sources(), _built_in()):
        for text, source in part:
            prose = _without_examples(text)
            if len(prose) >= SHORTEST and prose not in seen:
                seen.add(prose)
                yield prose, source


def _without_examples(text: str) -> str:
    """The text without its interpreter sessions: from a >>> line to the next blank line."""
    lines: list[str] = []
    in_session = False
    for line in inspect.cleandoc(text).splitlines():
        in_session = bool(line.strip()) and (in_session or line.lstrip().startswith(">>>"))
        # What stood on both sides of a session must not leave two blank lines where it was.
        if not in_session and (line.strip() or (lines and lines[-1])):
            lines.append(line.rstrip())
    return "\n".join(lines).strip()


def _reference() -> Iterator[tuple[str, str]]:
    try:
        topics = importlib.import_module("pydoc_data.topics").topics
    except ModuleNotFoundError:
        return
    for name in sorted(topics):
        yield topics[name], "pydoc_data.topics"


def _sources() -> Iterator[tuple[str, str]]:
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root)
        if _SKIPPED.intersection(inside.parts[:-1]):
            continue
        for docstring in _docstrings(path):
            yield docstring, ".".join(inside.with_suffix("").parts).removesuffix(".__init__")


def _docstrings(path: Path) -> Iterator[str]:
    """The docstrings of the module, and of its classes and functions in the order of their
    lines.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some old sources hold escapes that the parser warns of
        try:
            tree = ast.parse(path.read_bytes())
        except (
            SyntaxError,
            ValueError,
            OSError,
        ):  # a template, or a file that this user may not read
            return
    if docstring := ast.get_docstring(tree):
        yield docstring
    inner = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    )
    for node in sorted(inner, key=lambda node: node.lineno):
        if docstring := ast.get_docstring(node):
            yield docstring


def _built_in() -> Iterator[tuple[str, str]]:
    """Only functions and types written in C, and not those of `sys`: programs replace its hooks
    while they run.
    """
    for name in sorted(set(sys.builtin_module_names) - {"sys"}):
        for _, value in sorted(vars(importlib.import_module(name)).items()):
            if isinstance(value, types.BuiltinFunctionType | type) and isinstance(
                value.__doc__, str
            ):
                yield value.__doc__, name
            if isinstance(value, type):
                for _, member in sorted(vars(value).items()):
                    if isinstance(member, types.MethodDescriptorType) and isinstance(
                        member.__doc__, str
                    ):
                        yield member.__doc__, name
