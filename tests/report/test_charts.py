"""Charts: round ticks, peaks that survive thinning, smoothing that neither shifts nor tilts, and
XML that parses.
"""

from __future__ import annotations

import itertools
import json
import math
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fledge.report.charts import (
    Series,
    choose_ticks,
    draw_line_chart,
    draw_two_scale_chart,
    format_tick,
    smooth,
    thin,
)


@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-3, 1e6))
def test_ticks_are_few_round_and_inside(low: float, span: float) -> None:
    ticks = choose_ticks(low, low + span)
    assert 1 <= len(ticks) <= 7
    step = span / 5
    for tick in ticks:
        assert low - 1e-6 * step - 1e-9 <= tick <= low + span + 1e-6 * step + 1e-9
    for a, b in itertools.pairwise(ticks):
        digit = (b - a) / 10 ** math.floor(math.log10((b - a) * (1 + 1e-9)))
        assert min(abs(digit - nice) for nice in (1, 2, 5, 10)) < 1e-3


@pytest.mark.parametrize(
    ("ticks", "texts"),
    [
        ([0, 0.5, 1], ["0.0", "0.5", "1.0"]),
        ([0, 200, 400], ["0", "200", "400"]),
        ([1000, 2000], ["1,000", "2,000"]),
        ([0, 1e-4, 2e-4], ["0", "1e-4", "2e-4"]),
        ([0, 500_000, 1_000_000], ["0 M", "0.5 M", "1 M"]),
    ],
)
def test_ticks_have_just_the_digits_they_need(ticks: list[float], texts: list[str]) -> None:
    assert [format_tick(tick, ticks) for tick in ticks] == texts


def test_smoothing_keeps_a_constant_and_the_place_of_a_peak() -> None:
    assert smooth([3.0] * 100) == pytest.approx([3.0] * 100)
    bump = [math.exp(-0.5 * ((i - 130) / 30) ** 2) for i in range(400)]
    means = smooth(bump)
    assert len(means) == 400
    assert max(range(400), key=means.__getitem__) == 130


def test_thinning_keeps_the_ends_and_every_spike() -> None:
    y = [0.0] * 10_000
    y[1234], y[7777] = 5.0, -5.0
    points = thin(list(enumerate(y)))
    assert len(points) <= 300
    assert {(0, 0.0), (1234, 5.0), (7777, -5.0), (9999, 0.0)} <= set(points)


@pytest.mark.parametrize("length", [1, 2, 39, 40, 5000])
@pytest.mark.parametrize("value", [0.0, 2.5, -1e9])
def test_every_length_and_level_draws(length: int, value: float) -> None:
    series = Series('a <b> & "c"', list(range(length)), [value] * length)
    svg = ElementTree.fromstring(
        draw_line_chart([series], x_label="step & more", description='"quoted" <x>')
    )
    for path in svg.iter("path"):
        assert "nan" not in path.attrib["d"]
    chart = json.loads(svg.attrib["data-chart"])
    assert chart["series"][0]["name"] == 'a <b> & "c"'
    assert svg.attrib["aria-label"] == '"quoted" <x>'


def test_a_point_stands_where_its_value_says() -> None:
    svg = ElementTree.fromstring(
        draw_line_chart(
            [Series("a", [0, 10], [0.0, 1.0])], x_label="step", description="", low=0, high=1
        )
    )
    left, right = svg.findall(".//circle")
    axis = svg.find(".//line[@class='axis']")
    assert axis is not None
    assert float(left.attrib["cx"]) == pytest.approx(float(axis.attrib["x1"]), abs=0.1)
    assert float(right.attrib["cx"]) == pytest.approx(float(axis.attrib["x2"]), abs=0.1)
    assert float(left.attrib["cy"]) == pytest.approx(float(axis.attrib["y1"]), abs=0.1)
    assert float(right.attrib["cy"]) < float(left.attrib["cy"])


def test_two_scales_use_the_whole_height_for_each() -> None:
    x = [i / 10 for i in range(20)]
    left, right = (
        Series("proxy", x, [100.0 * i for i in range(20)]),
        Series("true", x, [i / 100 for i in range(20)]),
    )
    svg = ElementTree.fromstring(draw_two_scale_chart(left, right, x_label="d", description=""))
    tops = [min(float(dot.attrib["cy"]) for dot in group.iter("circle")) for group in svg.iter("g")]
    assert tops[0] == pytest.approx(tops[1], abs=0.2)
