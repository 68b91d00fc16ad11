"""Small line charts as inline SVG: nice ticks, raw values faint behind a smooth line, colours from
the style sheet.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

WIDTH, HEIGHT = 400, 220
_TOP, _BOTTOM, _RIGHT = 10, 34, 14
_SMOOTHED_FROM = 40  # with fewer points the raw line is readable by itself
_POINTS = 300  # as many as a chart this wide can show


@dataclass(frozen=True)
class Series:
    """One line: `x` ascending, `y` finite, as long as `x`. low, high: an interval around `y`, empty
    for none. peaks: where `y` are means of many points each, what they lie between.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    peaks: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True)
class _Scale:
    """Maps [low, high] of the data to [start, end] of the picture."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def choose_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers in [low, high], apart by 1, 2 or 5 times a power of ten. Requires
    low < high.
    """
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(m for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def format_tick(value: float, ticks: Sequence[float], *, percent: bool = False) -> str:
    """`value` with just the digits that tell the ticks apart."""
    largest = max(abs(tick) for tick in ticks)
    step = ticks[1] - ticks[0] if len(ticks) > 1 else largest or 1
    if percent:
        return f"{100 * value:.{max(0, -math.floor(math.log10(100 * step) + 1e-9))}f} %"
    if largest >= 1e5 and step >= 1000:
        return f"{value / 1e6:g} M" if largest >= 1e6 else f"{value / 1e3:g} k"
    if 0 < largest < 1e-3:
        return f"{value:.0e}".replace("e-0", "e-") if value else "0"
    return f"{value:,.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"


def smooth(values: Sequence[float]) -> list[float]:
    """Means under a Gaussian a sixtieth of the series wide: symmetric, so that nothing seems later
    than it was.
    """
    width = max(1.0, len(values) / 60)
    reach = math.ceil(2.5 * width)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    weighted = np.convolve(values, kernel)[reach:-reach]
    return (weighted / np.convolve(np.ones(len(values)), kernel)[reach:-reach]).tolist()


def thin(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """At most `_POINTS` points that still show every peak: the lowest and highest of each
    stretch.
    """
    if len(points) <= _POINTS:
        return points
    kept: set[int] = {0, len(points) - 1}
    stretches = _POINTS // 2 - 1
    height = lambda i: points[i][1]  # noqa: E731
    for stretch in range(stretches):
        inside = range(stretch * len(points) // stretches, (stretch + 1) * len(points) // stretches)
        kept |= {min(inside, key=height), max(inside, key=height)}
    return [points[i] for i in sorted(kept)]


def draw_line_chart(
    series: Sequence[Series],
    *,
    x_label: str,
    description: str,
    low: float | None = None,
    high: float | None = None,
    percent: bool = False,
    exact: bool = False,
) -> Markup:
    """One SVG with a line for each series. `low` and `high`: what the y axis must reach at least.
    exact: of a function and not of measurements, whose every point counts.
    """
    values = [y for one in series for y in (*one.y, *one.low, *one.high)]
    values += [y for one in series for _, y in one.peaks]
    bottom, top = _choose_range(
        values + [bound for bound in (low, high) if bound is not None], low, high
    )
    ticks = choose_ticks(bottom, top)
    texts = [format_tick(tick, ticks, percent=percent) for tick in ticks]
    left = 12 + 6.4 * max(map(len, texts))
    y_scale = _Scale(bottom, top, HEIGHT - _BOTTOM, _TOP)
    x_scale = _make_x_scale([x for one in series for x in one.x], left, WIDTH - _RIGHT)
    parts = [_draw_grid(y_scale, ticks, texts, left), _draw_x_axis(x_scale, x_label)]
    parts += [
        _draw_band(one, x_scale, y_scale, f"s{number}")
        for number, one in enumerate(series, 1)
        if one.low
    ]
    for number, one in enumerate(series, 1):
        draw = _draw_function if exact else _draw_line
        parts.append(draw(one, x_scale, y_scale, f"s{number}"))
    return _wrap_svg(parts, series, x_scale, y_scale, x_label, description, percent=percent)


def draw_two_scale_chart(
    left_series: Series, right_series: Series, *, x_label: str, description: str
) -> Markup:
    """Two figures over the same x, each on an axis of its own, in its colour. `x` need not ascend:
    a path in time.
    """
    scales = []
    for one in (left_series, right_series):
        bottom, top = _choose_range(list(one.y), None, None)
        scales.append(_Scale(bottom, top, HEIGHT - _BOTTOM, _TOP))
    ticks = [choose_ticks(scale.low, scale.high) for scale in scales]
    texts = [[format_tick(tick, of) for tick in of] for of in ticks]
    left, right = (12 + 6.4 * max(map(len, of)) for of in texts)
    x_scale = _make_x_scale([*left_series.x, *right_series.x, 0.0], left, WIDTH - right)
    parts = [_draw_x_axis(x_scale, x_label)]
    sides = ((left - 6, "end", "s1"), (WIDTH - right + 6, "start", "s2"))
    for (at, anchor, name), scale, of, words in zip(sides, scales, ticks, texts, strict=True):
        for tick, word in zip(of, words, strict=True):
            parts.append(
                f'<text class="{name}" x="{at:.1f}" y="{scale(tick) + 4:.1f}" '
                f'text-anchor="{anchor}">{word}</text>'
            )
    for one, scale, name in zip((left_series, right_series), scales, ("s1", "s2"), strict=True):
        dots = "".join(
            f'<circle cx="{x_scale(x):.1f}" cy="{scale(y):.1f}" r="1.6"/>'
            for x, y in _thin_evenly(one)
        )
        middle = smooth(one.y) if len(one.y) >= _SMOOTHED_FROM else list(one.y)
        path = _draw_path(
            _thin_evenly(
                Series(one.name, smooth(one.x) if len(one.x) >= _SMOOTHED_FROM else one.x, middle)
            ),
            x_scale,
            scale,
        )
        parts.append(f'<g class="dots {name}">{dots}</g><path class="line {name}" d="{path}"/>')
    return _wrap_svg(parts, (), x_scale, scales[0], x_label, description)


def _choose_range(
    values: list[float], low: float | None, high: float | None
) -> tuple[float, float]:
    """The y range: all values, a little air, and exactly `low` or `high` where nothing goes beyond
    them.
    """
    least, most = min(values), max(values)
    if _is_point(least, most):
        air = abs(least) * 0.1 or 0.5
    else:
        air = 0.05 * (most - least)
    return (least if least == low else least - air), (most if most == high else most + air)


def _is_point(low: float, high: float) -> bool:
    """Whether floats between the two are too few for ticks: those of one value but for rounding,
    and denormal ones.
    """
    return high - low <= max(1e-300, 1e-12 * max(abs(low), abs(high)))


def _make_x_scale(x: Sequence[float], left: float, right: float) -> _Scale:
    low, high = min(x), max(x)
    air = max(0.5, abs(low) * 1e-6) if _is_point(low, high) else 0.0
    return _Scale(low - air, high + air, left, right)


def _draw_grid(scale: _Scale, ticks: Sequence[float], texts: Sequence[str], left: float) -> str:
    lines = []
    for tick, text in zip(ticks, texts, strict=True):
        y = scale(tick)
        lines.append(
            f'<line class="grid" x1="{left:.1f}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        lines.append(f'<text x="{left - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    return "".join(lines)


def _draw_x_axis(scale: _Scale, label: str) -> str:
    base = HEIGHT - _BOTTOM
    ticks = choose_ticks(scale.low, scale.high)
    parts = [
        f'<line class="axis" x1="{scale.start:.1f}" x2="{scale.end:.1f}" y1="{base}" y2="{base}"/>'
    ]
    for tick in ticks:
        text = format_tick(tick, ticks)
        parts.append(
            f'<text x="{scale(tick):.1f}" y="{base + 15}" text-anchor="middle">{text}</text>'
        )
    middle = (scale.start + scale.end) / 2
    parts.append(
        f'<text class="name" x="{middle:.1f}" y="{HEIGHT - 4}" '
        f'text-anchor="middle">{escape(label)}</text>'
    )
    return "".join(parts)


def _draw_band(one: Series, x_scale: _Scale, y_scale: _Scale, name: str) -> str:
    edge = [
        *zip(one.x, one.high, strict=True),
        *zip(reversed(one.x), reversed(one.low), strict=True),
    ]
    return f'<path class="band {name}" d="{_draw_path(edge, x_scale, y_scale)}Z"/>'


def _draw_line(one: Series, x_scale: _Scale, y_scale: _Scale, name: str) -> str:
    points = one.peaks or list(zip(one.x, one.y, strict=True))
    raw = _draw_path(thin(points), x_scale, y_scale)
    if len(one.y) >= _SMOOTHED_FROM:
        means = _draw_path(_thin_evenly(Series(one.name, one.x, smooth(one.y))), x_scale, y_scale)
        return f'<path class="raw {name}" d="{raw}"/><path class="line {name}" d="{means}"/>'
    dots = "".join(
        f'<circle cx="{x_scale(x):.1f}" cy="{y_scale(y):.1f}" r="2.4"/>'
        for x, y in zip(one.x, one.y, strict=True)
    )
    return f'<path class="line {name}" d="{raw}"/><g class="points {name}">{dots}</g>'


def _draw_function(one: Series, x_scale: _Scale, y_scale: _Scale, name: str) -> str:
    points = thin(list(zip(one.x, one.y, strict=True)))
    return f'<path class="line {name}" d="{_draw_path(points, x_scale, y_scale)}"/>'


def _thin_evenly(one: Series) -> list[tuple[float, float]]:
    apart = max(1, math.ceil(len(one.x) / _POINTS))
    kept = sorted({*range(0, len(one.x), apart), len(one.x) - 1})
    return [(one.x[i], one.y[i]) for i in kept]


def _draw_path(points: Sequence[tuple[float, float]], x_scale: _Scale, y_scale: _Scale) -> str:
    return "M" + "L".join(f"{x_scale(x):.1f} {y_scale(y):.1f}" for x, y in points)


def _wrap_svg(
    parts: Sequence[str],
    series: Sequence[Series],
    x_scale: _Scale,
    y_scale: _Scale,
    x_label: str,
    description: str,
    *,
    percent: bool = False,
) -> Markup:
    """The whole picture; `data-chart` carries the points for the page's hover script."""
    points = [
        {"name": one.name, "points": [[x, float(f"{y:.4g}")] for x, y in _thin_evenly(one)]}
        for one in series
    ]
    chart = {
        "series": points,
        "x": [x_scale.low, x_scale.high, round(x_scale.start, 1), round(x_scale.end, 1)],
        "y": [y_scale.low, y_scale.high, y_scale.start, y_scale.end],
        "xLabel": x_label,
        "percent": percent,
    }
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(description)}" '
        f'data-chart="{escape(json.dumps(chart))}">{"".join(parts)}</svg>'
    )
