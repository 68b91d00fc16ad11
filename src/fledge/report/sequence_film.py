"""A film of EM on a sequence as one SVG: what was observed over time, and what was inferred of it
at each step of EM: states as colours, or the band of a smoother.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from fledge.report.animation import COLOURS, Times, blend_colours, spread_times, write_steps

WIDTH, HEIGHT, MARGIN, STRIP = 640, 260, 34, 12  # pixels


@dataclass(frozen=True)
class SequenceFrame:
    """After `step`, of the T steps that are shown. share: p(state | all) [T, K], or None. mean,
    low, high: of what would be seen without noise, and its band of two deviations [T], or None.
    """

    step: int
    share: np.ndarray | None = None
    mean: np.ndarray | None = None
    low: np.ndarray | None = None
    high: np.ndarray | None = None


def draw_sequence_film(
    observed: np.ndarray, frames: Sequence[SequenceFrame], column: str, title: str
) -> str:
    """observed: [T], NaN where it is missing.  -> an SVG document.  column: what it is called."""
    T = len(observed)
    ends = [observed[~np.isnan(observed)]]
    ends += [each for f in frames for each in (f.low, f.high) if each is not None]
    low = min((float(each.min()) for each in ends if len(each)), default=0.0)
    high = max((float(each.max()) for each in ends if len(each)), default=1.0)
    x = MARGIN + (np.arange(T) + 0.5) * (WIDTH - 2 * MARGIN) / T
    span = HEIGHT - 2 * MARGIN - 2 * STRIP

    def place(value: np.ndarray) -> np.ndarray:
        return HEIGHT - MARGIN - 2 * STRIP - (value - low) / max(high - low, 1e-12) * span

    times = spread_times(len(frames))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" role="img" font-family="sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#fcfbf8"/>',
    ]
    if frames[0].mean is not None:
        parts += _draw_band(x, frames, place, times)
    parts += _draw_steps(x, place(observed), frames, times)
    parts += [
        f'<text x="{WIDTH / 2:.0f}" y="{HEIGHT - 8}" text-anchor="middle" fill="#5f646b">'
        f"time, {T:,} steps</text>",
        f'<text x="14" y="{HEIGHT / 2:.0f}" text-anchor="middle" fill="#5f646b" '
        f'transform="rotate(-90 14 {HEIGHT / 2:.0f})">{escape(column)}</text>',
        *write_steps([frame.step for frame in frames], WIDTH - 14, times),
        "</svg>",
    ]
    return "\n".join(parts)


def _draw_band(
    x: np.ndarray, frames: Sequence[SequenceFrame], place: Any, times: Times
) -> list[str]:
    bands, lines = [], []
    for frame in frames:
        assert frame.low is not None
        assert frame.high is not None
        assert frame.mean is not None
        around = np.concatenate([place(frame.high), place(frame.low)[::-1]])
        bands.append(_list_points(np.concatenate([x, x[::-1]]), around))
        lines.append(_list_points(x, place(frame.mean)))
    colour = COLOURS[0]
    return [
        f'<polygon points="{bands[-1]}" fill="{colour}" fill-opacity=".18">'
        f"{times.animate('points', bands)}</polygon>",
        f'<polyline points="{lines[-1]}" fill="none" stroke="{colour}" stroke-width="1.6">'
        f"{times.animate('points', lines)}</polyline>",
    ]


def _list_points(x: np.ndarray, y: np.ndarray) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))


def _draw_steps(
    x: np.ndarray, y: np.ndarray, frames: Sequence[SequenceFrame], times: Times
) -> list[str]:
    """What was observed as dots; below them, of states, a strip in their colours."""
    colours = [
        None if frame.share is None else [blend_colours(row) for row in frame.share]
        for frame in frames
    ]
    wide, top = (WIDTH - 2 * MARGIN) / len(x), HEIGHT - MARGIN - STRIP
    parts = []
    for t in range(len(x)):
        own = ["#44484e" if each is None else each[t] for each in colours]
        moves = times.animate("fill", own)
        if not np.isnan(y[t]):
            parts.append(
                f'<circle cx="{x[t]:.1f}" cy="{y[t]:.1f}" r="2.2" fill="{own[-1]}">{moves}</circle>'
            )
        if colours[0] is not None:
            parts.append(
                f'<rect x="{x[t] - wide / 2:.2f}" y="{top}" width="{wide:.2f}" height="{STRIP}" '
                f'fill="{own[-1]}">{moves}</rect>'
            )
    return parts
