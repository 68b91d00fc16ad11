"""report.html: one self-contained page about a run or a whole road, built from the run folder
alone.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fledge.report.chapter import Chapter, Drawn, read_chapter
from fledge.report.charts import Series, draw_line_chart
from fledge.report.family_tree import Member, find_ancestors, gather_family
from fledge.report.figures import (
    choose_headline,
    format_duration,
    format_value,
    is_number,
    read_latest,
    spell_name,
)
from fledge.report.overoptimisation import SOURCE
from fledge.report.own_page import check_page, write_page
from fledge.report.page import render_page
from fledge.runs.folder import Run, find_runs


@dataclass(frozen=True)
class RoadStage:
    """A row of the road's table. `learned` holds (figure, before, after), either of the two values
    perhaps missing.
    """

    name: str
    anchor: str | None
    seconds: str
    share: float
    learned: list[tuple[str, str | None, str | None]]


@dataclass(frozen=True)
class Node:
    """A run in the lineage tree; `anchor` where this page has a chapter about it."""

    name: str
    anchor: str | None
    note: str
    figure: str
    children: list[Node]


def write_report(folder: Path, out: Path | None = None) -> Path:
    """Write the page about `folder` (a run, or a folder of runs) to `out`, else to its report.html,
    atomically.

    A part that is damaged is left out, and named. Raises UserError where there is no run, OSError
    where it cannot be written.
    """
    out = folder / "report.html" if out is None else out
    check_page(out, "report")
    write_page(out, render_report(folder), "report")
    return out


def render_report(folder: Path) -> str:
    """The page as text."""
    runs = find_runs(folder)
    if not runs:
        runs = [Run.open(folder)]  # says what is missing
    root = next((run for run in runs if run.folder == folder), None)
    summary = (root.part(lambda: root.summary, None) or {}) if root else {}
    stages: list[dict[str, Any]] = summary.get("stages", [])
    ordered = _sort_runs([run for run in runs if run is not root] or runs, folder, stages)
    is_road = ordered != [root]
    # first: the chapters tell whose lineage is damaged
    tree = gather_family(ordered if is_road else find_ancestors(ordered[0])[::-1])
    anchors = {run.folder.resolve(): f"run-{number}" for number, run in enumerate(ordered, 1)}
    chapters = [
        read_chapter(run, _name_run(run, folder), anchors[run.folder.resolve()]) for run in ordered
    ]
    by_name = {one.name: one.anchor for one in chapters}
    finished = root.finished if root else all(one.finished for one in chapters)
    page = {
        "title": folder.resolve().name,
        "sentence": _sum_up(root, chapters, summary),
        "finished": finished,
        "status": chapters[0].status if not is_road else "finished" if finished else "unfinished",
        "about": read_chapter(root, folder.resolve().name, "road") if root and is_road else None,
        "comparison": draw_comparison(summary) if summary.get("compared") else None,
        "tiles": []
        if not is_road
        else [(spell_name(k), format_value(k, v)) for k, v in summary.items() if is_number(v)],
        "stages": _read_stages(stages, by_name),
        "lineage": [_make_node(member, folder, anchors) for member in tree],
        "chapters": chapters,
        "is_road": is_road,
        "overoptimisation_source": SOURCE,
    }
    return render_page("fledge.report", "report.html.jinja", page)


def draw_comparison(summary: dict[str, Any]) -> Drawn:
    """Several algorithms in one picture: interquartile means over seeds, and their intervals."""
    series = [
        Series(name, one["world_steps"], one["return"], one["low"], one["high"])
        for name, one in summary["compared"].items()
    ]
    caption = " · ".join(
        f"{name} {one['return'][-1]:.1f} ({one['low'][-1]:.1f} to {one['high'][-1]:.1f})"
        for name, one in summary["compared"].items()
    )
    svg = draw_line_chart(
        series,
        x_label="steps in the world",
        description=f"Return over steps in the world: {caption}",
    )
    unit = (
        f"interquartile mean over {summary.get('seeds', 'several')} seeds, with a 95% bootstrap "
        "interval"
    )
    return Drawn("Return", unit, svg, [one.name for one in series], caption)


def _name_run(run: Run, folder: Path) -> str:
    name = os.path.relpath(run.folder, folder)
    return folder.resolve().name if name == "." else name


def _sort_runs(runs: list[Run], folder: Path, stages: list[dict[str, Any]]) -> list[Run]:
    """As the road went: the order of its stages, else of the runs' beginnings."""
    places = {stage.get("run"): place for place, stage in enumerate(stages)}
    return sorted(
        runs,
        key=lambda run: (
            places.get(_name_run(run, folder), len(places)),
            run.lineage.get("started", ""),
        ),
    )


def _sum_up(root: Run | None, chapters: list[Chapter], summary: dict[str, Any]) -> str:
    if root is None:
        return f"{len(chapters)} runs."
    if len(chapters) == 1 and chapters[0].anchor == "run-1" and chapters[0].verb == root.verb:
        return chapters[0].sentence
    took = (
        f", in {format_duration(summary['seconds'])}" if is_number(summary.get("seconds")) else ""
    )
    if summary.get("compared"):
        return f"{len(summary['compared'])} algorithms in {summary.get('world', 'a world')}{took}."
    what = (
        "A language model, raised from raw text to an aligned policy"
        if root.verb == "demo"
        else f"A road of {root.verb}"
    )
    return f"{what}{took}."


def _read_stages(stages: list[dict[str, Any]], anchors: dict[str, str]) -> list[RoadStage]:
    longest = (
        max((stage["seconds"] for stage in stages if is_number(stage.get("seconds"))), default=1)
        or 1
    )
    rows = []
    for stage in stages:
        before, after = stage.get("before") or {}, stage.get("after") or {}
        learned = [
            (
                spell_name(name),
                format_value(name, before[name]) if name in before else None,
                format_value(name, after[name]) if name in after else None,
            )
            for name in [*after, *(name for name in before if name not in after)]
        ]
        seconds = stage["seconds"] if is_number(stage.get("seconds")) else 0.0
        name = str(stage.get("name", "stage"))
        rows.append(
            RoadStage(
                name,
                anchors.get(str(stage.get("run"))),
                format_duration(seconds),
                seconds / longest,
                learned,
            )
        )
    return rows


def _make_node(member: Member, folder: Path, anchors: dict[Path, str]) -> Node:
    here = member.folder.resolve()
    name = os.path.relpath(here, folder.resolve())
    name = folder.resolve().name if name == "." else name
    children = [_make_node(child, folder, anchors) for child in member.children]
    if member.run is None:
        return Node(
            name,
            None,
            "not part of this folder" if os.path.exists(here) else "no longer there",
            "",
            children,
        )
    others = ", ".join(os.path.relpath(parent, folder.resolve()) for parent in member.also)
    latest, _ = member.run.part(partial(read_latest, member.run.metrics.each()), ({}, 0))
    best = choose_headline(latest)
    figure = f"{spell_name(best[0])} {format_value(*best)}" if best else ""
    note = f"{member.run.verb}, also from {others}" if others else member.run.verb
    return Node(name, anchors.get(here), note, figure, children)
