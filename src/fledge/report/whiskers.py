"""Means with their intervals, one row each, as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from fledge.report.charts import choose_ticks, format_tick

WIDTH = 400
_ROW, _TOP, _BOTTOM, _RIGHT = 22, 6, 18, 14
_LETTER = 6.6  # the width of a letter at the size of the style sheet, about


@dataclass(frozen=True)
class Whisker:
    """One row: a mean within [low, high]."""

    name: str
    mean: float
    low: float
    high: float


def draw_whiskers(rows: Sequence[Whisker], *, description: str) -> Markup:
    """Shares in [0, 1], as per cent; the axis goes about what is there."""
    bottom = max(0.0, min(row.low for row in rows) - 0.02)
    top = min(1.0, max(row.high for row in rows) + 0.02)
    if top - bottom < 0.1:
        bottom, top = max(0.0, top - 0.1), min(1.0, bottom + 0.1)
    left = 14 + _LETTER * min(16, max(len(row.name) for row in rows))
    right = WIDTH - _RIGHT
    height = _TOP + _ROW * len(rows) + _BOTTOM

    def place(share: float) -> float:
        return left + (share - bottom) / (top - bottom) * (right - left)

    ticks = choose_ticks(bottom, top)
    foot = height - _BOTTOM
    parts = [
        f'<line class="grid" x1="{place(tick):.1f}" x2="{place(tick):.1f}" y1="{_TOP}" '
        f'y2="{foot}"/>'
        f'<text x="{place(tick):.1f}" y="{foot + 12}" text-anchor="middle">'
        f"{format_tick(tick, ticks, percent=True)}</text>"
        for tick in ticks
    ]
    for number, row in enumerate(rows):
        y = _TOP + number * _ROW + _ROW / 2
        parts.append(
            f'<text x="{left - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{escape(row.name)}</text>'
            f'<path class="line s1" d="M{place(row.low):.1f} {y:.1f}H{place(row.high):.1f}"/>'
            f'<circle class="points s1" cx="{place(row.mean):.1f}" cy="{y:.1f}" r="4"/>'
        )
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(description)}">{"".join(parts)}</svg>'
    )
