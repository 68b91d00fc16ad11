"""`fledge data clean`: a corpus in, the documents worth learning from out, each with why it was
kept or dropped.

Three readings, each a stage that is not repeated when the run goes on: documents one by one and as
copies; passages that stood before; then everything is written. Before them one more where a share
of the best documents is wanted: which quality that is.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from fledge.curate.filtering import KEPT, Filters
from fledge.curate.passes import (
    EXACT,
    NEAR,
    Verdicts,
    find_least_quality,
    find_spans,
    judge_all,
    read_whole,
)
from fledge.curate.spans import cut_spans
from fledge.errors import UserError
from fledge.json_file import read_json
from fledge.next_command import write_command
from fledge.recipes.course import Summary
from fledge.recipes.data.clean_fields import DataCleanConfig
from fledge.recipes.data.examples import draw_page
from fledge.recipes.inputs import choose_files
from fledge.report.figures import format_size
from fledge.report.show_page import check_show_page, write_show_page
from fledge.runs.atomic import write_json
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.text.documents import Document, LongDocument, read_documents
from fledge.text.folders import Passed

TELL_EVERY = 20_000  # documents
CERTAIN = (KEPT, EXACT, NEAR)  # whose reason no filter has to be asked for again


def data_clean(config: DataCleanConfig, show: Show, run: Run | None = None) -> Summary:
    """Raises UserError for text that cannot be read, and where nothing is kept."""
    if run is not None:
        return clean_in(run, config, show)
    config.check()
    against = [] if config.against is None else [config.against]
    parents = [parent for parent in (config.model, config.quality) if parent is not None]
    against += [] if config.profiles is None else [str(config.profiles)]
    fields = config.model_dump(mode="json")
    with Run.create(
        config.out, "data clean", fields, seed=config.seed, parents=parents,
        data=[config.data, *against], files_of=choose_files(fields),
    ) as made:  # fmt: skip
        try:
            return clean_in(made, config, show)
        except UserError:
            if not (made.folder / "verdicts.npz").exists():
                made.take_back()
            raise


def clean_in(run: Run, config: DataCleanConfig, show: Show) -> Summary:
    """The stages that are not done yet, and what they came to."""
    page = run.folder / "report.html"
    check_show_page(page)
    filters = choose_least(run.folder / "quality.json", config, config.choose_filters(), show)
    verdicts = judge_or_read(run.folder / "verdicts.npz", config, filters, show)
    spans = find_or_read_spans(run.folder / "spans.npz", config, filters, verdicts, show)
    counts = write_all(run.folder, config, filters, verdicts, spans, show)
    show.print(draw_table(counts))
    summary = {
        "verb": "data clean",
        "run": str(run.folder),
        "steps": len(verdicts),
        "seconds": run.seconds,
        **counts,
    }
    write_show_page(page, draw_page(run.folder, summary, config.seed))
    run.finish(summary)
    kept = run.folder / "kept.jsonl"
    show.line(f"The page: {page}")
    if not counts["documents"]["kept"]:  # the run is whole: what it says is why
        raise UserError(
            f"nothing of the {len(verdicts):,} documents of {config.data} is kept: "
            f"{run.folder / 'dropped.jsonl'} and the page say why. Choose fewer rules."
        )
    show.line(f"Next: {write_command('pretrain', data=kept)}")
    return summary


def choose_least(path: Path, config: DataCleanConfig, filters: Filters, show: Show) -> Filters:
    """The stage before the first, for a share of the documents."""
    if config.quality_share is None:
        return filters
    if not path.exists():
        tell = make_teller("measured", show)
        least = find_least_quality(read(config), filters, config.quality_share, tell)
        write_json(path, {"least_quality": least})
    least = read_json(path, dict[str, float])["least_quality"]
    show.line(f"The best {config.quality_share:.3g} of the documents have a quality of {least:.3g}")
    return replace(filters, least_quality=least)


def read(
    config: DataCleanConfig, passed: Passed | None = None
) -> Iterator[Document | LongDocument]:
    return read_documents(config.data, hidden=config.hidden, links=config.links, passed=passed)


def judge_or_read(path: Path, config: DataCleanConfig, filters: Filters, show: Show) -> Verdicts:
    """The first stage."""
    if path.exists():
        return Verdicts.load(path)
    passed = Passed()
    verdicts = judge_all(read(config, passed), filters, config.copies, make_teller("judged", show))
    if str(passed):
        show.line(str(passed))
    beside = path.with_suffix(".part")
    verdicts.save(beside)
    os.replace(beside, path)
    return verdicts


def find_or_read_spans(
    path: Path, config: DataCleanConfig, filters: Filters, verdicts: Verdicts, show: Show
) -> tuple[np.ndarray, np.ndarray]:
    """The second stage: document and word of each run that stood before.  [R], [R]"""
    if not config.spans:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    if not path.exists():
        numbers, words, _ = find_spans(
            read(config), filters, verdicts, path.parent, config.spans,
            make_teller("searched for passages", show),
        )  # fmt: skip
        beside = path.with_suffix(".part")
        with beside.open("wb") as file:
            np.savez(file, numbers=numbers, words=words)
        os.replace(beside, path)
    with np.load(path, allow_pickle=False) as kept:
        return kept["numbers"], kept["words"]


def write_all(
    folder: Path, config: DataCleanConfig, filters: Filters, verdicts: Verdicts,
    spans: tuple[np.ndarray, np.ndarray], show: Show,
) -> dict[str, Any]:  # fmt: skip
    """The third stage: kept.jsonl and dropped.jsonl, and how much is in them."""
    numbers, words = spans
    borders = np.searchsorted(numbers, np.arange(len(verdicts) + 1))
    documents, size = Counter[str](kept=0), Counter[str](kept=0, cut=0)
    hidden = Counter[str]()
    tell = make_teller("written", show)
    sources: dict[int, str] = {}
    firsts = set(verdicts.copy_of[verdicts.copy_of != np.arange(len(verdicts))].tolist())
    names = ("kept.jsonl", "dropped.jsonl")
    with ExitStack() as files:
        kept, dropped = (
            files.enter_context((folder / f"{name}.part").open("w", encoding="utf-8"))
            for name in names
        )
        for number, document in enumerate(read(config)):
            tell(number)
            text, step = read_whole(document), verdicts.step(number)
            if number in firsts:
                sources[number] = document.source
            judged = filters.keep(text) if step in CERTAIN else filters.judge(text)
            row: dict[str, Any] = {"text": judged.text, "source": document.source}
            cut = 0
            if step == KEPT:
                own = words[borders[number] : borders[number + 1]]
                if len(own):
                    row["text"], cut = cut_spans(judged.text, own.tolist(), config.spans)
                if not row["text"].strip():
                    step = "spans"
            size[step] += len(text.encode())
            documents[step] += 1
            if step == KEPT:
                hidden += judged.hidden
                size["cut"] += cut
                row |= (told := filters.describe(text))
                row["kept"] = describe_kept(config, cut, judged.hidden, told)
                kept.write(json.dumps(row, ensure_ascii=False) + "\n")
            else:
                row["text"] = text
                first = sources.get(int(verdicts.copy_of[number]), "")
                row |= {"dropped_by": step, "reason": judged.reason or explain(step, first)}
                dropped.write(json.dumps(row, ensure_ascii=False) + "\n")
    for name in names:
        os.replace(folder / f"{name}.part", folder / name)
    return {
        "documents": dict(documents), "bytes": {k: n for k, n in size.items() if k != "cut"},
        "cut_characters": size["cut"], "hidden": dict(hidden),
    }  # fmt: skip


def describe_kept(
    config: DataCleanConfig, cut: int, hidden: Counter[str], told: dict[str, Any]
) -> str:
    """Why a document is there, and what was done to it. told: its language, its quality."""
    steps = [
        *config.list_rules(),
        *([] if config.copies == "none" else [f"{config.copies} copies"]),
    ]
    steps += [name for name in ("language", "against", "model", "quality") if getattr(config, name)]
    parts = [f"passed {', '.join(steps)}" if steps else "nothing was asked"]
    parts += [f"{name} {f'{value:.3g}' if name == 'quality' else value}"
              for name, value in told.items()]  # fmt: skip
    if cut:
        parts.append(f"{cut:,} characters cut that stood before")
    parts += [f"{number} {kind} replaced" for kind, number in sorted(hidden.items())]
    return "; ".join(parts)


def explain(step: str, first: str) -> str:
    return {
        "exact": f"a copy of {first}", "near": f"nearly a copy of {first}",
        "spans": "all of it stands in documents before",
    }[step]  # fmt: skip


def make_teller(what: str, show: Show) -> Any:
    """Says now and then how far it is: a stage may take hours."""

    def tell(number: int) -> None:
        if number and number % TELL_EVERY == 0:
            show.line(f"{number:,} documents {what}")

    return tell


def draw_table(counts: dict[str, Any]) -> Table:
    """What each filter dropped, the largest first."""
    table = Table(box=None, pad_edge=False)
    for column in ("", "documents", "share", "text"):
        table.add_column(column, justify="right" if column else "left")
    number = max(1, sum(counts["documents"].values()))
    rows = sorted(counts["documents"].items(), key=lambda row: (row[0] != KEPT, -row[1]))
    for step, times in rows:
        table.add_row(
            step if step == KEPT else f"dropped by {step}", f"{times:,}", f"{times / number:.1%}",
            format_size(counts["bytes"].get(step, 0)),
        )  # fmt: skip
    return table
