"""A board, and what a player thinks of it, as text."""

from __future__ import annotations

import numpy as np

from fledge.plan.search.players import Thoughts
from fledge.worlds.games.game import Game, Numbers

SHOWN = 7  # moves whose visits and values are told


def draw_board(game: Game, position: Numbers) -> str:
    """Cells with names of columns and rows; a dot is empty.  [W] -> text"""
    rows, columns = game.board
    cells = [cell or "·" for cell in game.list_cells(position)]
    named_by_column = game.name_move(0).isdigit()
    lines = []
    for r in range(rows):
        row = " ".join(cells[r * columns : (r + 1) * columns])
        lines.append(f"    {row}" if named_by_column or game.outcomes else f"  {rows - r} {row}")
    if named_by_column:
        lines.append("    " + " ".join(game.name_move(c) for c in range(columns)))
    elif not game.outcomes:
        lines.append("    " + " ".join(chr(ord("a") + c) for c in range(columns)))
    return "\n".join(["", *lines, ""])


def describe_thoughts(game: Game, thoughts: Thoughts) -> str:
    """Its best moves with their share of the visits and what they bring, −1…1, as it sees them."""
    visits, q = thoughts.visits, thoughts.action_values
    known = np.isfinite(q)
    order = np.argsort(-(q if visits is None else visits), kind="stable")
    listed = []
    for action in (a for a in order if known[a]):
        share = "" if visits is None else f"{100 * visits[action] / visits.sum():.0f} %, "
        listed.append(f"{game.name_move(int(action))} ({share}{q[action]:+.2f})")
    if not listed:
        return "It thinks nothing of it."
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return f"It thinks {', '.join(listed[:SHOWN])}{more}; on the whole {thoughts.value:+.2f}."
