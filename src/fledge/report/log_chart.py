"""Points and curves over logarithmic axes, as inline SVG: what follows a power law is straight
there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from fledge.report.charts import choose_ticks, format_tick

WIDTH, HEIGHT = 400, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 10, 34
COLOURS = 5


@dataclass(frozen=True)
class Marks:
    """points: (x, y) of what was measured. curve: of what is said of it, drawn as a line. colour: 1
    to `COLOURS`.
    """

    points: Sequence[tuple[float, float]] = ()
    curve: Sequence[tuple[float, float]] = ()
    whiskers: Sequence[tuple[float, float, float]] = ()  # x, from, to
    colour: int = 1


def draw_log_chart(
    marks: Sequence[Marks], *, x_label: str, description: str, log_y: bool = True
) -> Markup:
    """x and y above 0; y may be linear, where it spans less than a power of ten."""
    xs = [x for one in marks for x, _ in (*one.points, *one.curve)]
    ys = [y for one in marks for _, y in (*one.points, *one.curve)]
    ys += [y for one in marks for _, low, high in one.whiskers for y in (low, high)]
    x_axis = _Axis(xs, _LEFT, WIDTH - _RIGHT, log=True)
    y_axis = _Axis(ys, HEIGHT - _BOTTOM, _TOP, log=log_y)
    foot = HEIGHT - _BOTTOM
    parts: list[str] = []
    for y, text in y_axis.list_ticks():
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
        )
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{foot}" y2="{foot}"/>')
    for x, text in x_axis.list_ticks():
        parts.append(f'<text x="{x:.1f}" y="{foot + 15}" text-anchor="middle">{text}</text>')
    parts.append(
        f'<text class="name" x="{(_LEFT + WIDTH - _RIGHT) / 2:.1f}" y="{HEIGHT - 4}" '
        f'text-anchor="middle">{escape(x_label)}</text>'
    )
    parts += [_draw(one, x_axis, y_axis) for one in marks]
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(description)}">'
        f"{''.join(parts)}</svg>"
    )


def _draw(one: Marks, x_axis: _Axis, y_axis: _Axis) -> str:
    name = f"s{one.colour}"
    parts = []
    if one.curve:
        path = "M" + "L".join(f"{x_axis(x):.1f} {y_axis(y):.1f}" for x, y in one.curve)
        parts.append(f'<path class="line {name}" d="{path}"/>')
    for x, low, high in one.whiskers:
        at = x_axis(x)
        path = f"M{at:.1f} {y_axis(low):.1f}V{y_axis(high):.1f}"
        path += "".join(f"M{at - 4:.1f} {y_axis(y):.1f}H{at + 4:.1f}" for y in (low, high))
        parts.append(f'<path class="line {name}" d="{path}" style="stroke-dasharray:none"/>')
    dots = "".join(
        f'<circle cx="{x_axis(x):.1f}" cy="{y_axis(y):.1f}" r="2.8"/>' for x, y in one.points
    )
    return "".join(parts) + (f'<g class="points {name}">{dots}</g>' if dots else "")


class _Axis:
    def __init__(self, values: Sequence[float], start: float, end: float, *, log: bool) -> None:
        self.log, self.start, self.end = log, start, end
        self._measure = math.log10 if log else float
        low, high = self._measure(min(values)), self._measure(max(values))
        air = 0.04 * (high - low) or 0.05
        self.low, self.high = low - air, high + air

    def __call__(self, value: float) -> float:
        share = (self._measure(value) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def list_ticks(self) -> list[tuple[float, str]]:
        """Where they stand in the picture, and what is written there."""
        if not self.log or self.high - self.low < 1:
            low, high = (10**v if self.log else v for v in (self.low, self.high))
            ticks = choose_ticks(low, high, 6)
            return [(self(tick), format_tick(tick, ticks)) for tick in ticks]
        every = max(1, math.ceil((self.high - self.low) / 7))
        powers = range(math.ceil(self.low), math.floor(self.high) + 1, every)
        return [(self(10.0**power), write_power(power)) for power in powers]


def write_power(power: int) -> str:
    """1,000 as it is, a larger power of ten as a power."""
    return f"{10**power:,}" if 0 <= power <= 3 else f"10{_raise(power)}"


def _raise(power: int) -> str:
    return str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
