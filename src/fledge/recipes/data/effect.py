"""`fledge data effect`: what a step of curation buys, in bits per byte: models trained with and
without it, seed by seed, on as many tokens, and judged on the same held-out documents.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import ConfigDict, Field

from fledge.curate.filtering import KEPT, Filters
from fledge.curate.passes import Copies, find_spans, judge_all, read_whole
from fledge.curate.spans import SPAN, cut_spans
from fledge.errors import UserError
from fledge.evaluate.intervals import RATIO_RESAMPLES, SHARE
from fledge.json_file import read_json
from fledge.loop import Interrupted
from fledge.recipes.course import Summary
from fledge.recipes.data.proxy import Measured, ProxyFields, train_proxy
from fledge.recipes.inputs import choose_files
from fledge.report.show_page import Page, ShowChapter, check_show_page, write_show_page
from fledge.runs.atomic import write_json
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.text.documents import Document, LongDocument, read_documents

Step = Literal["gopher", "c4", "fineweb", "exact", "near", "spans", "dedup"]
COPIES: dict[Step, Copies] = {"exact": "exact", "near": "near", "dedup": "near"}
Side = Literal["with", "without"]
SIDES: tuple[Side, Side] = ("without", "with")
HELD_OUT = 20  # one document in so many
FEWEST_HELD_OUT = 20


class DataEffectConfig(ProxyFields):
    """Train small models on a corpus with and without one step of curation, and say how many bits
    per byte of held-out documents it bought, with an interval over seeds and documents.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
    )

    data: str = Field(default="python", description="text, as `pretrain` takes it")
    step: Step = Field(
        default="near",
        description="gopher, c4, fineweb, exact, near, spans, or dedup: near and spans",
    )
    seeds: int = Field(default=3, ge=2, le=100, description="models on each side")
    out: Path | None = Field(
        default=None, description="run folder; by default the first free of runs/data-effect, …"
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="the first of the seeds")


def data_effect(config: DataEffectConfig, show: Show, run: Run | None = None) -> Summary:
    """A study that is continued repeats no finished model. Raises UserError for a step that changes
    nothing, and for a corpus of too few documents.
    """
    if run is not None:
        return measure_in(run, config, show)
    fields = config.model_dump(mode="json")
    with Run.create(
        config.out, "data effect", fields, seed=config.seed, data=[config.data],
        files_of=choose_files(fields),
    ) as made:  # fmt: skip
        try:
            return measure_in(made, config, show)
        except UserError:
            if not (made.folder / "sides.json").exists():
                for file in made.folder.glob("*.jsonl"):
                    file.unlink()
                made.take_back()
            raise


def measure_in(run: Run, config: DataEffectConfig, show: Show) -> Summary:
    page = run.folder / "report.html"
    check_show_page(page)
    sides = write_sides(run.folder, config)
    show.line(
        f"data effect: {config.step} changes {sides['without'] - sides['with']:,} of "
        f"{sides['without']:,} bytes; {sides['held']:,} documents are held out of both sides"
    )
    bits: dict[Side, list[list[float]]] = {side: [] for side in SIDES}
    size: list[int] = []
    try:
        for seed in range(config.seed, config.seed + config.seeds):
            for side in SIDES:
                each, size = train_and_judge(run, config, side, seed, show)
                bits[side].append(each)
    except Interrupted as stopped:
        raise stopped.of(str(run.folder)) from None
    told = compare_sides(np.array(bits["without"]), np.array(bits["with"]), np.array(size))
    better = "better" if told["high"] < 0 else "worse" if told["low"] > 0 else "no different"
    verdict = (
        f"{config.step}: {told['difference']:+.4f} bits per byte (95 %: {told['low']:+.4f} to "
        f"{told['high']:+.4f}), {better}; {told['without']:.4f} without, {told['with']:.4f} with"
    )
    show.line(f"data effect: {verdict}")
    rows = [(side, f"{told[side]:.4f}", f"{sides[side]:,}") for side in SIDES]
    chapter = ShowChapter("What the step is worth", f"{verdict}.",
                          heads=["", "bits per byte", "bytes trained on"], rows=rows)  # fmt: skip
    facts = [("seeds", str(config.seeds)), ("held-out documents", f"{sides['held']:,}")]
    write_show_page(page, Page(f"The effect of {config.step}", "", facts, [chapter]))
    show.line(f"The page: {page}")
    summary = {
        "verb": "data effect", "run": str(run.folder), "steps": config.steps,
        "seconds": run.seconds, "step": config.step, "bytes": sides, **told,
    }  # fmt: skip
    run.finish(summary)
    return summary


def read(config: DataEffectConfig) -> Iterator[Document | LongDocument]:
    return read_documents(config.data, hidden=config.hidden, links=config.links)


def write_sides(folder: Path, config: DataEffectConfig) -> dict[str, int]:
    """with.jsonl, without.jsonl and held.jsonl, once: bytes of the first two, documents of the
    third. Held out are documents that the step leaves as they are, and copies of them go, too.
    """
    path = folder / "sides.json"
    if path.exists():
        return read_json(path, dict[str, int])
    rules = [config.step] if config.step in ("gopher", "c4", "fineweb") else []
    copies: Copies = COPIES.get(config.step, "none")
    filters = Filters(rules=rules)
    quiet = lambda _: None  # noqa: E731
    verdicts = judge_all(read(config), filters, copies, quiet)
    spans: dict[int, list[int]] = {}
    shared = set[int]()  # whose passages stand again in others, which only one side keeps whole
    if config.step in ("spans", "dedup"):
        numbers, words, copied = find_spans(read(config), filters, verdicts, folder, SPAN, quiet)
        shared = set(copied.tolist())
        for number, word in zip(numbers.tolist(), words.tolist(), strict=True):
            spans.setdefault(number, []).append(word)
    held = set[int]()
    counts = {"with": 0, "without": 0, "held": 0}
    names = ("with", "without", "held")
    files = {name: (folder / f"{name}.jsonl.part").open("w", encoding="utf-8") for name in names}
    for number, document in enumerate(read(config)):
        text = read_whole(document)
        kept = verdicts.step(number) == KEPT
        first = int(verdicts.copy_of[number])
        digest = int.from_bytes(hashlib.sha256(text.encode("utf-8", "replace")).digest()[:8], "big")
        if first in held:
            continue
        if kept and number not in spans and number not in shared and digest % HELD_OUT == 0:
            held.add(number)
            write_row(files["held"], text)
            counts["held"] += 1
            continue
        counts["without"] += write_row(files["without"], text)
        if kept:
            counts["with"] += write_row(files["with"], cut_spans(text, spans.get(number, []))[0])
    for name, file in files.items():
        file.close()
        os.replace(folder / f"{name}.jsonl.part", folder / f"{name}.jsonl")
    check_sides(config, counts)
    write_json(path, counts)
    return counts


def write_row(file: Any, text: str) -> int:
    """Its bytes."""
    if not text.strip():
        return 0
    file.write(json.dumps({"text": text}) + "\n")
    return len(text.encode("utf-8", "replace"))


def check_sides(config: DataEffectConfig, counts: dict[str, int]) -> None:
    """Raises UserError."""
    if counts["with"] == counts["without"]:
        raise UserError(
            f"step={config.step} changes nothing of {config.data}: there is no effect to measure."
        )
    if not counts["with"]:
        raise UserError(f"step={config.step} leaves nothing of {config.data}: choose another.")
    if counts["held"] < FEWEST_HELD_OUT:
        raise UserError(
            f"{config.data} leaves {counts['held']} documents to hold out, one in {HELD_OUT}, and "
            f"{FEWEST_HELD_OUT} are wanted: give more documents."
        )


def train_and_judge(
    run: Run, config: DataEffectConfig, side: Side, seed: int, show: Show
) -> Measured:
    """Bits and bytes of each held-out document, by a model of this side."""
    name, data = f"{side}-{seed}", str(run.folder / f"{side}.jsonl")
    [judged] = train_proxy(run, config, name, data, [run.folder / "held.jsonl"], seed, show)
    return judged


def compare_sides(
    without: np.ndarray, with_step: np.ndarray, size: np.ndarray, seed: int = 0
) -> dict[str, float]:
    """Bits per byte of each side, and with − without. The interval: documents drawn with
    replacement, the same ones for both sides, and the luck of a few seeds by Student's t: three
    seeds drawn with replacement vary too little, and their 95 % hold 75 to 85 times in 100.
    [seeds, documents], [seeds, documents], [documents]
    """
    gap, random = with_step - without, np.random.default_rng(seed)
    (seeds, documents), whole = gap.shape, float(size.sum())
    columns = random.multinomial(documents, np.full(documents, 1 / documents), size=RATIO_RESAMPLES)
    drawn = (columns @ gap.mean(0)) / (columns @ size)
    luck = (gap.sum(1) / whole).std(ddof=1) / np.sqrt(seeds)
    drawn = drawn + luck * random.standard_t(seeds - 1, size=RATIO_RESAMPLES)
    low, high = np.quantile(drawn, [(1 - SHARE) / 2, (1 + SHARE) / 2])
    return {
        "without": float(without.mean(0).sum() / whole),
        "with": float(with_step.mean(0).sum() / whole),
        "difference": float(gap.mean(0).sum() / whole),
        "low": float(low),
        "high": float(high),
    }
