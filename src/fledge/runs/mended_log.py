"""A log that does not fit its checkpoint, because rows are lost or were changed: the readable ones
go on, nothing is thrown away.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fledge.errors import UserError
from fledge.json_file import open_regular, parse_json
from fledge.runs.atomic import write_bytes
from fledge.runs.metrics import Log, encoded


def fits(log: Log, offset: int) -> bool:
    """Whether the first `offset` bytes of a log are whole, readable rows. Only looks."""
    left = offset
    try:
        with open_regular(log.path) as file:
            while left > 0:
                line = file.readline(left)
                if not line.endswith(b"\n"):  # the file ends here, or this row ends elsewhere
                    return False
                parse_json(line, log.shape, "")
                left -= len(line)
    except FileNotFoundError:
        return offset == 0
    except UserError:
        return False
    return True


def mend(log: Log, step: int, remembered: list[dict[str, Any]]) -> str:
    """Make the log hold its readable rows up to `step` and those of `remembered` that it lacks; a
    sentence about it.

    A file of which anything would be lost is moved aside and stays. Raises OSError.
    """
    log.close()
    there = os.path.lexists(log.path)
    try:
        content = _content(log.path)
    except UserError:  # not a file, or not one that may be read
        content = None
    rows = [] if content is None else _readable(content, log.shape, step)
    known = {line for _, line in rows}
    rows += [(row["step"], encoded(row)) for row in remembered if encoded(row) not in known]
    mended = b"".join(line for _, line in sorted(rows, key=lambda row: row[0]))
    if not there:
        said = (
            f"{log.path} is missing: of the steps up to {step} it holds no more than the "
            "checkpoint remembers"
        )
    elif content is not None and mended.startswith(content[: content.rfind(b"\n") + 1]):
        said = (
            f"{log.path} is shorter than its checkpoint knew: of its rows up to step {step} some "
            "are lost"
        )
    else:
        aside = set_aside(log.path, "damaged")
        said = (
            f"{log.path} is damaged or was changed: its readable rows go on, and it is kept as "
            f"{aside}"
        )
    write_bytes(log.path, mended)
    return said


def set_aside(path: Path, why: str) -> Path:
    """Rename a file or folder to the first free of NAME.WHY, NAME.WHY-2, …; the new name."""
    number = 1
    while os.path.lexists(
        aside := path.with_name(f"{path.name}.{why}{'' if number == 1 else f'-{number}'}")
    ):
        number += 1
    path.rename(aside)
    return aside


def _content(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read()
    except FileNotFoundError:
        return b""


def _readable(content: bytes, shape: type[Any], step: int) -> list[tuple[int, bytes]]:
    """The rows of steps up to `step`, each with its step and its line as it stands."""
    rows = []
    for line in content[: content.rfind(b"\n") + 1].splitlines(keepends=True):
        try:
            at = parse_json(line, shape, "").get("step")
        except UserError:
            continue
        if isinstance(at, int) and at <= step:
            rows.append((at, line))
    return rows
