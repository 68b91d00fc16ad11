"""How well a learned world foretells the true one, as pictures: its error over the steps that are
looked ahead, and how often comes what it is sure of, where it says how sure it is.
"""

from __future__ import annotations

from typing import Any

from fledge.report.charts import Series, draw_line_chart
from fledge.report.drawn import Drawn


def draw_learned_world(summary: dict[str, Any]) -> list[Drawn]:
    """Nothing of a run that learned no world."""
    kept = summary.get("learned_world")
    if not isinstance(kept, dict) or not kept.get("steps"):
        return []
    steps = [float(step) for step in kept["steps"]]
    lines = {"the learned world": kept["error"], "nothing moves": kept["copied"]}
    said = " · ".join(
        f"{name} {error[0]:.2g} after 1 step, {error[-1]:.2g} after {len(steps)}"
        for name, error in lines.items()
    )
    caption = f"{said}; of {kept['asked']:,} steps in episodes that it did not learn from"
    drawn = [
        Drawn(
            "Error over the horizon",
            "spreads of what was seen",
            draw_line_chart(
                [Series(name, steps, error) for name, error in lines.items()],
                x_label="steps looked ahead",
                description=f"Error over the horizon: {said}",
                low=0.0,
            ),
            list(lines),
            caption,
        )
    ]
    if "level" not in kept:  # a world that says a mean alone
        return drawn
    level, within = kept["level"], kept["within"]
    said = " · ".join(
        f"{100 * share:.0f} % in the interval for {100 * p:.0f} %"
        for p, share in zip(level, within, strict=True)
        if p in (0.5, 0.9)
    )
    series = [Series("what comes", level, within), Series("as it says", level, level)]
    svg = draw_line_chart(
        series, x_label="how sure it is", description=f"Calibration: {said}", low=0.0, high=1.0,
        percent=True, exact=True,
    )  # fmt: skip
    drawn.append(Drawn("Calibration", "", svg, [one.name for one in series], said))
    return drawn
