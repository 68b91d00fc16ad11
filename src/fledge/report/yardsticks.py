"""What was learned beside what needs no learning, as bars: features beside pixels and beside the
same network untrained, plans beside random moves.
"""

from __future__ import annotations

from typing import Any

from fledge.report.bars import Bar, draw_bars
from fledge.report.drawn import Drawn

WAYS = {"probe_accuracy": "A linear probe", "neighbour_accuracy": "The vote of neighbours"}


def draw_yardsticks(summary: dict[str, Any]) -> list[Drawn]:
    """A picture a way of reading labels off; nothing of a run that measured no yardsticks."""
    measured = summary.get("yardsticks")
    if not isinstance(measured, dict):
        return []
    every = {"learned": summary.get("test") or {}, **measured}
    drawn: list[Drawn] = []
    for way, title in WAYS.items():
        shares = {name: each[way] for name, each in every.items() if way in each}
        said = " · ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items())
        bars = [Bar(name, share) for name, share in shares.items()]
        svg = draw_bars(bars, description=f"{title}: {said}")
        caption = f"held-out pictures whose label is read right off their features: {said}"
        drawn.append(Drawn(title, "", svg, [], caption))
    return drawn


def draw_plans(summary: dict[str, Any]) -> list[Drawn]:
    """How often a goal was reached; nothing of a run that planned nothing."""
    reached = summary.get("planned")
    if not isinstance(reached, dict):
        return []
    shares = {
        "planned": reached["planned"],
        "random moves": reached["random"],
    }
    said = " · ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items())
    bars = [Bar(name, share) for name, share in shares.items()]
    svg = draw_bars(bars, description=f"Goals reached: {said}")
    return [
        Drawn("Goals reached", "", svg, [], f"in new mazes, planned over imagined frames: {said}")
    ]
