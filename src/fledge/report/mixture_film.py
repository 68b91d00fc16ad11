"""A film of EM as one SVG: ellipses that move, and points in the colours of the components that
answer for them. It plays wherever a browser shows pictures, and stands at its last frame elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from fledge.report.animation import COLOURS, Times, blend_colours, spread_times, write_steps

SIDE, MARGIN = 420, 24  # pixels
DEVIATIONS = 2.0  # an ellipse holds 86 % of its component


@dataclass(frozen=True)
class Frame:
    """The mixture after `step`: weight [K], mean [K, 2], covariance [K, 2, 2], and what each point
    is of each component, responsibility [n, K].
    """

    step: int
    weight: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    responsibility: np.ndarray


def draw_film(
    points: np.ndarray, frames: Sequence[Frame], axes: tuple[str, str], title: str
) -> str:
    """points: [n, 2].  -> an SVG document.  axes: what the two are called."""
    low, high = points.min(0), points.max(0)
    middle, reach = (low + high) / 2, float(max((high - low).max(), 1e-12)) * 0.54
    scale = (SIDE / 2 - MARGIN) / reach

    def place(xy: np.ndarray) -> np.ndarray:
        return (xy - middle) * [scale, -scale] + SIDE / 2

    times = spread_times(len(frames))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE} {SIDE}" width="{SIDE}" '
        f'height="{SIDE}" role="img" font-family="sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{SIDE}" height="{SIDE}" rx="8" fill="#fcfbf8"/>',
    ]
    parts += _draw_points(place(points), frames, times)
    for k in range(len(frames[0].weight)):
        parts.append(_draw_ellipse(k, frames, times, place, scale))
    parts += [
        f'<text x="{SIDE / 2:.0f}" y="{SIDE - 6}" text-anchor="middle" fill="#5f646b">'
        f"{escape(axes[0])}</text>",
        f'<text x="12" y="{SIDE / 2:.0f}" text-anchor="middle" fill="#5f646b" '
        f'transform="rotate(-90 12 {SIDE / 2:.0f})">{escape(axes[1])}</text>',
        *write_steps([frame.step for frame in frames], SIDE - 14, times),
        "</svg>",
    ]
    return "\n".join(parts)


def _draw_points(xy: np.ndarray, frames: Sequence[Frame], times: Times) -> list[str]:
    parts = []
    colours = [[blend_colours(row) for row in frame.responsibility] for frame in frames]
    for n, (x, y) in enumerate(xy):
        own = [each[n] for each in colours]
        moves = times.animate("fill", own)
        head = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{own[-1]}" fill-opacity=".75"'
        parts.append(f"{head}>{moves}</circle>" if moves else f"{head}/>")
    return parts


def _draw_ellipse(
    k: int,
    frames: Sequence[Frame],
    times: Times,
    place: Callable[[np.ndarray], np.ndarray],
    scale: float,
) -> str:
    where, turned, wide, high, faint = [], [], [], [], []
    angle = 0.0
    for frame in frames:
        value, vector = np.linalg.eigh(frame.covariance[k])
        drawn = -math.degrees(math.atan2(vector[1, 1], vector[0, 1]))
        # an axis has no direction: the turn that is nearest to the last one
        angle = drawn if not turned else angle + (drawn - angle + 90) % 180 - 90
        x, y = place(frame.mean[k])
        where.append(f"{x:.1f} {y:.1f}")
        turned.append(f"{angle:.1f}")
        wide.append(f"{DEVIATIONS * scale * math.sqrt(max(value[1], 0)):.1f}")
        high.append(f"{max(1.0, DEVIATIONS * scale * math.sqrt(max(value[0], 0))):.1f}")
        faint.append(f"{min(1.0, 0.25 + 0.75 * len(frame.weight) * frame.weight[k]):.2f}")
    colour = COLOURS[k % len(COLOURS)]
    return (
        f'<g transform="translate({where[-1]})">{times.turn("translate", where)}'
        f'<ellipse rx="{wide[-1]}" ry="{high[-1]}" transform="rotate({turned[-1]})" '
        f'fill="{colour}" fill-opacity=".1" stroke="{colour}" stroke-width="2" '
        f'stroke-opacity="{faint[-1]}">'
        f'{times.turn("rotate", turned)}{times.animate("rx", wide)}{times.animate("ry", high)}'
        f'{times.animate("stroke-opacity", faint)}</ellipse>'
        f'<circle r="4" fill="{colour}" stroke="#fff"/></g>'
    )  # fmt: skip
