"""Which files a run reads: those of its lineage, so that a change of any of them is noticed when it
is continued.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from fledge.data_names import list_fitting
from fledge.runs.lineage import FilesOf
from fledge.tasks.given import list_given_files
from fledge.tasks.textworld_games import list_games
from fledge.text.folders import Links, Passed, text_files
from fledge.user_code import FROM_PYTHON

_OWN_CODE = re.compile(r"(.+\.py):\w+")  # FILE.py:Class, as `algorithm` and `world` take it


def choose_files(config: Mapping[str, Any]) -> FilesOf:
    """`list_files` as the fields of a run choose, which say whether hidden texts and linked folders
    are read.
    """
    return partial(
        list_files, hidden=config.get("hidden", False), links=config.get("links", "follow")
    )


def list_files(name: str, *, hidden: bool = False, links: Links = "follow") -> list[Path]:
    """The files behind a name that a user gave: text, a task, a map, code of his own; none for what
    is built in.

    A folder is its text files, in the order of names, and `rows-*.jsonl` all files that fit; a .py
    file brings the modules beside it that it imports, with the packages around them;
    `gridworld:map.txt`, `words:task.jsonl` and `mine.py:Mine` are the file in them,
    `textworld:games/` the games of the folder,
    `my.module:Mine-v0` is a module of the present folder; what was given as an object of Python's
    is the files that `list_given_files` has.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return text_files(path, Passed(), hidden=hidden, links=links)
    if path.is_file():
        return _list_with_imports(path) if path.suffix == ".py" else [path]
    if fitting := list_fitting(name):
        return fitting
    if own := _OWN_CODE.fullmatch(name):
        return list_files(own[1])
    if name.startswith(FROM_PYTHON):
        return [file for given in list_given_files(name) for file in list_files(str(given))]
    family, colon, rest = name.partition(":")
    if colon and family in ("gridworld", "words"):
        return list_files(rest)
    if colon and family == "textworld":
        return list_games(Path(rest).expanduser())
    module = tuple(family.split("."))
    if not colon or not all(part.isidentifier() for part in module):
        return []
    return _add_imports(list(_module_files(Path(), module)), Path())


def _list_with_imports(path: Path) -> list[Path]:
    """A file of Python and the modules beside it that it imports, and those that these do."""
    path = path.resolve() if path.is_symlink() else path  # Python looks beside the file itself
    return _add_imports([path], path.parent)


def _add_imports(files: list[Path], root: Path) -> list[Path]:
    """Files of Python and the modules of `root`, where Python looks, that they import, and so
    on.
    """
    read, waiting = list(files), list(files)
    while waiting:
        for module in _list_imports(waiting.pop(), root):
            for file in _module_files(root, module):
                if file not in read:
                    read.append(file)
                    waiting.append(file)
    return read


def _module_files(root: Path, module: tuple[str, ...]) -> Iterator[Path]:
    """What Python runs to import a module of `root`: the __init__.py of each package, its own
    file.
    """
    for end in range(1, len(module) + 1):
        place = root.joinpath(*module[:end])
        package, alone = place / "__init__.py", place.with_suffix(".py")
        if package.is_file():
            yield package
        elif alone.is_file():
            yield alone
            return  # what stands behind it is a name in it, and no module


def _list_imports(path: Path, root: Path) -> Iterator[tuple[str, ...]]:
    """The modules that a file imports, as seen from `root`; none of one that Python cannot read."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError):
        return
    package = path.relative_to(root).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # One dot is the package that the file is in, every further one the package around.
            around = package[: max(0, len(package) - node.level + 1)] if node.level else ()
            module = (*around, *node.module.split(".")) if node.module else around
            yield from ((*module, alias.name) for alias in node.names)
