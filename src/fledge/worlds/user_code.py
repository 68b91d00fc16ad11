"""Runs a Python file that the user wrote; what goes wrong in it becomes one sentence with the file and the line."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from fledge.errors import UserError


def read_source(path: Path) -> str:
    """The text of a task file, decoded from UTF-8 (a byte-order mark is dropped).

    Raises UserError where the file is missing, unreadable, empty or not UTF-8.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"there is no task file {path}: check the path, or name a built-in task.") from error
    except OSError as error:
        raise UserError(
            f"the task file {path} cannot be read ({error.strerror}): give a readable .py or .jsonl file."
        ) from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The codec counts from behind a byte-order mark; the user's editor counts from the start of the file.
        at = error.start + (3 if raw.startswith(b"\xef\xbb\xbf") else 0)
        line = raw.count(b"\n", 0, at) + 1
        raise UserError(f"{path} is not UTF-8 at byte {at} (line {line}): save it as UTF-8 text.") from error
    if not text.strip():
        raise UserError(f"the task file {path} is empty: it needs at least one prompt.")
    return text


def load_module(path: Path) -> ModuleType:
    """Runs the file once and returns it as a module; modules that lie beside it can be imported from it.

    Raises UserError where the file cannot be read, is not Python, or raises while it runs.
    """
    source = read_source(path)
    try:
        code = compile(source, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        place = f"{path} line {error.lineno}" if error.lineno else str(path)
        raise UserError(f"{place} is not valid Python ({error.msg}): mend it and run again.") from error
    except ValueError as error:  # Python 3.11 says so of a null byte
        raise UserError(f"{path} is not valid Python ({error}): save it as plain text.") from error
    name = f"fledge_user_task_{path.stem}"
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # dataclasses look their own module up there
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    call(path, "the file", lambda: exec(code, module.__dict__), "while it was loaded")
    return module


def call(path: Path, what: str, function: Callable[..., Any], when: str, *arguments: Any) -> Any:
    """`function(*arguments)`; what it raises becomes a UserError with the file, the line, the error and `when`."""
    try:
        return function(*arguments)
    except (
        Exception,
        SystemExit,
    ) as error:  # not our code: it may raise anything, and exit() in it must not end a run silently
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        place = f"{path} line {lines[-1]}" if lines else str(path)
        said = ": ".join(filter(None, [type(error).__name__, " ".join(str(error).split())]))
        raise UserError(f"{place}: {what} raised {said} {when}; mend it and run again.") from error
