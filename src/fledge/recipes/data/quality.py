"""`fledge data quality`: a classifier of good text and plain text, learned from two sets of files,
judged on what was held out, for `fledge data clean quality=`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ConfigDict, Field

from fledge.curate.quality import QualityModel, squash
from fledge.errors import UserError
from fledge.evaluate.calibration import Calibration, measure_calibration
from fledge.next_command import write_command
from fledge.recipes.course import Summary
from fledge.recipes.inputs import choose_files
from fledge.recipes.language.text_data import TextFields
from fledge.report.show_page import Page, ShowChapter, check_show_page, write_show_page
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.splits import SPLITS, Split
from fledge.text.corpus import Corpus
from fledge.text.documents import AnyDocument

PIECE = 4000  # characters: a longer document is learned from in pieces
SHORTEST = 200  # characters of the last piece of a longer document
TOGETHER = 16  # pieces a step
FEWEST = 10  # pieces of each kind in validation and in test, or nothing could be said
TOLD_WORDS = 15
KINDS = ("plain", "good")


class DataQualityConfig(TextFields):
    """Learn from two sets of files which text is good: a classifier of hashed words and pairs of
    words, whose probability `fledge data clean quality=` keeps documents by.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    good: str = Field(description="text as you want more of it: files, folders, patterns")
    plain: str = Field(description="text as it comes, such as a sample of what is to be cleaned")
    epochs: int = Field(default=5, ge=1, le=1000, description="times that each piece is learned")
    out: Path | None = Field(
        default=None, description="run folder; by default the first free of runs/data-quality, …"
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="of what is told as chance")


@dataclass
class Judged:
    """Of one split: logits of the pieces, which are good ones, and how often a word is in them."""

    logits: list[float] = field(default_factory=list)
    good: list[bool] = field(default_factory=list)
    words: Counter[str] = field(default_factory=Counter)


def data_quality(config: DataQualityConfig, show: Show, run: Run | None = None) -> Summary:
    """A run that is continued begins again: it takes minutes. Raises UserError for text that
    cannot be read, and for too little of it.
    """
    if run is not None:
        return learn_in(run, config, show)
    if config.good == config.plain:
        raise UserError(f"good= and plain= are both {config.good}: give two sets of files.")
    fields = config.model_dump(mode="json")
    with Run.create(
        config.out, "data quality", fields, seed=config.seed, data=[config.good, config.plain],
        files_of=choose_files(fields),
    ) as made:  # fmt: skip
        try:
            return learn_in(made, config, show)
        except UserError:
            made.take_back()
            raise


def learn_in(run: Run, config: DataQualityConfig, show: Show) -> Summary:
    """The model, how it was judged, its page and the summary."""
    page = run.folder / "report.html"
    check_show_page(page)
    sides = [config.read(config.plain, show.line), config.read(config.good, show.line)]
    numbers: dict[Split, list[int]] = {split: count_pieces(sides, split) for split in SPLITS}
    check_numbers(config, numbers)
    model = QualityModel()
    for _ in range(config.epochs):
        learn_once(model, sides, numbers["train"])
    judged = judge(model, sides, "validation")
    model.mend(np.array(judged.logits), np.array(judged.good))
    test = judge(model, sides, "test")
    told = measure(model, test, config.seed)
    words = list_words(model, judged.words + test.words)
    model.save(run.folder)
    verdict = (
        f"of {told['pieces']:,} held-out pieces, half of them good, {told['accuracy']:.1%} are "
        f"told rightly; its probabilities are {told['calibration_error']:.1%} from what happened "
        f"({told['by_chance']:.1%} by chance)"
    )
    show.line(f"data quality: {verdict}")
    for kind in KINDS:
        show.line(f"words of {kind} text: {', '.join(words[kind][:8])}")
    write_show_page(page, draw_page(config, told, numbers, words, verdict))
    show.line(f"The page: {page}")
    summary = {
        "verb": "data quality", "run": str(run.folder), "seconds": run.seconds,
        "steps": config.epochs * sum(numbers["train"]),
        **{key: value for key, value in told.items() if key != "bins"}, "words": words,
    }  # fmt: skip
    run.finish(summary)
    command = write_command("data clean", config.plain, quality=run.folder, quality_share=0.3)
    show.line(f"Next: {command}")
    return summary


def cut_pieces(document: AnyDocument) -> Iterator[str]:
    """Of at most `PIECE` characters."""
    whole = True
    for chunk in document.chunks():
        for begin in range(0, len(chunk), PIECE):
            piece = chunk[begin : begin + PIECE]
            if whole or len(piece) >= SHORTEST:
                yield piece
            whole = False


def read_pieces(side: Corpus, split: Split) -> Iterator[str]:
    return (piece for _, document in side.split(split) for piece in cut_pieces(document))


def count_pieces(sides: list[Corpus], split: Split) -> list[int]:
    return [sum(1 for _ in read_pieces(side, split)) for side in sides]


def check_numbers(config: DataQualityConfig, numbers: dict[Split, list[int]]) -> None:
    """Raises UserError."""
    for kind, number in zip(KINDS, numbers["train"], strict=True):
        if not number:
            raise UserError(
                f"{kind}={getattr(config, kind)} leaves nothing to learn from, all of it is held "
                "out: give more documents."
            )
    for split in ("validation", "test"):
        for kind, number in zip(KINDS, numbers[split], strict=True):
            if number < FEWEST:
                raise UserError(
                    f"{kind}={getattr(config, kind)} leaves {number} pieces of text for {split}, "
                    f"one in twenty, and {FEWEST} are wanted: give more text, some "
                    f"{20 * FEWEST * PIECE / 1e6:.1f} MB or {20 * FEWEST} short documents."
                )


def learn_once(model: QualityModel, sides: list[Corpus], numbers: list[int]) -> None:
    """Every piece once, the two kinds mixed so that both end together; both kinds count alike."""
    weights = [sum(numbers) / (2 * number) for number in numbers]
    readers, given = [read_pieces(side, "train") for side in sides], [0, 0]
    texts: list[str] = []
    kinds: list[bool] = []
    for _ in range(sum(numbers)):
        kind = min((0, 1), key=lambda kind: (given[kind] + 0.5) / numbers[kind])
        given[kind] += 1
        texts.append(next(readers[kind]))
        kinds.append(bool(kind))
        if len(texts) == TOGETHER:
            model.learn(texts, kinds, [weights[kind] for kind in kinds])
            texts, kinds = [], []
    if texts:
        model.learn(texts, kinds, [weights[kind] for kind in kinds])


def judge(model: QualityModel, sides: list[Corpus], split: Split) -> Judged:
    judged = Judged()
    for kind, side in enumerate(sides):
        for piece in read_pieces(side, split):
            judged.logits.append(float(model.measure([piece])[0]))
            judged.good.append(bool(kind))
            judged.words.update(set(piece.lower().split()))
    return judged


def measure(model: QualityModel, test: Judged, seed: int) -> dict[str, Any]:
    """Accuracy and calibration on as many good as plain pieces, drawn of those there are."""
    good = np.array(test.good)
    lot = np.random.default_rng(seed)
    each = [np.flatnonzero(good == kind) for kind in (False, True)]
    number = min(map(len, each))
    chosen = np.sort(np.concatenate([lot.permutation(side)[:number] for side in each]))
    probability = squash(model.slope * np.array(test.logits)[chosen] + model.shift)
    rows = np.stack([1 - probability, probability], axis=1)
    told: Calibration = measure_calibration(rows.tolist(), good[chosen].astype(int).tolist())
    return {
        "pieces": 2 * number, "accuracy": told.accuracy, "calibration_error": told.error,
        "by_chance": told.by_chance, "brier": told.brier, "nats": told.nats,
        "bins": [(one.number, one.confidence, one.accuracy, one.low, one.high)
                 for one in told.bins],
    }  # fmt: skip


def list_words(model: QualityModel, words: Counter[str], often: int = 5) -> dict[str, list[str]]:
    """Those of the largest weight, of the words that stand in some held-out pieces."""
    usual = [word for word, times in words.items() if times >= often and word.isalpha()]
    order = np.argsort(model.measure(usual), kind="stable") if usual else []
    ranked = [usual[place] for place in order]
    return {"plain": ranked[:TOLD_WORDS], "good": ranked[::-1][:TOLD_WORDS]}


def draw_page(
    config: DataQualityConfig, told: dict[str, Any], numbers: dict[Split, list[int]],
    words: dict[str, list[str]], verdict: str,
) -> Page:  # fmt: skip
    tiles = [("told rightly", f"{told['accuracy']:.1%}"),
             ("calibration error", f"{told['calibration_error']:.1%}"),
             ("by chance", f"{told['by_chance']:.1%}")]  # fmt: skip
    bins = [
        (f"{number:,}", f"{confidence:.1%}", f"{accuracy:.1%}", f"{low:.1%} to {high:.1%}")
        for number, confidence, accuracy, low, high in told["bins"]
    ]
    data = [
        (kind, getattr(config, kind), *(f"{numbers[split][at]:,}" for split in numbers))
        for at, kind in enumerate(KINDS)
    ]
    chapters = [
        ShowChapter("As sure as it is right", "Pieces by how sure the model is of its verdict.",
                    heads=["pieces", "how sure", "right", "95 %"], rows=bins),
        ShowChapter("What it goes by", "Words whose weights are the largest.",
                    heads=list(KINDS[::-1]),
                    rows=list(zip(words["good"], words["plain"], strict=True))),
        ShowChapter("What it learned from", "Pieces of at most 4,000 characters.",
                    heads=["", "text", "learned", "validation", "test"], rows=data),
    ]  # fmt: skip
    return Page("Good text and plain text", f"{verdict[0].upper()}{verdict[1:]}.", tiles, chapters)
