"""Which files a run reads: those of its lineage, so that a change of any of them is noticed when it is continued."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from fledge.runs.lineage import FilesOf
from fledge.text.folders import Links, Passed, text_files

_OWN_CODE = re.compile(r"(.+\.py):\w+")  # FILE.py:Class, as `algorithm` and `world` take it


def files_of(config: Mapping[str, Any]) -> FilesOf:
    """`files_read` as the fields of a run choose, which say whether hidden texts and linked folders are read."""
    return partial(files_read, hidden=config.get("hidden", False), links=config.get("links", "follow"))


def files_read(name: str, *, hidden: bool = False, links: Links = "follow") -> list[Path]:
    """The files behind a name that a user gave: text, a task, a map, code of his own; none for what is built in.

    A folder is its text files, in the order of names; a .py file brings the modules beside it that it imports;
    `gridworld:map.txt`, `words:task.jsonl` and `mine.py:Mine` are the file in them.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return text_files(path, Passed(), hidden=hidden, links=links)
    if path.is_file():
        return _with_imports(path) if path.suffix == ".py" else [path]
    if own := _OWN_CODE.fullmatch(name):
        return files_read(own[1])
    family, colon, rest = name.partition(":")
    if colon and family in ("gridworld", "words"):
        return files_read(rest)
    module = Path(family.replace(".", "/")).with_suffix(".py")
    return _with_imports(module) if colon and module.is_file() else []


def _with_imports(path: Path) -> list[Path]:
    """A file of Python and the modules beside it that it imports, and those that these do."""
    read, waiting = [path], [path]
    while waiting:
        for module in _imported(waiting.pop()):
            for file in (path.parent / f"{module}.py", path.parent / module / "__init__.py"):
                if file.is_file() and file not in read:
                    read.append(file)
                    waiting.append(file)
    return read


def _imported(path: Path) -> list[str]:
    """The modules that a file imports, with slashes for dots. None of one that is not Python: running it will say so."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError):
        return []
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name.replace(".", "/") for name in names]
