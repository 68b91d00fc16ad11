"""The page of `fledge verify`: the table with a picture of every row that has one."""

from __future__ import annotations

from pathlib import Path

from fledge import __version__
from fledge.report.charts import Series, draw_line_chart
from fledge.report.figures import format_duration
from fledge.report.page import Picture, render_page
from fledge.verify.laboratory import Hardware
from fledge.verify.rows import RowCurves, TableRow


def render_verify_page(
    rows: list[TableRow], file: Path | None, hardware: Hardware, seconds: float
) -> str:
    """As text. Estimators, whose rows have a noise, stand in a table of their own with a bar for
    it.
    """
    estimators = [row for row in rows if row.noise is not None]
    others = [row for row in rows if row.noise is None]
    broken = [row for row in rows if not row.holds]
    most = max((row.noise.variance for row in estimators if row.noise), default=1.0)
    content = {
        "title": "verify" if file is None else f"verify {file.name}",
        "broken": broken,
        "others": others,
        "estimators": estimators,
        "widest": most if 0 < most < float("inf") else 1.0,
        "optima": [draw_curve(curve) for row in others for curve in row.curves],
        "gradients": [
            draw_curve(curve) for row in estimators if not row.on_diagonal for curve in row.curves
        ],
        "diagonal": [
            draw_curve(curve) for row in estimators if row.on_diagonal for curve in row.curves
        ],
        "tiles": [
            ("rows", str(len(rows))),
            ("hold", str(len(rows) - len(broken))),
            ("computed on", hardware.device),
            ("in", str(hardware.dtype).removeprefix("torch.")),
            ("time", format_duration(seconds)),
            ("fledge", __version__),
        ],
    }
    return render_page("fledge.report", "verify.html.jinja", content)


def draw_curve(curve: RowCurves) -> Picture:
    series = [Series(name, x, y) for name, (x, y) in curve.lines.items()]
    legend = [one.name for one in series] if len(series) > 1 else []
    svg = draw_line_chart(
        series, x_label=curve.x_label, description=f"{curve.title}: {curve.caption}"
    )
    return Picture(curve.title, curve.unit, svg, legend, curve.caption)
