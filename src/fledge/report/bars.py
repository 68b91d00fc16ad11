"""Bars side by side as inline SVG: what each name had before, and what it has after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH = 400
_ROW, _TOP = 17, 4
_LETTER = 6.6  # the width of a letter at the size of the style sheet, about


@dataclass(frozen=True)
class Bar:
    """One row. after: None where there is nothing to compare with, 0 where it was taken out."""

    name: str
    before: float
    after: float | None = None


def draw_bars(bars: Sequence[Bar], *, description: str) -> Markup:
    """Shares in [0, 1]: a pale bar is before, a full one after; what was taken out is struck
    through.
    """
    left = 14 + _LETTER * min(16, max(len(bar.name) for bar in bars))
    right = WIDTH - 52
    most = max(max(bar.before, bar.after or 0.0) for bar in bars) or 1.0
    parts = []
    for number, bar in enumerate(bars):
        y = _TOP + number * _ROW
        out = bar.after is not None and bar.after == 0.0
        said = bar.name if len(bar.name) <= 16 else f"{bar.name[:15]}…"
        parts.append(
            f'<text class="{"out" if out else "in"}" x="{left - 6:.1f}" y="{y + 12}" '
            f'text-anchor="end">{escape(said)}</text>'
        )
        parts.append(_draw(left, y + 2, (right - left) * bar.before / most, 12, "before"))
        if bar.after:
            parts.append(_draw(left, y + 5, (right - left) * bar.after / most, 6, "after"))
        value = bar.before if bar.after is None else bar.after
        longest = max(bar.before, bar.after or 0.0)
        parts.append(
            f'<text x="{left + (right - left) * longest / most + 5:.1f}" y="{y + 12}">'
            f"{format_share(value)}</text>"
        )
    height = _TOP + len(bars) * _ROW + 4
    return Markup(
        f'<svg class="bars" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(description)}">{"".join(parts)}</svg>'
    )


def format_share(share: float) -> str:
    """In per cent, with two digits that say something."""
    if share == 0:
        return "out"
    return f"{100 * share:.0f} %" if share >= 0.0995 else f"{100 * share:.2g} %"


def _draw(x: float, y: float, width: float, height: float, name: str) -> str:
    return (
        f'<rect class="{name}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" '
        f'height="{height}" rx="2"/>'
    )
