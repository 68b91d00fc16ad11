"""The page of `fledge show rope`: dials that turn, a map of angles, wavelengths, and the product by
distance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup
from torch import Tensor

from fledge.report.charts import Series, draw_line_chart
from fledge.report.heat_map import draw_heat_map
from fledge.report.page import Picture
from fledge.report.show_page import Page, ShowChapter

_POSITIONS = (0, 1, 2, 4, 8, 16, 32, 64, 128)
_DIAL = 58  # pixels a dial
_NAMES = 108  # pixels for the names of the rows
_BUCKETS = 40  # of distances, even on the scale of powers


@dataclass(frozen=True)
class RopeCurves:
    """By name: the product at each distance [N], and the tokens in which each pair turns once."""

    distances: Tensor
    products: Mapping[str, Tensor]
    wavelengths: Mapping[str, Tensor]


def draw_rope(
    source: str,
    turning: str,
    context: int,
    table: tuple[Tensor, Tensor],
    curves: RopeCurves,
    apart: float,
) -> Page:
    """table: cos and sin of the first positions, as the transformer holds them. apart: how far
    products at equal distances differ.
    """
    waves = next(iter(curves.wavelengths.values()))
    return Page(
        "rotary positions",
        "A query and a key are turned, pair of numbers by pair, by angles that grow with their "
        "position; their product then knows how far apart they are, and nothing else.",
        (
            ("from", source),
            ("pairs", str(len(waves))),
            ("turned by", turning),
            ("context", f"{context:,}"),
        ),
        (
            ShowChapter(
                "Turning",
                "Each row is one pair of dimensions, each column a position. The first pair turns "
                "by one radian a token, the last hardly at all: short distances are read from the "
                "first, long ones from the last.",
                [_draw_turning(table, waves), _draw_angles(table)],
                formula="θᵢ = theta^(−2i/d),   pair i at position m is turned by m·θᵢ",
                layout="wide",
            ),
            ShowChapter(
                "What theta and scaling change",
                "A larger theta slows all pairs but the first. Linear scaling slows every pair "
                "alike (Chen et al. 2023), llama3 and yarn the slow ones only. A pair that never "
                "turns once within the context tells positions apart without ambiguity.",
                [_draw_wavelengths(curves, context), _draw_products(curves)],
            ),
            ShowChapter(
                "Only the distance counts",
                f"The same two vectors, equally far apart at several places of the text: their "
                f"products differ by {apart:.0e}, which is rounding.",
                formula="⟨R(m)q, R(n)k⟩ = ⟨q, R(n − m)k⟩",
            ),
        ),
    )


def _draw_turning(table: tuple[Tensor, Tensor], waves: Tensor) -> Picture:
    cos, sin = table
    half = cos.shape[1] // 2
    pairs = sorted({0, half // 8, half // 4, half // 2, 3 * half // 4, half - 1})
    positions = [m for m in _POSITIONS if m < len(cos)]
    parts = []
    for column, m in enumerate(positions):
        x = _NAMES + _DIAL * (column + 0.5)
        parts.append(f'<text x="{x}" y="12" text-anchor="middle">{m}</text>')
    for row, pair in enumerate(pairs):
        y = 18 + _DIAL * (row + 0.5)
        parts.append(f'<text x="{_NAMES - 8}" y="{y - 2}" text-anchor="end">pair {pair}</text>')
        parts.append(
            f'<text x="{_NAMES - 8}" y="{y + 11}" text-anchor="end">1 in {waves[pair]:,.0f}</text>'
        )
        for column, m in enumerate(positions):
            x, reach = _NAMES + _DIAL * (column + 0.5), 0.4 * _DIAL
            end = x + reach * float(cos[m, pair]), y - reach * float(sin[m, half + pair])
            parts.append(
                f'<circle class="dial" cx="{x}" cy="{y}" r="{reach}"/>'
                f'<line class="hand" x1="{x}" y1="{y}" x2="{end[0]:.1f}" y2="{end[1]:.1f}"/>'
                f'<circle class="tip-of-hand" cx="{end[0]:.1f}" cy="{end[1]:.1f}" r="2.2"/>'
            )
    size = _NAMES + _DIAL * len(positions) + 8, 22 + _DIAL * len(pairs)
    svg = Markup(
        f'<svg viewBox="0 0 {size[0]} {size[1]}" role="img" '
        f'aria-label="how far each pair has turned">{"".join(parts)}</svg>'
    )
    caption = "Columns: positions. Rows: pairs, with the tokens in which they turn once."
    return Picture("Angles", "", svg, (), caption)


def _draw_angles(table: tuple[Tensor, Tensor]) -> Picture:
    cos, _ = table
    half = cos.shape[1] // 2
    values = cos[:, :half].T.numpy()
    svg = draw_heat_map(values, description="cosine of every angle", width=640)
    caption = (
        f"cos(m·θᵢ), blue above 0 and orange below. Across: positions 0 to {len(cos) - 1}. Down: "
        f"pairs 0 to {half - 1}."
    )
    return Picture("All pairs", "", svg, (), caption)


def _draw_wavelengths(curves: RopeCurves, context: int) -> Picture:
    series = [
        Series(name, list(range(len(waves))), waves.log10().tolist())
        for name, waves in curves.wavelengths.items()
    ]
    last = len(series[0].x) - 1
    series.append(Series(f"context {context:,}", [0, max(last, 1)], [math.log10(context)] * 2))
    svg = draw_line_chart(
        series, x_label="pair", description="tokens until a pair has turned once", exact=True
    )
    return Picture(
        "Tokens until a pair has turned once",
        "powers of ten",
        svg,
        [one.name for one in series],
        "Pairs above the line of the context never come round within it.",
    )


def _draw_products(curves: RopeCurves) -> Picture:
    series = [_gather(name, curves.distances, product) for name, product in curves.products.items()]
    svg = draw_line_chart(
        series,
        x_label="log₁₀(1 + distance)",
        description="the product of query and key by distance",
        exact=True,
    )
    return Picture(
        "q · k by distance",
        "of one unit vector with itself",
        svg,
        [one.name for one in series],
        "The mean of cos(distance · θᵢ) over the pairs: near is seen sharply, far away by the slow "
        "pairs alone. Lines: means over distances much alike; bands: from the least to the most.",
    )


def _gather(name: str, distances: Tensor, product: Tensor) -> Series:
    """Far out the product swings from token to token: mean, least and most of each bucket."""
    place = (1 + distances.double()).log10()
    bucket = (place * (_BUCKETS - 1e-9) / place[-1].clamp_min(1e-9)).long()
    inside = [bucket == number for number in bucket.unique()]
    mean, mid, least, most = (
        [float(summary(values[each])) for each in inside]
        for summary, values in (
            (Tensor.mean, place),
            (Tensor.mean, product),
            (Tensor.min, product),
            (Tensor.max, product),
        )
    )
    return Series(name, mean, mid, least, most)
