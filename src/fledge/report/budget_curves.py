"""How right a classifier is over the labels that were asked for, by each way of choosing them."""

from __future__ import annotations

from typing import Any

from fledge.report.charts import Series, draw_line_chart
from fledge.report.drawn import Drawn

AT_A_TIME = 3  # ways beside random in one picture; with intervals more cannot be told apart


def draw_budget_curves(summary: dict[str, Any]) -> list[Drawn]:
    """Nothing of a run that asked for no labels."""
    kept = summary.get("budget_curves")
    if not isinstance(kept, dict) or not kept:
        return []
    series = [
        Series(str(name), each["x"], each["y"], each["low"], each["high"])
        for name, each in kept.items()
    ]
    drawn, unit = [], "of what is held out, means over seeds with 95 % intervals"
    for first in range(1, max(2, len(series)), AT_A_TIME):
        shown = [series[0], *series[first : first + AT_A_TIME]]
        said = " · ".join(f"{one.name} {100 * one.y[-1]:.1f}\u00a0%" for one in shown)
        svg = draw_line_chart(
            shown, x_label="labels", description=f"Accuracy over labels: {said}", percent=True,
            exact=True,
        )  # fmt: skip
        drawn.append(Drawn("Accuracy over labels", unit, svg, [one.name for one in shown], said))
    return drawn
