"""A page where the user wants it: written over an earlier one of the same kind, and over nothing
else.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from fledge.errors import UserError
from fledge.json_file import open_regular
from fledge.runs.atomic import write_text

PageKind = Literal["report", "verify", "ladder", "show", "compare"]
_HEAD = 4096  # bytes, in which a page of ours says what it is
# as each template has it, with its kind and the closing quote
_MARK = '<meta name="generator" content="fledge'
_BEFORE_THERE_WAS_A_MARK = " · fledge</title>"


def check_page(path: Path, kind: PageKind) -> None:
    """Raises UserError where `path` is there and is no page that `fledge KIND` wrote: to be asked
    before the work is done.
    """
    if not os.path.lexists(path):
        return
    if not path.is_file() or not _is_ours(path, kind):
        raise UserError(
            f"`{path}` is there already and is no page of `fledge {kind}`: choose another `out`, "
            "or remove it."
        )


def write_page(path: Path, page: str, kind: PageKind) -> None:
    """Write beside, then rename. Raises UserError as `check_page` does, and OSError."""
    check_page(path, kind)
    write_text(path, page)


def _is_ours(path: Path, kind: PageKind) -> bool:
    with open_regular(path) as file:
        head = file.read(_HEAD).decode("utf-8", errors="replace")
    return f'{_MARK} {kind}"' in head or (_MARK not in head and _BEFORE_THERE_WAS_A_MARK in head)
