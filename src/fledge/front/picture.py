"""A picture of a run's figures: by matplotlib where it is installed, else the report's own SVG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from markupsafe import escape

from fledge.errors import UserError
from fledge.report.charts import HEIGHT, WIDTH, Series, draw_line_chart
from fledge.report.figures import (
    BOOKKEEPING,
    PICTURES,
    choose_headline,
    is_number,
    is_share,
    read_latest,
    spell_name,
    strip_part,
)

Columns = dict[str, list[tuple[float, float]]]

# What the report's style sheet says, for a picture that stands alone.
_COLOURS = ("#1f6feb", "#c2410c", "#15803d", "#7e22ce")
_STYLE = (
    "<style>text{font:11px sans-serif;fill:#444}.grid{stroke:#ddd}.axis{stroke:#888}"
    ".line{fill:none;stroke-width:1.8}.raw{fill:none;opacity:.3}"
    + "".join(
        f".s{n}{{stroke:{colour}}}.points.s{n} circle{{fill:{colour};stroke:none}}"
        for n, colour in enumerate(_COLOURS, start=1)
    )
    + "</style>"
)


class Drawing:
    """A picture as SVG: a notebook shows it, `save` writes it."""

    def __init__(self, svg: str) -> None:
        self.svg = svg

    def _repr_svg_(self) -> str:
        return self.svg

    def save(self, file: str | Path) -> Path:
        """Write it, to a name that ends in .svg."""
        Path(file).write_text(self.svg, encoding="utf-8")
        return Path(file)

    def __repr__(self) -> str:
        return f"Drawing({len(self.svg):,} characters of SVG)"


def draw_figures(rows: Sequence[dict[str, Any]], names: Sequence[str], title: str) -> Any:
    """The named figures over the steps, or those of the picture of the report that matters most.

    Raises UserError for a figure that was never logged, and where nothing was.
    """
    columns = choose_columns(rows, names)
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        return Drawing(draw_svg(columns, title))

    class Plot(Figure):
        """A figure that a notebook shows whether or not pyplot was imported."""

        def _repr_svg_(self) -> str:
            file = io.StringIO()
            # letters as letters: a tenth of the size, and they can be searched for
            with rc_context({"svg.fonttype": "none", "svg.hashsalt": "fledge"}):
                self.savefig(file, format="svg", bbox_inches="tight", metadata={"Date": None})
            return file.getvalue()

    figure = Plot(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for name, pairs in columns.items():
        steps, values = zip(*pairs, strict=True)
        axes.plot(steps, values, label=spell_name(name), marker="." if len(pairs) < 40 else "")
    axes.set_xlabel("step")
    axes.set_title(title, fontsize="medium")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def draw_svg(columns: Columns, title: str) -> str:
    """The report's chart, with its colours and the names of its lines."""
    series = [
        Series(spell_name(name), *zip(*pairs, strict=True)) for name, pairs in columns.items()
    ]
    percent = all(is_share(strip_part(name)) for name in columns)
    svg = str(draw_line_chart(series, x_label="step", description=title, percent=percent))
    head, rest = svg.split(">", 1)
    names = " · ".join(
        f'<tspan fill="{colour}">{escape(one.name)}</tspan>'
        for one, colour in zip(series, cycle(_COLOURS), strict=False)
    )
    legend = f'<text x="{WIDTH - 16}" y="{HEIGHT - 4}" text-anchor="end">{names}</text>'
    body = rest.removesuffix("</svg>")
    return f'{head} xmlns="http://www.w3.org/2000/svg" width="560">{_STYLE}{body}{legend}</svg>'


def gather_columns(rows: Sequence[dict[str, Any]]) -> Columns:
    """(step, value) of each figure that was ever a number."""
    columns: Columns = {}
    for row in rows:
        step = row.get("world_steps", row.get("step"))
        if step is None:
            continue
        for name, value in row.items():
            if name not in BOOKKEEPING and is_number(value):
                columns.setdefault(name, []).append((step, value))
    return columns


def choose_columns(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> Columns:
    """(step, value) of each figure. Raises UserError for one that is not there."""
    logged = gather_columns(rows)
    if not logged:
        raise UserError("nothing was logged yet, so there is nothing to draw.")
    for name in names:
        if name not in logged:
            known = ", ".join(sorted(logged))
            raise UserError(f"there is no figure `{name}` here: there are {known}.")
    if names:
        return {name: logged[name] for name in names}
    headline = choose_headline(read_latest(rows)[0])
    first = [each for each in PICTURES if headline and strip_part(headline[0]) in each.bases]
    for picture in (*first, *PICTURES):
        chosen = {
            name: pairs
            for name, pairs in logged.items()
            if strip_part(name) in picture.bases and len(pairs) > 1
        }
        if len({value for pairs in chosen.values() for _, value in pairs}) > 1:
            return chosen
    name = next(iter(logged))
    return {name: logged[name]}
