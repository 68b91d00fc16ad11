"""The page of `fledge evaluate suite=… out=…`: figures with their intervals, a picture of the
calibration, some of the questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fledge.report.charts import Series, draw_line_chart
from fledge.report.page import Picture
from fledge.report.show_page import Page, ShowChapter, write_show_page

SHOWN = 12  # questions
LONGEST = 400  # characters of one


def write_suite_page(
    out: Path, base: str, figures: Mapping[str, Any], details: Sequence[Mapping[str, Any]]
) -> None:
    """Raises UserError for a page that cannot be written."""
    chapters = [_list_rules(figures)]
    if "calibration" in figures:
        chapters.append(_draw_calibration(figures["calibration"]))
    if "by_subject" in figures:
        chapters.append(_list_subjects(figures["by_subject"]))
    chapters.append(_show_questions(details))
    tiles = [
        ("right", f"{figures['accuracy']:.1%}"),
        ("at 95 %", f"{figures['low']:.1%} – {figures['high']:.1%}"),
        ("questions", f"{figures['questions']:,}"),
        ("shots", str(figures["shots"])),
    ]
    lead = f"{base} on {figures['questions']:,} questions of {figures['data']}."
    write_show_page(out, Page(figures["suite"], lead, tiles, chapters))


def _list_rules(figures: Mapping[str, Any]) -> ShowChapter:
    rows = [
        (name.replace("_at_", "@"), f"{value:.1%}", "counts" if name == figures["rule"] else "")
        for name, value in figures["by_rule"].items()
    ]
    text = "The same answers under every rule; the one that is reported counts."
    if "against" in figures:
        other = figures["against"]
        text += (
            f" Against {other['base']}: {100 * other['difference']:+.1f} points "
            f"({100 * other['low']:+.1f} to {100 * other['high']:+.1f} at 95 %), "
            f"p = {other['p']:.2g}, by the paired bootstrap."
        )
    needed = figures["needed"]
    text += (
        f" To see 2 points between two models takes {needed['independent']:,} questions to each"
        + (f", or {needed['paired']:,} that both answer" if "paired" in needed else "")
        + f"; these are {needed['asked']:,}."
    )
    if "read_before" in figures:
        read = figures["read_before"]
        text += f" {read['some']:,} of the questions stand in what the model was trained on."
    return ShowChapter("Right", text, heads=("rule", "right", ""), rows=rows)


def _draw_calibration(told: Mapping[str, Any]) -> ShowChapter:
    bins = told["bins"]
    sure = [each["confidence"] for each in bins]
    right = Series(
        "right", sure, [each["accuracy"] for each in bins],
        [each["low"] for each in bins], [each["high"] for each in bins],
    )  # fmt: skip
    said = Series("as sure as right", [0.0, 1.0], [0.0, 1.0])
    svg = draw_line_chart(
        [right, said], x_label="how sure", description="share right by confidence",
        low=0.0, high=1.0, percent=True,
    )  # fmt: skip
    picture = Picture(
        "right, by how sure the model is", "share", svg, ("right", "as sure as right")
    )
    rows = [
        (f"{b['confidence']:.1%}", f"{b['accuracy']:.1%}", f"{b['low']:.1%} – {b['high']:.1%}",
         f"{b['number']:,}")
        for b in bins
    ]  # fmt: skip
    text = (
        f"Expected calibration error {told['error']:.3f}, of which {told['by_chance']:.3f} would "
        f"come by chance of so few answers; Brier {told['brier']:.3f}; {told['nats']:.3f} nats."
    )
    heads = ("how sure", "right", "at 95 %", "answers")
    return ShowChapter("Calibration", text, [picture], heads, rows)


def _list_subjects(table: Mapping[str, Any]) -> ShowChapter:
    rows = [
        (name, f"{each['accuracy']:.1%}", f"{each['low']:.1%} – {each['high']:.1%}",
         f"{each['questions']:,}")
        for name, each in table.items()
    ]  # fmt: skip
    return ShowChapter(
        "By subject", "Each with its own interval.", heads=("subject", "right", "at 95 %", "of"),
        rows=rows,
    )  # fmt: skip


def _show_questions(details: Sequence[Mapping[str, Any]]) -> ShowChapter:
    rows: list[tuple[str, str, str]] = []
    for each in details[:SHOWN]:
        if "choices" in each:
            said, right = each["choices"][each["answer"]], each["answer"] == each["right"]
        else:
            said, right = each["said"][0], each["right"][0]
        rows.append((_cut(each["question"]), _cut(said), "right" if right else "wrong"))
    return ShowChapter("Questions", f"The first {len(rows)}.", heads=("question", "answer", ""),
                       rows=rows)  # fmt: skip


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
