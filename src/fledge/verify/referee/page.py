"""docs/referee.md: every row of the referee's table as it was measured, with the equations that
the differences come from.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from fledge.verify.referee.page_words import HEAD, WHY

# Title, field and form of the columns after the equation; one that no row of a trainer fills is
# left out.
COLUMNS = (
    ("cosine", "cosine", ".4f"),
    ("scale", "scale", ".4f"),
    ("bias", "bias", ".1%"),
    ("noise", "variance", ".2f"),
    ("cut", "pieces", "change"),
    ("right", "padding", "change"),
    ("left", "left", "change"),
    ("masked", "garbage", "change"),
    ("resumed", "resumed", "words"),
    ("ranks", "ranks", "change"),
)
MAY_LACK = ("left", "pieces", "resumed", "ranks")  # whose None is no infinity


def render_page(rows: Sequence[Mapping[str, Any]], measured: str, candidates: int) -> str:
    """Markdown. rows: as `Ruling.as_json` and `WorldRuling.as_json` give them; measured: when and
    on what; candidates: equations of a policy gradient.
    """
    peers = list(dict.fromkeys(row["peer"] for row in rows))
    packages = {peer.partition(":")[0] for peer in peers}
    count = (
        f"{len(rows)} rows of {len(peers)} trainers from {len(packages)} packages, ours among "
        "them; "
        f"{sum(bool(row['faults']) for row in rows)} rows differ from what is claimed, or change "
        "with how a batch is cut, padded, shared or resumed; "
        f"{sum(bool(row['second']['by']) for row in rows)} are checked by a second way."
    )
    lines = [
        HEAD.format(
            measured=textwrap.fill(measured, 100),
            count=textwrap.fill(count, 100),
            candidates=candidates,
        )
    ]
    for peer in peers:
        lines += _render_peer(peer, [row for row in rows if row["peer"] == peer])
    return "\n".join(lines) + WHY


def _render_peer(peer: str, own: Sequence[Mapping[str, Any]]) -> list[str]:
    columns = [each for each in COLUMNS if any(row.get(each[1]) is not None for row in own)]
    titles = ["setting", "what is claimed", "equation measured", *(each[0] for each in columns)]
    lines = [
        f"## {peer} {', '.join(dict.fromkeys(row['version'] for row in own))}\n",
        f"| {' | '.join(titles)} | second way | date |",
        "|---" * (len(titles) + 2) + "|",
        *(_render_row(row, columns) for row in own),
        "",
    ]
    differences = [(row, fault) for row in own for fault in row["faults"]]
    lines += [f"- `{row['command']}`: {fault}." for row, fault in differences]
    return [*lines, ""] if differences else lines


def _render_row(row: Mapping[str, Any], columns: Sequence[tuple[str, str, str]]) -> str:
    cells = [
        f"`{row['setting']}`",
        row["claim"],
        row["equation"] or _say_none(row["residual"]),
        *(_render_cell(field, row.get(field), form) for _, field, form in columns),
        write_second(row["second"]),
        row["measured"],
    ]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _render_cell(field: str, value: Any, form: str) -> str:
    if form == "words":
        return value or ""
    if form != "change":
        return write_figure(value, form)
    if value is None:
        return "" if field in MAY_LACK else "no number"
    return "0" if value < 1e-6 else f"{value:.1%}" if value > 5e-4 else f"{value:.0e}"


def _say_none(residual: float | None) -> str:
    return "no number" if residual is None else f"none: the nearest is {residual:.1e} away"


def write_figure(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def write_second(second: Mapping[str, Any]) -> str:
    """Of finite differences, how far they lie from the gradient; of samples, the interval."""
    if not second["by"]:
        return ""
    if second["by"] == "differences":
        apart = second["apart"]
        return "no number" if apart is None else f"differences: {apart:.0e}"
    return f"samples: {second['low']:.4f} to {second['high']:.4f}"
