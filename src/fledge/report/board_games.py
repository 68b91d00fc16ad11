"""Games that a run has played against itself, as its page shows them: a board for every move, with
the search's visits on the cells and what it expected below.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from markupsafe import Markup

from fledge.json_file import read_bytes

GAMES = "games.jsonl"
CELL = 22  # units of a cell's side
ROOM = 14  # above the board, for moves that are columns


@dataclass(frozen=True)
class ShownMove:
    """caption: what was played and expected; svg: the board before it."""

    caption: str
    svg: Markup


@dataclass(frozen=True)
class ShownGame:
    title: str
    note: str
    moves: list[ShownMove]


def read_games(folder: Path) -> list[ShownGame]:
    """None where the run wrote none of them, in the order in which they were played."""
    with suppress(FileNotFoundError):
        lines = read_bytes(folder / GAMES).decode("utf-8").splitlines()
        return [show_game(json.loads(line), number) for number, line in enumerate(lines, 1)]
    return []


def show_game(game: dict[str, Any], number: int) -> ShownGame:
    moves = []
    for place, move in enumerate(game["moves"], 1):
        who = "xo"[move["turn"]]
        caption = f"{place}. {who} {move['action']}, {move['value']:+.2f}"
        moves.append(ShownMove(caption, draw_position(game, move)))
    ends = {1.0: "x won", 0.0: "a draw", -1.0: "o won"}[game["result"]]
    moves.append(ShownMove(ends, draw_position(game, {"cells": game["cells"]})))
    note = (
        f"{ends} after {len(game['moves'])} moves; x is blue, o orange; green are the visits, the "
        "ring is what was played; the number is what x was expected to get, 1 a win"
    )
    return ShownGame(f"Game {number}", note, moves)


def draw_position(game: dict[str, Any], move: dict[str, Any]) -> Markup:
    """Stones, shares of the visits where a move has a place, and the move that was played."""
    rows, columns = game["board"]
    shares = {
        place: share
        for place, share in zip(move.get("places", ()), move.get("shares", ()), strict=True)
        if place is not None
    }
    above = ROOM if len(shares) == columns and rows > 1 and max(shares) == columns - 1 else 0
    parts = []
    for cell, share in shares.items():
        x, y = cell % columns * CELL, cell // columns * CELL + above
        if above:  # a column: a bar above it
            height = round(share * (ROOM - 3), 1)
            parts.append(
                f'<rect class="visits" x="{x + 5}" y="{ROOM - 2 - height}" width="{CELL - 10}" '
                f'height="{height}"/>'
            )
        elif share:
            parts.append(
                f'<rect class="visits" x="{x}" y="{y}" width="{CELL}" height="{CELL}" '
                f'opacity="{0.12 + 0.6 * share:.2f}"/>'
            )
    for cell, content in enumerate(move["cells"]):
        x, y = cell % columns * CELL, cell // columns * CELL + above
        parts.append(f'<rect class="frame" x="{x}" y="{y}" width="{CELL}" height="{CELL}"/>')
        if content:
            parts.append(
                f'<circle class="stone {content}" cx="{x + CELL / 2:g}" cy="{y + CELL / 2:g}" '
                f'r="{CELL * 0.36:g}"/>'
            )
    if move.get("cell") is not None:
        cell = find_landing(move, columns) if above else move["cell"]
        x, y = cell % columns * CELL + CELL / 2, cell // columns * CELL + CELL / 2 + above
        parts.append(f'<circle class="ring" cx="{x:g}" cy="{y:g}" r="{CELL * 0.36:g}"/>')
    width, height = columns * CELL, rows * CELL + above
    label = escape(" ".join(content or "-" for content in move["cells"]))
    return Markup(
        f'<svg class="board" viewBox="-1 -1 {width + 2} {height + 2}" role="img" '
        f'aria-label="{label}">{"".join(parts)}</svg>'
    )


def find_landing(move: dict[str, Any], columns: int) -> int:
    """The lowest free cell of a column."""
    column = [i for i in range(len(move["cells"])) if i % columns == move["cell"]]
    return max(i for i in column if not move["cells"][i])
