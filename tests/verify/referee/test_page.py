"""docs/referee.md is what docs/referee.json says, and the table of peers is what it holds."""

from __future__ import annotations

import json
from pathlib import Path

from fledge.verify.referee.candidates import list_equations
from fledge.verify.referee.page import render_page
from fledge.verify.referee.peers import list_peers, select_hearings
from fledge.verify.referee.question import referee_problem

DOCS = Path(__file__).resolve().parents[3] / "docs"


def test_the_page_is_that_of_the_figures() -> None:
    written = json.loads((DOCS / "referee.json").read_text())
    candidates = len(dict(list_equations("policy", referee_problem(0.1))))
    page = render_page(written["rows"], written["measured"], candidates)
    assert page == (DOCS / "referee.md").read_text()


def test_every_row_of_the_table_was_measured() -> None:
    rows = json.loads((DOCS / "referee.json").read_text())["rows"]
    measured = {(row["peer"], row["setting"], row["claimed"]) for row in rows}
    wanted = {
        (hearing.peer, hearing.told, hearing.equation)
        for peer in list_peers()
        for hearing in select_hearings(peer, {})
    }
    assert measured == wanted


def test_a_row_that_fits_no_equation_says_so() -> None:
    row = json.loads((DOCS / "referee.json").read_text())["rows"][0]
    lost = {**row, "equation": "", "residual": 0.25, "padding": 0.031, "bias": None}
    page = render_page([lost], "Measured here.", 3)
    assert "none: the nearest is 2.5e-01 away" in page
    assert "3.1%" in page
