"""Runs as a family tree: children under the parent whose weights they started from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fledge.runs.folder import Run, is_run


@dataclass
class Member:
    """One run in the tree, or a parent that is not among the runs or is gone (`run` None).

    `also` are further parents (a reward model, say): a tree can hang a child under one only.
    """

    folder: Path
    run: Run | None
    children: list[Member] = field(default_factory=list)
    also: list[Path] = field(default_factory=list)


def list_parents(run: Run) -> list[Path]:
    """The folders that `run` started from, absolute; the first is the one whose weights it
    moved.
    """
    here = run.folder.resolve()
    return [
        Path(os.path.normpath(here / parent["path"])) for parent in run.lineage.get("parents", [])
    ]


def find_ancestors(run: Run) -> list[Run]:
    """`run` and every run it descends from that is still there."""
    members: dict[Path, Run] = {}
    waiting = [run]
    while waiting:
        member = waiting.pop()
        if member.folder.resolve() not in members:
            members[member.folder.resolve()] = member
            waiting += [Run(folder) for folder in list_parents(member) if is_run(folder)]
    return list(members.values())


def gather_family(runs: Iterable[Run]) -> list[Member]:
    """The members that hang under nobody, each with its descendants, in the order of `runs`.

    Where parents lead in a circle, one run of it hangs under nobody, and its `damage` says so.
    """
    members = {run.folder.resolve(): Member(run.folder, run) for run in runs}
    under: dict[Path, Path] = {}  # child to parent
    heads: list[Member] = []
    for place, member in list(members.items()):
        parents = list_parents(member.run) if member.run else []
        member.also = parents[1:]
        if parents and member.run and place in _climb(parents[0], under):
            circle = (
                f"{member.folder / 'lineage.json'} makes this run its own ancestor: put the "
                "original file back."
            )
            member.run.damage += [circle] if circle not in member.run.damage else []
            parents = []
        if not parents:
            heads.append(member)
            continue
        if parents[0] not in members:
            members[parents[0]] = Member(parents[0], None)
            heads.append(members[parents[0]])
        under[place] = parents[0]
        members[parents[0]].children.append(member)
    return heads


def _climb(place: Path | None, under: dict[Path, Path]) -> Iterator[Path]:
    while place is not None:
        yield place
        place = under.get(place)


def draw_guides(members: list[Member]) -> Iterator[tuple[str, Member]]:
    """Every member, parents before children, with the lines of the tree that stand before its
    name.
    """
    # A stack of its own: a run that started from a run that started from a run … may go on for
    # thousands.
    waiting = [("", "", member) for member in reversed(members)]
    while waiting:
        guide, below, member = waiting.pop()
        yield guide, member
        # the last one is pushed first, and closes the line
        children = list(reversed(member.children))
        waiting += [
            (below + ("├─ " if place else "└─ "), below + ("│  " if place else "   "), child)
            for place, child in enumerate(children)
        ]
