"""Runs a Python file that the user wrote; what goes wrong in it becomes one sentence with the file
and the line.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, TypeGuard

from fledge.errors import UserError

# before the name of what was given as an object of Python's: no other process can find it
FROM_PYTHON = "python:"


def read_source(path: Path) -> str:
    """The text of a task file, decoded from UTF-8 (a byte-order mark is dropped).

    Raises UserError where the file is missing, unreadable, empty or not UTF-8.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(
            f"there is no task file {path}: check the path, or name a built-in task."
        ) from error
    except OSError as error:
        raise UserError(
            f"the task file {path} cannot be read ({error.strerror}): give a readable .py or "
            ".jsonl file."
        ) from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The codec counts from behind a byte-order mark; the user's editor counts from the start of
        # the file.
        at = error.start + (3 if raw.startswith(b"\xef\xbb\xbf") else 0)
        line = raw.count(b"\n", 0, at) + 1
        raise UserError(
            f"{path} is not UTF-8 at byte {at} (line {line}): save it as UTF-8 text."
        ) from error
    if not text.strip():
        raise UserError(f"the task file {path} is empty: it needs at least one prompt.")
    return text


def load_module(path: Path) -> ModuleType:
    """Runs the file once and returns it as a module; modules that lie beside it can be imported
    from it.

    Raises UserError where the file cannot be read, is not Python, or raises while it runs.
    """
    source = read_source(path)
    try:
        code = compile(source, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        place = f"{path} line {error.lineno}" if error.lineno else str(path)
        raise UserError(
            f"{place} is not valid Python ({error.msg}): mend it and run again."
        ) from error
    except (
        ValueError,
        RecursionError,
        MemoryError,
    ) as error:  # a null byte (Python 3.11), brackets 1,000 deep
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


def look_in_current_folder() -> None:
    """Modules in the folder that the user stands in are imported as under `python -m`; the
    command `fledge` alone would not.
    """
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)


def runs_now() -> bool:
    """Whether code of a user's is being run by this process, in this thread."""
    return getattr(_running, "process", None) == os.getpid()


def call(path: Path, what: str, function: Callable[..., Any], when: str, *arguments: Any) -> Any:
    """`function(*arguments)`; what it raises becomes a UserError with the file, the line, the error
    and `when`.

    That holds for a raise of any kind, exits and os._exit among them. A copy of this process that
    it forks and that comes back from it ends here, and the working folder is what it was. Ctrl-C
    stays Ctrl-C.
    """
    with tell_as(lambda error: f"{complaint(path, what, error, when)}; mend it and run again."):
        return function(*arguments)


@contextmanager
def tell_as(sentence: Callable[[BaseException], str]) -> Iterator[None]:
    """Code of a user's runs inside: what it raises, of any kind, becomes a UserError with the
    sentence about it.
    """
    with contain() as is_interrupt:
        try:
            yield
        except BaseException as error:  # exits too: they are the file's, not the trainer's
            if isinstance(error, UserError) or is_interrupt(error):
                raise  # said in our own words already, or the person's own
            raise UserError(sentence(error)) from error


class LeftTheProcess(BaseException):
    """What os._exit raises while code of a user's runs: it would end the trainer with nothing said
    and nothing saved.
    """


@contextmanager
def contain() -> Iterator[Callable[[BaseException], bool]]:
    """Code of a user's that runs inside cannot end this process by os._exit, return in a copy of
    it, or leave it in another folder.

    Yields the question whether an exception is a Ctrl-C of a person, as against a KeyboardInterrupt
    that the code raised.
    """
    process, folder = os.getpid(), _folder()
    os._exit = _exit  # for good: outside user code it is what it was
    before = getattr(_running, "process", None)
    _running.process = process
    pressed: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        pressed.append(number)
        signal.default_int_handler(number, frame)

    # Where a run goes on, its loop has a handler of its own, and Python's comes back when Ctrl-C is
    # pressed twice.
    noted = _is_default() and threading.current_thread() is threading.main_thread()
    if noted:
        signal.signal(signal.SIGINT, note)
    try:
        yield (
            lambda error: (
                isinstance(error, KeyboardInterrupt)
                and os.getpid() == process
                and (bool(pressed) or _is_default())
            )
        )
    finally:
        if os.getpid() != process:
            _really_exit(0)
        _running.process = before
        if noted and signal.getsignal(signal.SIGINT) is note:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if folder is not None and _folder() != folder:
            with suppress(OSError):
                os.chdir(folder)


_really_exit = os._exit
_running = threading.local()  # `process`: the one in which this thread runs code of a user's


def _exit(code: int) -> Any:
    if runs_now():
        raise LeftTheProcess(code)
    _really_exit(code)


def _is_default() -> bool:
    return signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # somebody has removed it
        return None


def complaint(path: Path, what: str, error: BaseException, when: str) -> str:
    """The first part of a sentence: where, who, what was raised and when."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    place = f"{path} line {lines[-1]}" if lines else str(path)
    return f"{place}: {what} {describe_deed(error)} {when}"


def describe_deed(error: BaseException) -> str:
    """What was done, in one line: `raised ValueError: no`, or `called os._exit(0)`."""
    if isinstance(error, LeftTheProcess):
        return f"called os._exit({error})"
    try:
        text = " ".join(str(error).split())
    except BaseException:  # its __str__ is the user's too
        text = ""
    return "raised " + ": ".join(filter(None, [type(error).__name__, text]))


def abbreviate(value: Any) -> str:
    """How a value is written in a sentence: its repr in one line, cut to 60 characters."""
    try:
        text = repr(value).replace("\n", " ")
    except BaseException:  # a __repr__ of the user's may raise anything
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 60 else text[:57] + "…"


def is_text(value: Any) -> TypeGuard[str]:
    """Is this a string that UTF-8 can write? JSON can spell one that it cannot, such as half a
    character.
    """
    return isinstance(value, str) and not any("\ud800" <= c <= "\udfff" for c in value)
