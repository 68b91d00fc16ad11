"""The texts that a run was trained on, and the runs that it came from, as its lineage names them:
to see whether it has read what it is asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fledge.runs.lineage import EMBEDDED, run_of
from fledge.text.files import is_suffixed, open_bytes
from fledge.text.python_prose import python_prose

DEPTH = 50  # runs one after the other


@dataclass(frozen=True)
class Trained:
    """files: that are there and can be read. lost: those that are neither. known: whether there is
    a lineage at all.
    """

    files: list[Path]
    prose: bool
    lost: list[str]
    known: bool


def list_trained(base: Path) -> Trained:
    """Of a run, or of its model folder."""
    files: dict[Path, None] = {}
    lost: dict[str, None] = {}
    prose, run, known = False, run_of(base.absolute()), False
    waiting, seen = [run], set[Path]()
    while waiting and len(seen) < DEPTH:
        run = waiting.pop()
        record = run / "lineage.json"
        if run in seen or not record.is_file():
            continue
        seen.add(run)
        known = True
        try:
            said: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        except ValueError:
            lost[str(record)] = None
            continue
        for parent in said.get("parents", []):
            waiting.append((run / str(parent.get("path", ""))).resolve())
        for one in said.get("data", []):
            name = str(one.get("path", ""))
            if name == EMBEDDED and "python" in one:
                prose = True
                continue
            place = Path(str(said.get("started_in", "."))) / name
            if place.is_file():
                files[place] = None
            else:
                lost[name] = None
    return Trained(list(files), prose, list(lost), known)


def read_trained(trained: Trained) -> Iterator[str]:
    """Every text in them: of rows, whatever their form, all that is text. A file that is no text,
    such as shards of tokens, is left out. Raises UserError for one that cannot be opened.
    """
    if trained.prose:
        yield from (text for _, text in python_prose())
    for file in trained.files:
        yield from read_texts(file)


def read_texts(file: Path) -> Iterator[str]:
    """Raises UserError for a file that cannot be opened. A line that is no JSON, which a run may
    have left out, is a text as it is.
    """
    with open_bytes(file) as opened:
        if is_suffixed(file, (".jsonl",)):
            for line in opened:
                try:
                    said = json.loads(line)
                except (ValueError, RecursionError):
                    said = line.decode(errors="replace")
                yield "\n".join(_list_strings(said))
            return
        content = opened.read()
    if b"\0" not in content[:4096]:
        yield content.decode(errors="replace")


def _list_strings(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for each in value.values():
                yield from _list_strings(each)
        case list():
            for each in value:
                yield from _list_strings(each)
        case _:
            pass
