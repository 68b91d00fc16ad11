"""How good a run's samples of pictures are, as a table: what was drawn beside real pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fledge.report.figures import is_number

# name in the summary: what it is in words, what is good, how it is written
_MEASURES = {
    "pictures": ("pictures", "", "{:,.0f}"),
    "frechet": ("Fréchet distance", "0 is best; few pictures make it larger", "{:.3g}"),
    "frechet_as_few": ("Fréchet distance, of as few as held-out ones", "", "{:.3g}"),
    "precision": ("precision", "drawn pictures that look real", "{:.1%}"),
    "recall": ("recall", "real pictures that could have been drawn", "{:.1%}"),
    "told_apart": ("told from real ones by a classifier", "50 % is chance", "{:.1%}"),
    "chance_high": ("chance reaches, once in 40 tests", "", "{:.1%}"),
    "nearest_ratio": (
        "distance to the nearest training picture, over that of held-out ones",
        "1 is best; 0 are copies", "{:.2f}",
    ),
    "labels_drawn": ("labels that come up", "fewer than there are: a collapse", "{:.0f}"),
    "read_right": ("read as the label that was asked for", "", "{:.1%}"),
}  # fmt: skip


@dataclass(frozen=True)
class QualityTable:
    """rows: measure, what is good, of what was drawn, of held-out pictures in its place."""

    encoder: str
    rows: list[tuple[str, str, str, str]]


def read_quality(summary: dict[str, Any]) -> QualityTable | None:
    """None of a run whose samples were not judged."""
    quality = summary.get("quality")
    if not isinstance(quality, dict):
        return None
    drawn, real = (quality.get(side) or {} for side in ("drawn", "held_out"))
    rows = []
    for name, (words, good, form) in _MEASURES.items():
        if is_number(drawn.get(name)):
            beside = form.format(real[name]) if is_number(real.get(name)) else ""
            rows.append((words, good, form.format(drawn[name]), beside))
    return QualityTable(str(quality.get("encoder", "")), rows) if rows else None
