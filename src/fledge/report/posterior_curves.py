"""How likely each possibility is, step by step, as charts: of a run that infers what is hidden."""

from __future__ import annotations

from typing import Any

from fledge.report.charts import Series, draw_line_chart
from fledge.report.drawn import Drawn


def draw_posterior_curves(summary: dict[str, Any]) -> list[Drawn]:
    """Those that the summary lists, each {title, over, lines: {name: chances}}, from step 0 on."""
    drawn = []
    listed = summary.get("posterior_curves")
    for each in listed if isinstance(listed, list) else []:
        lines = {str(name): list(map(float, chances)) for name, chances in each["lines"].items()}
        steps = list(map(float, range(len(next(iter(lines.values()))))))
        said = " · ".join(
            f"{name} {100 * chances[0]:.0f} → {100 * chances[-1]:.0f} %"
            for name, chances in lines.items()
        )
        svg = draw_line_chart(
            [Series(name, steps, chances) for name, chances in lines.items()],
            x_label=str(each["over"]), description=f"{each['title']}: {said}", low=0.0, high=1.0,
            percent=True, exact=True,
        )  # fmt: skip
        drawn.append(Drawn(str(each["title"]), "", svg, list(lines), said))
    return drawn
