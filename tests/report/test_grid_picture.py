"""Pictures: the arrows and numbers are those given, a pipe gets plain text, and the SVG is a
document that parses.
"""

from __future__ import annotations

import io
from xml.etree import ElementTree

import pytest
import torch
from rich.console import Console

from fledge.errors import UserError
from fledge.report.grid_picture import draw_grid, draw_in_terminal
from fledge.worlds.gridworld import CLASSIC, read_gridworld

GRID = read_gridworld(CLASSIC)
VALUE = torch.tensor([[0.8, 0.9, 0.95, 0], [0.7, 0, -0.25, 0], [0.1, 0.0, -200.0, 0.3]])
POLICY = torch.tensor([[1, 1, 1, -1], [0, -1, 2, -1], [0, 3, 3, -1]])
SVG = "{http://www.w3.org/2000/svg}"


def printed(terminal: bool) -> str:
    out = io.StringIO()
    console = Console(
        file=out, force_terminal=terminal, color_system="truecolor" if terminal else None
    )
    console.print(draw_in_terminal(GRID, VALUE, POLICY))
    return out.getvalue()


def test_a_pipe_gets_plain_text():
    assert printed(False).splitlines() == [
        "→ +0.80 → +0.90 → +0.95 × +1.00 ",
        "↑ +0.70 ████████↓ -0.25 × -1.00 ",
        "↑ +0.10 ← +0.00  ← -200   +0.30 ",
    ]


def test_a_terminal_gets_colours_besides():
    text = printed(True)
    assert "\x1b[" in text
    assert "48;2;201;106;32" in text  # −200 is the worst of all: the strongest orange
    plain = Console(file=io.StringIO())
    assert draw_in_terminal(GRID, VALUE, POLICY).plain == printed(False).rstrip("\n")
    assert plain.measure(draw_in_terminal(GRID, VALUE)).maximum == 32


def test_the_svg_says_the_same():
    root = ElementTree.fromstring(draw_grid(GRID, VALUE, POLICY, title="1 < 2"))
    assert root.findtext(f"{SVG}title") == "1 < 2"
    squares = [r for r in root.iter(f"{SVG}rect") if r.get("fill") != "none"]
    assert len(squares) == 12
    numbers = [t.text for t in root.iter(f"{SVG}text")]
    assert numbers == [
        "+0.80",
        "+0.90",
        "+0.95",
        "+1.00",
        "+0.70",
        "-0.25",
        "-1.00",
        "+0.10",
        "+0.00",
        "-200",
        "+0.30",
    ]
    turns = [str(p.get("transform")).split("rotate(")[1] for p in root.iter(f"{SVG}path")]
    assert turns == ["90)", "90)", "90)", "0)", "180)", "0)", "270)", "270)"]
    frames = [r for r in root.iter(f"{SVG}rect") if r.get("fill") == "none"]
    assert len(frames) == 2


def test_a_large_map_has_arrows_and_no_numbers():
    grid = read_gridworld("\n".join(["." * 40] * 40), gamma=0.9)
    root = ElementTree.fromstring(draw_grid(grid, torch.rand(40, 40), torch.zeros(40, 40).long()))
    assert not list(root.iter(f"{SVG}text"))
    assert len(list(root.iter(f"{SVG}path"))) == 1600


def test_bad_input():
    with pytest.raises(UserError, match=r"the value is \(11,\), the map \(3, 4\)"):
        draw_in_terminal(GRID, torch.zeros(11))
    with pytest.raises(UserError, match=r"the policy is \(4, 3\)"):
        draw_grid(GRID, VALUE, POLICY.T)
    grid = read_gridworld("\n".join(["." * 201] * 200), gamma=0.9)
    with pytest.raises(UserError, match="200 × 201 places"):
        draw_grid(grid, torch.zeros(200, 201))
