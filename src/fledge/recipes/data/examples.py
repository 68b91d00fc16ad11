"""Examples of what a cleaning kept and dropped, drawn evenly out of its files, and the page that
shows them.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from fledge.curate.filtering import KEPT
from fledge.report.figures import format_size
from fledge.report.show_page import Page, ShowChapter
from fledge.text.files import json_rows

SHOWN = 4  # examples of each step
CHARACTERS = 400  # of an example


def draw_examples(path: Path, number: int, seed: int) -> dict[str, list[dict[str, Any]]]:
    """`number` rows of each step, every row as likely (reservoir sampling, Vitter 1985)."""
    drawn: dict[str, list[dict[str, Any]]] = {}
    times: dict[str, int] = {}
    lot = random.Random(seed)
    for _, row in json_rows(path):
        step = str(row.get("dropped_by", KEPT))
        rows = drawn.setdefault(step, [])
        times[step] = times.get(step, 0) + 1
        short = {**row, "text": row["text"][:CHARACTERS] + "…" * (len(row["text"]) > CHARACTERS)}
        if len(rows) < number:
            rows.append(short)
        elif (at := lot.randrange(times[step])) < number:
            rows[at] = short
    return drawn


def draw_page(folder: Path, summary: dict[str, Any], seed: int, number: int = SHOWN) -> Page:
    """summary: what `data clean` came to."""
    documents, size = summary["documents"], summary["bytes"]
    whole, every = max(1, sum(size.values())), sum(documents.values())
    tiles = [
        ("documents", f"{every:,}"),
        ("kept", f"{documents[KEPT]:,}"),
        ("of the text", f"{size[KEPT] / whole:.1%}"),
        ("cut as repeated", f"{summary['cut_characters']:,} characters"),
    ]
    order = sorted(documents, key=lambda step: (step != KEPT, -documents[step]))
    rows = [
        (step, f"{documents[step]:,}", f"{documents[step] / every:.1%}", format_size(size[step]))
        for step in order
    ]
    chapters = [ShowChapter("What became of the documents", "",
                            heads=["", "documents", "share", "text"], rows=rows)]  # fmt: skip
    if summary["hidden"]:
        hidden = [(kind, f"{times:,}") for kind, times in sorted(summary["hidden"].items())]
        text = "Each is replaced by the name of its kind."
        chapters.append(
            ShowChapter("Personal data and secrets", text, heads=["kind", "times"], rows=hidden)
        )
    examples = {
        **draw_examples(folder / "kept.jsonl", number, seed),
        **draw_examples(folder / "dropped.jsonl", number, seed),
    }
    for step in order:
        shown = [
            (row["text"], row.get("reason") or row["kept"], row["source"])
            for row in examples.get(step, [])
        ]
        title = "Kept" if step == KEPT else f"Dropped by {step}"
        chapters.append(ShowChapter(title, "", heads=["text", "why", "source"], rows=shown))
    lead = (
        f"{documents[KEPT]:,} of {every:,} documents are kept; the rest is here with its reasons."
    )
    return Page("What a model should learn from", lead, tiles, chapters)
