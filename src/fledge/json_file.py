"""Reads a JSON file that anybody may have written: into the shape that is wanted, or one sentence
about what is wrong. And says in JSON what is ours, which never holds a number that is none.

A shape is whatever pydantic checks: a model, or a TypedDict where the rest of the program wants a
plain object.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from pydantic import TypeAdapter, ValidationError

from fledge.errors import Diverged, UserError

Shape = TypeVar("Shape")

LARGEST = 256 * 2**20
"""Bytes. The lineage of a corpus of a million files has 150 MB; a vocabulary of a million tokens
has 80.
"""
DEEPEST = 100
"""Objects and lists within each other. Nobody writes more by hand, and what is read is walked by
recursion later.
"""
MEND = "put the original file back, or mend it"

_DIGITS = 300  # of an integer: a longer one is no float, and comparing it with one raises
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def read_json(path: Path, shape: type[Shape], *, mend: str = MEND) -> Shape:
    """The content of a JSON file, checked to be a `shape`. `mend`: what the sentence tells the user
    to do.

    Raises FileNotFoundError where nothing has that name; UserError for everything else that is not
    such a file.
    """
    return parse_json(read_bytes(path, mend=mend), shape, str(path), mend=mend)


def read_bytes(path: Path, *, largest: int = LARGEST, mend: str = MEND) -> bytes:
    """The bytes of a regular file. Raises as `read_json` does, and never waits for somebody to
    write.
    """
    with open_regular(path, mend=mend) as file:
        size = os.fstat(file.fileno()).st_size
        if size > largest:
            raise UserError(
                f"{path} has {size:,} bytes, and no such file has more than {largest:,}: {mend}."
            )
        return file.read()


@contextmanager
def open_regular(path: Path, *, mend: str = MEND) -> Iterator[BinaryIO]:
    """A regular file, open for reading. Raises as `read_json` does, also for what happens while it
    is read.
    """
    try:
        _check_kind(path, os.stat(path).st_mode, mend)
        # Without O_NONBLOCK, a pipe that takes the file's place after the look above would hold us
        # for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            _check_kind(path, os.fstat(descriptor).st_mode, mend)
            yield file
    except FileNotFoundError:
        if not os.path.lexists(path):
            raise
        raise UserError(
            f"{path} is a link to {os.readlink(path)}, where nothing is: {mend}."
        ) from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({_reason(error)}): {mend}.") from error
    except ValueError as error:  # a zero byte or half of a surrogate pair, which no file name has
        raise UserError(f"no file can be called {str(path)!r} ({error}): {mend}.") from error


def _check_kind(path: Path, mode: int, mend: str) -> None:
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "no file")
        raise UserError(f"{path} is {kind}, where a file is wanted: {mend}.")


def _reason(error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "its links lead in a circle"
    return (error.strerror or str(error)).lower()


def parse_json(content: bytes, shape: type[Shape], where: str, *, mend: str = MEND) -> Shape:
    """What `content` says, checked to be a `shape`. `where`: what the sentence calls it. Raises
    UserError.

    Refused beyond what JSON's grammar refuses: bytes that are not UTF-8, NaN, Infinity, numbers
    that no float holds, one name twice in an object, and nests deeper than `DEEPEST`.
    """
    try:
        return check_shape(_plain(content), shape, where, mend=mend)
    except UnicodeDecodeError as error:
        reason = f"it is not UTF-8 at byte {error.start}"
    except RecursionError:
        reason = f"it is nested deeper than {DEEPEST}"
    except ValueError as error:
        reason = str(error)
    raise UserError(f"{where} is not JSON that can be read ({reason}): {mend}.")


def check_shape(value: Any, shape: type[Shape], where: str, *, mend: str = MEND) -> Shape:
    """`value`, as JSON was read, checked to be a `shape`. Raises UserError."""
    try:
        return make_adapter(shape).validate_python(value, strict=True)  # JSON has types of its own
    except ValidationError as error:
        raise UserError(
            f"{where} is not what it should be ({explain_error(error)}): {mend}."
        ) from None


@cache
def make_adapter(shape: type[Shape]) -> TypeAdapter[Shape]:
    """Pydantic's checker of a shape: made once, since making one takes longer than most files."""
    return TypeAdapter(shape)


def explain_error(error: ValidationError) -> str:
    """The first thing that is wrong, in one clause: `parents.0.path` is missing; `seed` is 1.5:
    should be …
    """
    wrong = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in wrong["loc"])
    name = f"`{place}`" if place else "it"
    if wrong["type"] == "missing":
        return f"{name} is missing"
    said = wrong["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{name} is {_short(wrong['input'])}: {said[0].lower()}{said[1:]}"


def _short(value: Any) -> str:
    """A value in at most about forty characters. A large one is named by its kind: it is not walked
    to be cut.
    """
    if isinstance(value, dict | list) and value:
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    text = (
        json.dumps(value)
        if value is None or isinstance(value, str | int | float | dict | list)
        else repr(value)
    )
    return text if len(text) <= 40 else f"{text[:40]}…"


def _plain(content: bytes) -> Any:
    text = content.decode("utf-8-sig")
    value = json.loads(
        text,
        parse_constant=_no_constant,
        parse_float=_finite,
        parse_int=_integer,
        object_pairs_hook=_unique,
    )
    if text.count("[") + text.count("{") > DEEPEST:  # else there is no need to look
        _check_depth(value)
    return value


def _no_constant(name: str) -> float:
    raise ValueError(f"it holds {name}, which is no number")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:20]} is larger than any float")
    return value


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"an integer has {len(digits)} digits")
    return int(digits)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise ValueError(f"it names {_short(twice)} twice")
    return value


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST + 1):
        # By a tuple: `dict | list` takes three times as long, and a vocabulary is long.
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise RecursionError


def json_text(value: Any, what: str, *, indent: int | None = None) -> str:
    """`value` as JSON that any reader takes. Raises Diverged where a number in it is none. `what`:
    which text this is.
    """
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:
        named = next(_no_numbers(value, ""), None)
        if named is None:
            raise
        raise Diverged(
            f"{what} is not written: its {named}, which is no number. What was saved before is "
            "intact; try a lower `learning_rate`."
        ) from None


def _no_numbers(value: Any, place: str) -> Iterator[str]:
    if isinstance(value, float) and not math.isfinite(value):
        yield f"`{place.lstrip('.')}` is {value}"
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list | tuple)
        else ()
    )
    for name, inner in items:
        yield from _no_numbers(inner, f"{place}.{name}")


def numbers_or_null(value: Any) -> Any:
    """`value` as JSON can say it: JSON has no NaN and no infinity."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: numbers_or_null(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [numbers_or_null(item) for item in value]
    return value
