"""The page of `fledge scale` on runs of reinforcement learning: reward over compute, the curve with
its interval, and what the first half said of the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fledge.evaluate.scaling.bootstrap import Interval
from fledge.evaluate.scaling.saturation import Saturation
from fledge.report.log_chart import Marks, draw_log_chart
from fledge.report.page import Picture
from fledge.report.scaling_page import write_interval, write_number
from fledge.report.show_page import Page, ShowChapter

_POINTS = 150  # that are drawn, each the mean of its neighbours
_NAMES = {"start": "start R0", "ceiling": "ceiling A", "middle": "middle C_mid", "power": "power B"}


@dataclass(frozen=True)
class RewardHeld:
    """law: of the first half. begin, end: compute of the rows that it foretold. reward: their
    mean.
    """

    law: Saturation
    begin: float
    end: float
    foretold: Interval
    reward: float

    @property
    def true(self) -> bool:
        return self.reward in self.foretold

    def describe(self) -> dict[str, Any]:
        each = self.foretold
        return {
            "begin": self.begin, "end": self.end, "foretold": [each.value, each.low, each.high],
            "reward": self.reward, "inside": self.true,
        }  # fmt: skip


def draw_reward_law(
    law: Saturation,
    unit: str,
    figure: str,
    rows: Sequence[tuple[str, Interval]],
    beyond: tuple[float, Interval],
    held: RewardHeld | None,
    facts: Sequence[tuple[str, str]],
) -> Page:
    """unit: of compute. beyond: so much of it, and the reward there."""
    share = f"{100 * law.share:.0f} %"
    most, there = beyond
    table = [(_NAMES[name], write_number(each.value), write_interval(each)) for name, each in rows]
    table.append((f"at {write_number(most)} {unit}", f"{there.value:.4g}", write_interval(there)))
    text = f"By least squares; {share} intervals of the profile likelihood."
    if not law.seen:
        text += " No ceiling is to be seen yet: the curve may rise on without end."
    chapters = [
        ShowChapter(
            "The curve", text, [_draw(law, most, "All rows", unit, figure)],
            ["", "fitted", f"{share} interval"], table,
            formula="R = R0 + (A − R0) / (1 + (C_mid / C)^B)",
        )
    ]  # fmt: skip
    if held is not None:
        verdict = "inside" if held.true else "outside"
        whisker = (held.end, held.foretold.low, held.foretold.high)
        came = Marks([(held.end, held.reward)], whiskers=[whisker], colour=2)
        chapters.append(
            ShowChapter(
                "Held against the end",
                "The curve of the first half of the compute foretells the mean of the last tenth.",
                [_draw(held.law, held.end, "The first half", unit, figure, came)],
                ["foretold", f"{share} interval", "came", ""],
                [(f"{held.foretold.value:.4f}", write_interval(held.foretold),
                  f"{held.reward:.4f}", verdict)],
            )
        )  # fmt: skip
    lead = f"How {figure} grows with {unit}, and where it would end."
    return Page("Reward over compute", lead, facts, chapters)


def _draw(
    law: Saturation, most: float, title: str, unit: str, figure: str, came: Marks | None = None
) -> Picture:
    """Rows, the curve up to `most`, and the interval of the mean around it."""
    order = np.argsort(law.compute, kind="stable")
    parts = np.array_split(order, min(_POINTS, len(order)))
    dots = [(float(law.compute[p].mean()), float(law.reward[p].mean())) for p in parts]
    places = np.geomspace(law.compute.min(), most, 60)
    bounds = [law.foretell(float(c)) for c in places]
    curve, low, high = (
        [(float(c), getattr(b, name)) for c, b in zip(places, bounds, strict=True)]
        for name in ("value", "low", "high")
    )
    marks = [Marks(dots, curve), Marks(curve=low, colour=2), Marks(curve=high, colour=2)]
    svg = draw_log_chart(
        [*marks, *([] if came is None else [came])], x_label=unit,
        description=f"{figure} over {unit}", log_y=False,
    )  # fmt: skip
    return Picture(title, figure, svg, ["fitted", f"{100 * law.share:.0f} % interval of the mean"])
