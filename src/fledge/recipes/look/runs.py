"""`fledge runs`: every run under a folder, drawn under the run it started from."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from rich.table import Table
from rich.text import Text

from fledge.errors import UserError
from fledge.readable import cell
from fledge.report.family_tree import Member, draw_guides, gather_family
from fledge.report.figures import (
    choose_headline,
    format_duration,
    format_size,
    format_value,
    read_latest,
    spell_name,
)
from fledge.runs.folder import Run, find_runs
from fledge.runs.show import Show

LONG_NAME = 30  # characters; of what lies elsewhere the folders around it say little
_STATUS = {True: ("finished", "green"), False: ("unfinished", "yellow")}


class RunsConfig(BaseModel):
    """List runs: what each is, whether it finished, how far it came, and which run it started
    from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: Path = Field(default=Path("runs"), description="the folder to look in, at any depth")


def runs(config: RunsConfig, show: Show) -> dict[str, Any]:
    """Raises UserError where `root` is no folder."""
    if not config.root.is_dir():
        raise UserError(
            f"`{config.root}` is no folder: give the one that holds your runs, as in `fledge runs "
            "root=runs`."
        )
    members = list(draw_guides(gather_family(find_runs(config.root))))
    rows = [_read_row(member.run, config.root) for _, member in members if member.run is not None]
    if not rows:
        show.line(
            f"There is no run under {config.root} yet: `fledge demo` makes a road of six, and "
            "`fledge runs FOLDER` looks elsewhere."
        )
        return {"root": str(config.root), "runs": []}
    # Where it is narrow, age and size go first: how far a run came and how good it is are what one
    # looks for.
    narrow = show.console.width < 100
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("run", overflow="fold")
    for heading in ("verb", "status"):
        table.add_column(heading, no_wrap=True)
    table.add_column("steps", justify="right", no_wrap=True)
    table.add_column("figure", overflow="fold", min_width=16)
    for heading in () if narrow else ("age", "size"):
        table.add_column(heading, justify="right", no_wrap=True)
    described = iter(rows)
    for guide, member in members:
        cells = _draw_cells(guide, member, config.root, next(described) if member.run else None)
        table.add_row(*cells[: len(table.columns)])
    show.print(table)
    for row in rows:
        for sentence in row["damage"]:
            show.line(f"{cell(row['run'])}: {sentence}")
    show.line(f"runs: all under {config.root}; `fledge runs FOLDER` looks elsewhere")
    return {"root": str(config.root), "runs": rows}


def _read_row(run: Run, root: Path) -> dict[str, Any]:
    latest, steps = run.part(lambda: read_latest(run.metrics.each()), ({}, 0))
    run.part(lambda: run.summary, None)
    figure = choose_headline(latest)
    return {
        "run": os.path.relpath(run.folder, root),
        "verb": run.verb,
        "finished": run.finished,
        "damage": list(run.damage),
        "steps": steps,
        "figure": figure[0] if figure else None,
        "value": figure[1] if figure else None,
        "started": run.lineage.get("started"),
        "bytes": run.size(),
        "parents": [parent["path"] for parent in run.lineage.get("parents", [])],
    }


def _draw_cells(guide: str, member: Member, root: Path, row: dict[str, Any] | None) -> list[Text]:
    name = os.path.relpath(member.folder.resolve(), root.resolve())
    if row is None:
        where = "not under this folder" if os.path.exists(member.folder) else "no longer there"
        near = name if len(name) <= LONG_NAME else f"…/{Path(name).name}"
        return [Text(guide + cell(near), style="dim"), Text(where, style="dim")]
    also = ", ".join(os.path.relpath(parent, root.resolve()) for parent in member.also)
    figure = (
        f"{spell_name(row['figure'])} {format_value(row['figure'], row['value'])}"
        if row["figure"]
        else ""
    )
    age = datetime.now(UTC) - datetime.fromisoformat(row["started"]) if row["started"] else None
    status, style = ("damaged", "red") if row["damage"] else _STATUS[row["finished"]]
    return [
        Text.assemble((guide, "dim"), cell(name), (cell(f" + {also}") if also else "", "dim")),
        Text(cell(row["verb"])),
        Text(status, style=style),
        Text(f"{row['steps']:,}" if row["steps"] else ""),
        Text(cell(figure)),
        Text(format_duration(max(0.0, age.total_seconds())) if age else ""),
        Text(format_size(row["bytes"])),
    ]
