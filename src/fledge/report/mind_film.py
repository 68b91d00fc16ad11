"""A film of what was seen of somebody and what it says of their mind, as one SVG: the map with
their walk, and beside it bars that grow and shrink action by action.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from fledge.report.animation import COLOURS, Times, spread_times

MARGIN, GAP, BAR, LINE, LABELS, HEAD = 16, 28, 170, 19, 150, 34  # pixels
MAP, CELL = 380, 34  # the widest map, and the largest cell
WALL, WATER, BUSH, FLOOR = "#4a4a48", "#b9d6ea", "#bcd3a6", "#f1efe9"
GATE, PLATE = "#b08a5b", "#f2d16b"
INK, QUIET = "#1f2124", "#5f646b"
WALKERS = (COLOURS[1], COLOURS[4])  # the first, and the other


@dataclass(frozen=True)
class MindFrame:
    """After one more action. at: row and column. seen: the places that they have looked at. bars:
    by group and name, how likely. said: what was done. other: where somebody else is.
    """

    at: tuple[int, int]
    seen: frozenset[str]
    bars: Mapping[str, Mapping[str, float]]
    said: str
    other: tuple[int, int] | None = None


def draw_mind_film(
    rows: Sequence[str], standing: Mapping[str, str], frames: Sequence[MindFrame], title: str
) -> str:
    """rows: of the map. standing: what is in each place.  -> an SVG document, which plays wherever
    a browser shows pictures, and stands at its last frame elsewhere
    """
    H, W = len(rows), len(rows[0])
    cell = max(6, min(CELL, MAP // max(H, W)))
    right = MARGIN + W * cell + GAP
    lines = sum(len(group) + 2 for group in frames[0].bars.values())
    height = max(HEAD + H * cell + MARGIN, HEAD + lines * LINE)
    width = right + LABELS + BAR + 52
    times = spread_times(len(frames))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" font-family="sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" rx="8" fill="#fcfbf8"/>',
        *_write_said(frames, times),
        *_draw_map(rows, standing, frames, cell, times),
        *_draw_bars(frames, right, times),
        "</svg>",
    ]
    return "\n".join(parts)


def _write_said(frames: Sequence[MindFrame], times: Times) -> list[str]:
    """What was done, one text a frame, of which one is seen."""
    parts = []
    for number, frame in enumerate(frames):
        seen = ["1" if other == number else "0" for other in range(len(frames))]
        parts.append(
            f'<text x="{MARGIN}" y="22" fill="{INK}" opacity="{seen[-1]}">{escape(frame.said)}'
            f"{times.animate('opacity', seen, 'discrete')}</text>"
        )
    return parts


def _draw_map(
    rows: Sequence[str],
    standing: Mapping[str, str],
    frames: Sequence[MindFrame],
    cell: int,
    times: Times,
) -> list[str]:
    colours = {"#": WALL, "=": WATER, "%": BUSH, "|": GATE, "_": PLATE}
    parts, places = [], {}
    for i, row in enumerate(rows):
        for j, sign in enumerate(row):
            x, y = MARGIN + j * cell, HEAD + i * cell
            parts.append(
                f'<rect x="{x}" y="{y}" width="{cell}" height="{cell}" stroke="#fff" '
                f'fill="{colours.get(sign, FLOOR)}"/>'
            )
            if sign.isalpha() and sign.islower():
                places[sign] = (x, y)
    walks = [[frame.at for frame in frames]]
    other = [frame.other for frame in frames if frame.other is not None]
    walks += [other] if other else []
    points = [
        [(MARGIN + (j + 0.5) * cell, HEAD + (i + 0.5) * cell) for i, j in walk] for walk in walks
    ]
    for walk, colour in zip(points, WALKERS, strict=False):
        way = " ".join(f"{x:g},{y:g}" for x, y in walk)
        parts.append(
            f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-opacity=".45" '
            'stroke-width="2" stroke-linejoin="round"/>'
        )
    for place, (x, y) in places.items():
        known = ["1" if place in frame.seen else ".35" for frame in frames]
        parts.append(
            f'<g opacity="{known[-1]}">{times.animate("opacity", known, "discrete")}'
            f'<rect x="{x + 2}" y="{y + 2}" width="{cell - 4}" height="{cell - 4}" rx="3" '
            f'fill="{COLOURS[6]}" stroke="{INK}"/>'
            f'<text x="{x + cell / 2:g}" y="{y + cell / 2 + 4:g}" text-anchor="middle" '
            f'fill="{INK}">{escape(standing.get(place, "nothing")[:1])}</text></g>'
        )
    for walk, colour in zip(points, WALKERS, strict=False):
        x, y = walk[-1]
        xs, ys = ([f"{point[axis]:g}" for point in walk] for axis in (0, 1))
        parts.append(
            f'<circle cx="{x:g}" cy="{y:g}" r="{cell * 0.3:g}" fill="{colour}" stroke="#fff" '
            f'stroke-width="1.5">{times.animate("cx", xs)}{times.animate("cy", ys)}</circle>'
        )
    return parts


def _draw_bars(frames: Sequence[MindFrame], right: int, times: Times) -> list[str]:
    parts, y = [], HEAD
    for number, (group, names) in enumerate(frames[0].bars.items()):
        parts.append(
            f'<text x="{right}" y="{y + 8}" fill="{INK}" font-weight="600">{escape(group)}</text>'
        )
        y += LINE
        for name in names:
            chances = [frame.bars[group][name] for frame in frames]
            widths = [f"{max(1.0, BAR * chance):.1f}" for chance in chances]
            label = name if len(name) <= 22 else f"{name[:21]}…"
            parts.append(
                f'<text x="{right + LABELS - 8}" y="{y + 8}" text-anchor="end" '
                f'fill="{QUIET}">{escape(label)}</text>'
                f'<rect x="{right + LABELS}" y="{y - 2}" width="{widths[-1]}" height="12" rx="2" '
                f'fill="{COLOURS[number % len(COLOURS)]}">{times.animate("width", widths)}</rect>'
                f'<text x="{right + LABELS + BAR + 6}" y="{y + 8}" fill="{INK}">'
                f"{100 * chances[-1]:.0f} %</text>"
            )
            y += LINE
        y += LINE
    return parts
