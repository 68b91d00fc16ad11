"""The page of `fledge show coordinates`: size over width, a curve for each step, and the slopes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fledge.evaluate.scaling.coordinates import Coordinates
from fledge.report.log_chart import COLOURS, Marks, draw_log_chart
from fledge.report.page import Picture
from fledge.report.show_page import Page, ShowChapter

_TEXTS = {
    "standard": (
        "The usual parametrization",
        "One learning rate for all weights, initial matrices of 1/√width. Each step adds to what a "
        "layer gives the more the wider it is: the best rate of a narrow model is too high for a "
        "wide one.",
    ),
    "mup": (
        "µP",
        "Hidden matrices learn at 1/width of the rate, embeddings begin as large at every width, "
        "and the logits' factor is 1/width. What a step adds is as large at every width, and so "
        "the best rate is carried over. Logits before the first step vanish as 1/√width: they are "
        "luck, and a wide model is to begin without.",
    ),
}


def draw_coordinates(checks: Mapping[str, Coordinates], learning_rate: float) -> Page:
    """checks: by the name of the parametrization."""
    first = next(iter(checks.values()))
    return Page(
        "coordinates over width",
        "Networks of several widths learn one batch at one rate. Drawn is the mean |x| of what "
        "their layers give, before the first step and after each: where it grows with the width, "
        "no rate is right for all widths.",
        (
            ("widths", ", ".join(map(str, first.widths))),
            ("steps", str(first.change.shape[1])),
            ("learning rate", f"{learning_rate:g}"),
        ),
        [_draw_chapter(name, each) for name, each in checks.items()],
    )


def _draw_chapter(name: str, each: Coordinates) -> ShowChapter:
    title, text = _TEXTS[name]
    slopes, added = each.slope(each.size), each.slope(each.change)
    heads = ["", "slope before", "slope of |x|", "slope of what steps have added"]
    rows = [
        (part, f"{slopes[0, n]:+.2f}", f"{slopes[-1, n]:+.2f}", f"{added[-1, n]:+.2f}")
        for n, part in enumerate(each.names)
    ]
    blocks = [part for part in each.names if part.startswith("block")]
    pictures = [_draw_part(each, part) for part in dict.fromkeys((blocks[0], blocks[-1], "logits"))]
    return ShowChapter(title, text, pictures, heads, rows, formula="mean |x| ∝ width^slope")


def _draw_part(each: Coordinates, part: str) -> Picture:
    """A curve for each step, at most as many as there are colours."""
    number = each.names.index(part)
    last = each.size.shape[1] - 1
    steps = np.unique(np.linspace(0, last, min(COLOURS, last + 1)).round().astype(int))
    marks = []
    for colour, step in enumerate(steps, 1):
        points = list(zip(each.widths, each.size[:, step, number].tolist(), strict=True))
        marks.append(Marks(points, points, colour=colour))
    svg = draw_log_chart(marks, x_label="width", description=f"Mean size of {part} over width")
    names = [f"after {s}" if s else "before the first step" for s in steps]
    return Picture(part, "mean |x|", svg, names)
