"""The runs that a server was started with, by number: their lineage, the curves of one as they
grow, and its report. No request names a file: a number is given to a run when it is first seen.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup

from fledge.readable import READABLE
from fledge.report.chapter import Drawn, draw_pictures, list_tiles, tell_what
from fledge.report.family_tree import (
    Member,
    draw_guides,
    find_ancestors,
    gather_family,
    list_parents,
)
from fledge.report.figures import choose_headline, format_value, spell_name
from fledge.report.report import render_report
from fledge.runs.folder import Run, find_runs, is_run
from fledge.runs.lineage import run_of
from fledge.serve.api_errors import ApiError
from fledge.serve.growing_curves import GrowingCurves

LOOKED_S = 4.0  # after which folders are searched for new runs again
_GUIDE = 3  # characters of a tree's lines for each generation


class RunsView:
    """The runs at, below and before the folders that were named at the start."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = [run_of(folder.resolve()) for folder in folders if folder.is_dir()]
        self._numbers: dict[Path, int] = {}
        self._keys: dict[Path, str] = {}  # of the drawing's cards, those of no run among them
        self._curves: dict[Path, GrowingCurves] = {}
        self._runs: list[Run] = []
        self._looked = -LOOKED_S
        self._lock = threading.Lock()

    def tell_lineage(self) -> list[dict[str, Any]]:
        """Every run under the one it started from, as it stands now."""
        with self._lock:
            runs = self._look()
            tree = gather_family(runs)
            parents = {
                child.folder.resolve(): member.folder.resolve()
                for _, member in draw_guides(tree)
                for child in member.children
            }
            return [
                self._tell_member(member, len(guide) // _GUIDE, parents)
                for guide, member in draw_guides(tree)
            ]

    def tell_curves(self, number: int, known_rows: int | None) -> dict[str, Any]:
        """Pictures of what a run has logged; none where it has no more rows than are known."""
        with self._lock:
            run = Run(self._find(number))
            growing = self._curves_of(run)
            curves = run.part(growing.read, growing.curves)
            summary = run.part(lambda: run.summary, None) or {}
            rows = curves.rows + run.finished
            if known_rows == rows:
                return {"rows": rows, "pictures": None}
            pictures, more = draw_pictures(curves, of_tokens=run.verb != "imagine")
            steps = "" if curves.steps is None else f" · {curves.steps:,} steps"
            return {
                "rows": rows,
                "name": name_run(run.folder),
                "sentence": tell_what(run),
                "finished": run.finished,
                "status": ("finished" if run.finished else "unfinished") + steps,
                "failure": run.part(lambda: run.failure, None),
                "damage": list(run.damage),
                "tiles": list_tiles(summary),
                "pictures": [tell_picture(one) for one in pictures],
                "more": [tell_picture(one) for one in more],
            }

    def render_report(self, number: int) -> str:
        """The page that `fledge report` writes, as text."""
        with self._lock:
            folder = self._find(number)
        return render_report(folder)

    def _look(self) -> list[Run]:
        now = time.monotonic()
        if now - self._looked >= LOOKED_S:
            below = [run for folder in self._folders for run in find_runs(folder)]
            all_runs = {one.folder.resolve(): one for run in below for one in find_ancestors(run)}
            self._runs = sorted(all_runs.values(), key=lambda run: run.lineage.get("started", ""))
            self._looked = now
            for run in self._runs:
                self._numbers.setdefault(run.folder.resolve(), len(self._numbers) + 1)
        return self._runs

    def _find(self, number: int) -> Path:
        """Raises ApiError for a number that no run has."""
        self._look()
        for folder, given in self._numbers.items():
            if given == number:
                return folder
        raise ApiError(404, f"there is no run {number} here: /fledge/lineage lists them.")

    def _curves_of(self, run: Run) -> GrowingCurves:
        return self._curves.setdefault(
            run.folder.resolve(), GrowingCurves(run.folder / "metrics.jsonl")
        )

    def _tell_member(self, member: Member, depth: int, parents: dict[Path, Path]) -> dict[str, Any]:
        here = member.folder.resolve()
        parent = parents.get(here)
        told = {
            "key": self._key(here),
            "name": name_run(member.folder),
            "depth": depth,
            "parent": None if parent is None else self._key(parent),
            "also": [self._key(other.resolve()) for other in member.also],
        }
        if member.run is None:
            where = "not shown here" if os.path.exists(here) else "no longer there"
            return told | {"number": None, "verb": where, "status": "gone", "figure": ""}
        run = member.run
        growing = self._curves_of(run)
        curves = run.part(growing.read, growing.curves)
        latest = {name: curve.last for name, curve in curves.list_figures().items()}
        best = choose_headline(latest)
        status = "finished" if run.finished else "unfinished"
        return told | {
            "number": self._numbers[here],
            "verb": run.verb,
            "status": "damaged" if run.damage else status,
            "figure": f"{spell_name(best[0])} {format_value(*best)}" if best else "",
        }

    def _key(self, folder: Path) -> str:
        return self._keys.setdefault(folder, str(len(self._keys)))


def name_run(folder: Path) -> str:
    """As seen from where the server was started; from elsewhere by its last two names."""
    name = os.path.relpath(folder)
    return os.path.join(*folder.resolve().parts[-2:]) if name.startswith("..") else name


def tell_picture(one: Drawn) -> dict[str, Any]:
    return {
        "title": one.title,
        "unit": one.unit,
        "legend": one.legend,
        "caption": one.caption,
        "svg": take_apart(one.svg),
    }


def take_apart(svg: Markup) -> list[Any]:
    """A drawing as [tag, attributes, text or children …]: the page builds it node by node, and
    parses no markup.
    """
    # What XML cannot say is made readable first: a figure's name may be anything.
    return _list_node(ElementTree.fromstring(str(svg).translate(READABLE)))


def _list_node(node: ElementTree.Element) -> list[Any]:
    text = [node.text] if node.text else []
    return [node.tag, dict(node.attrib), *text, *map(_list_node, node)]


def find_reference(folder: Path, served: dict[Path, str]) -> str | None:
    """The name of the nearest model among `served` that the run at `folder` started from, by the
    parents whose weights were moved.

    served: names by resolved run folder, model folder or file.
    """
    place, seen = run_of(folder), set()
    while is_run(place) and place not in seen:
        seen.add(place)
        parents = list_parents(Run(place))
        if not parents:
            return None
        place = run_of(parents[0].resolve())
        if place in served:
            return served[place]
    return None
