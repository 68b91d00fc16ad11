"""How much each estimator of a gradient varies, as one picture over a run's steps."""

from __future__ import annotations

import math
from typing import Any

from fledge.report.charts import Series, draw_line_chart
from fledge.report.drawn import Drawn


def draw_gradient_variances(summary: dict[str, Any]) -> list[Drawn]:
    """A line an estimator, log₁₀ of its variance; nothing of a run that measured none."""
    kept = summary.get("gradient_variances")
    if not isinstance(kept, dict) or not kept.get("step"):
        return []
    step = [math.log2(1 + n) for n in kept["step"]]
    series = [
        Series(name, step, [math.log10(max(value, 1e-300)) for value in values])
        for name, values in kept.items()
        if name not in ("step", "samples") and len(values) == len(step)
    ]
    said = " · ".join(f"{one.name} {10 ** one.y[0]:.2g} → {10 ** one.y[-1]:.2g}" for one in series)
    title = f"Variance of a gradient of {kept['samples']} samples"
    svg = draw_line_chart(series, x_label="log₂ (step + 1)", description=f"{title}: {said}")
    return [Drawn(title, "log₁₀", svg, [one.name for one in series], said)]
