"""Runs as a family tree: children under the parent whose weights they started from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fledge.runs.folder import Run
from fledge.runs.lineage import verb_of


@dataclass
class Member:
    """One run in the tree, or a parent that is not among the runs or is gone (`run` None).

    `also` are further parents (a reward model, say): a tree can hang a child under one only.
    """

    folder: Path
    run: Run | None
    children: list[Member] = field(default_factory=list)
    also: list[Path] = field(default_factory=list)


def parents_of(run: Run) -> list[Path]:
    """The folders that `run` started from, absolute; the first is the one whose weights it moved."""
    here = run.folder.resolve()
    return [Path(os.path.normpath(here / parent["path"])) for parent in run.lineage.get("parents", [])]


def ancestry(run: Run) -> list[Run]:
    """`run` and every run it descends from that is still there."""
    found: dict[Path, Run] = {}
    waiting = [run]
    while waiting:
        member = waiting.pop()
        if member.folder.resolve() not in found:
            found[member.folder.resolve()] = member
            waiting += [Run(folder) for folder in parents_of(member) if verb_of(folder) is not None]
    return list(found.values())


def family(runs: Iterable[Run]) -> list[Member]:
    """The members that hang under nobody, each with its descendants, in the order of `runs`."""
    members = {run.folder.resolve(): Member(run.folder, run) for run in runs}
    heads: list[Member] = []
    for member in list(members.values()):
        parents = parents_of(member.run) if member.run else []
        member.also = parents[1:]
        if not parents:
            heads.append(member)
            continue
        if parents[0] not in members:
            members[parents[0]] = Member(parents[0], None)
            heads.append(members[parents[0]])
        members[parents[0]].children.append(member)
    return heads


def guided(members: list[Member], before: str | None = None) -> Iterator[tuple[str, Member]]:
    """Every member, parents before children, with the lines of the tree that stand before its name."""
    for member in members:
        last = member is members[-1]
        yield "" if before is None else before + ("└─ " if last else "├─ "), member
        yield from guided(member.children, "" if before is None else before + ("   " if last else "│  "))
