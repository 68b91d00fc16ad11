"""Renews docs/referee.md and docs/referee.json: every trainer that `fledge verify peer=all` knows
and that is installed here, with what it claims and what was measured. Rows of a package that is not
installed stay as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from datetime import date
from pathlib import Path
from typing import Any

import torch

from fledge.errors import UserError
from fledge.recipes.studies.referee import quiet
from fledge.verify.referee.candidates import list_equations
from fledge.verify.referee.hear import hear
from fledge.verify.referee.page import render_page
from fledge.verify.referee.peers import list_peers, select_hearings
from fledge.verify.referee.question import Hearing, referee_problem
from fledge.verify.referee.world_question import WorldHearing
from fledge.verify.referee.world_rows import OF_FILES

DOCS = Path(__file__).parent.parent / "docs"


def renew(peer: str, rows: list[dict[str, Any]], missing: bool, file: Path | None) -> None:
    """Measure a peer's rows in place of those that are there, or only those that are not there or
    lack a figure. file: the one that it is, where it is one.

    Raises UserError where it is not installed.
    """
    made = []
    for hearing in select_hearings(peer, {}, file):
        asked = (peer, hearing.told, hearing.claim, hearing.equation)
        there = [
            row
            for row in rows
            if (row["peer"], row["setting"], row["claim"], row["claimed"]) == asked
        ]
        if missing and there and not _lacks(hearing, there[0]):
            made += there
            continue
        with quiet():
            made.append(hear(hearing).as_json() | {"measured": f"{date.today():%Y-%m-%d}"})
        print(made[-1]["command"], made[-1]["equation"], made[-1]["faults"], flush=True)
    rows[:] = [row for row in rows if row["peer"] != peer] + made


def _lacks(hearing: Hearing | WorldHearing, row: dict[str, Any]) -> bool:
    """Whether a figure is measured today that was not when the row was."""
    if isinstance(hearing, Hearing):
        return hearing.spreads and "ranks" not in row
    return (hearing.resumes and "resumed" not in row) or (
        hearing.family == "actor" and "variance" not in row
    )


def describe_machine() -> str:
    """The processor as the system names it, its cores and what it can, and how busy it is."""
    said = platform.processor() or platform.machine()
    flags = ""
    place = Path("/proc/cpuinfo")
    if place.exists():
        told = place.read_text(encoding="utf-8")
        names = [line for line in told.splitlines() if line.startswith("model name")]
        said = names[0].partition(":")[2].strip() if names else said
        flags = next((line for line in told.splitlines() if line.startswith("flags")), "")
    can = [name for name, flag in (("AVX-512", "avx512f"), ("AMX", "amx_tile")) if flag in flags]
    busy = f", {os.getloadavg()[0]:.1f} processes running" if hasattr(os, "getloadavg") else ""
    return f"{os.cpu_count()} cores of {said}" + "".join(f", {name}" for name in can) + busy


def main() -> int:
    """Exit code 1 where a trainer that is asked for by its name is not installed."""
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument(
        "--peer", action="append", help="only its rows, or its package's; may be repeated"
    )
    reader.add_argument("--missing", action="store_true", help="only rows that are not there")
    reader.add_argument("--page-only", action="store_true", help="from the figures that are there")
    reader.add_argument("--cleanrl", type=Path, help="the folder with CleanRL's files")
    given = reader.parse_args()
    torch.set_num_threads(1)
    place = DOCS / "referee.json"
    written: dict[str, Any] = (
        json.loads(place.read_text(encoding="utf-8")) if place.exists() else {"rows": []}
    )
    missing = 0
    if not given.page_only:
        today = date.today()
        written["measured"] = (
            f"Last measured on {today.day} {today:%B %Y}, {describe_machine()} "
            "(no figure here is a time)."
        )
        asked = given.peer or ["all"]
        for peer in list_peers():
            if not {"all", peer, peer.partition(":")[0]} & set(asked):
                continue
            try:
                file = given.cleanrl / f"{peer.partition(':')[2]}.py" if given.cleanrl else None
                renew(peer, written["rows"], given.missing, file if peer in OF_FILES else None)
            except UserError as error:
                print(error, file=sys.stderr)
                missing = int(bool(given.peer))
            order = {name: at for at, name in enumerate(list_peers())}
            written["rows"].sort(key=lambda row: order[row["peer"]])
            told = json.dumps(written, ensure_ascii=False, indent=1)
            place.write_text(told + "\n", encoding="utf-8")
    candidates = len(dict(list_equations("policy", referee_problem(0.1))))
    page = render_page(written["rows"], written["measured"], candidates)
    (DOCS / "referee.md").write_text(page, encoding="utf-8")
    return missing


if __name__ == "__main__":
    sys.exit(main())
