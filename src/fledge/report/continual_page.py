"""The page of `fledge continual`: of each method, every task after every task, as a picture and a
table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fledge.report.charts import Series, draw_line_chart
from fledge.report.page import Picture
from fledge.report.show_page import Page, ShowChapter

_SHOWN = 5  # tasks that have a line of their own


def draw_continual(
    after: Mapping[str, np.ndarray],
    tasks: Sequence[str],
    figure: str,
    rows: Sequence[Mapping[str, Any]],
    facts: Sequence[tuple[str, str]],
) -> Page:
    """after: of each method [seeds, tasks, tasks], row by row what was known after each task; NaN
    for tasks to come. rows: what each method came to.
    """
    table = [
        (
            row["method"], f"{row['mean']:.3f}", f"{row['low']:.3f} to {row['high']:.3f}",
            f"{row['forgotten']:.3f}", f"{row['newest']:.3f}",
        )
        for row in rows
    ]  # fmt: skip
    heads = ["method", f"mean {figure}", "95 % over seeds", "forgotten", "newest task"]
    text = (
        "After the last task, over all tasks. Forgotten: how much worse the earlier ones are than "
        "when they had just been learned."
    )
    pictures = [draw_method(method, of, tasks, figure) for method, of in after.items()]
    best = min(rows, key=lambda row: row["forgotten"])["method"]
    chapters = [
        ShowChapter("What is left", text, heads=heads, rows=table),
        ShowChapter("Task by task", "Each task after each task, the mean over seeds.", pictures),
    ]
    return Page(
        "Learning in turn", f"Of {len(rows)} methods {best} forgets least.", facts, chapters
    )


def draw_method(method: str, after: np.ndarray, tasks: Sequence[str], figure: str) -> Picture:
    """A line for each task, from where it is learned on."""
    mean = after.mean(0)
    series = [
        Series(name, [float(at + 1) for at in range(number, len(tasks))],
               [float(v) for v in mean[number:, number]])
        for number, name in enumerate(tasks[:_SHOWN])
    ]  # fmt: skip
    svg = draw_line_chart(
        series, x_label="tasks learned", description=f"{method}: {figure} of each task",
        low=0.0 if figure == "accuracy" else None, high=1.0 if figure == "accuracy" else None,
    )  # fmt: skip
    return Picture(method, figure, svg, [series.name for series in series])
