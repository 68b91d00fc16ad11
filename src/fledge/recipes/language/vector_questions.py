"""What is asked of word vectors that are there: neighbours, an analogy, a correlation with what
people say, and how far they go as features.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

from rich.table import Table

from fledge.errors import UserError
from fledge.hub.word_vectors import VERB, load_vectors
from fledge.models.language.word_vectors import WordVectors, correlate_ranks
from fledge.recipes.language.vector_fields import VectorsConfig
from fledge.recipes.language.word_features import classify
from fledge.runs.folder import find_runs
from fledge.runs.show import Show

RUNS = Path("runs")
Pair = tuple[str, str, float]


def answer(config: VectorsConfig, show: Show) -> dict[str, Any]:
    """Raises UserError for vectors that are not there, and words that have none."""
    place = config.run or find_newest()
    held = load_vectors(place)
    result: dict[str, Any] = {"run": str(place), "words": len(held.words), "dims": held.dims}
    if config.near is not None:
        word = read_word(config.near, held)
        result["near"] = show_neighbours(held.near_word(word, config.count), show)
    if config.analogy is not None:
        a, b, c = read_analogy(config.analogy, held)
        result["analogy"] = show_neighbours(held.complete(a, b, c, config.count), show)
    if config.similarity is not None:
        result["similarity"] = correlate(held, config.similarity, show)
    if config.classify is not None:
        result["classify"] = classify(held, config.classify, config.contextual, show)
    return result


def find_newest() -> Path:
    """The run of word vectors that was finished last. Raises UserError where there is none."""
    runs = find_runs(RUNS) if RUNS.is_dir() else []
    ours = [run for run in runs if run.verb == VERB and run.finished]
    if not ours:
        raise UserError(
            "there is no finished run of `fledge vectors` in runs/: give run=, or learn some by "
            "data=FILE."
        )
    return max(ours, key=lambda run: (run.folder / "summary.json").stat().st_mtime_ns).folder


def read_word(given: str, held: WordVectors) -> str:
    """As it is written, or else in lower case, as the text was read."""
    return given if given in held.number else given.lower()


def read_analogy(given: str, held: WordVectors) -> tuple[str, str, str]:
    """a:b::c:? Raises UserError for anything else."""
    first, _, second = given.partition("::")
    words = [word.strip() for word in (*first.split(":"), *second.split(":"))]
    if len(words) != 4 or words[3] != "?" or not all(words):
        raise UserError(f"analogy={given!r} was given: give it as man:king::woman:?")
    a, b, c = (read_word(word, held) for word in words[:3])
    return a, b, c


def show_neighbours(near: list[tuple[str, float]], show: Show) -> list[dict[str, Any]]:
    table = Table(box=None, pad_edge=False)
    table.add_column("word")
    table.add_column("cosine", justify="right")
    for word, cosine in near:
        table.add_row(word, f"{cosine:.3f}")
    show.print(table)
    return [{"word": word, "cosine": cosine} for word, cosine in near]


def read_pairs(path: Path) -> list[Pair]:
    """Two words and a score a line, with commas, semicolons or tabs; lines that begin with # and a
    first line of names are passed over. Raises UserError.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"similarity={path} cannot be read ({error}): give a .csv.") from error
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    marks = {mark: lines[0].count(mark) for mark in "\t;,"} if lines else {"\t": 0}
    mark = max(marks, key=lambda each: marks[each])
    pairs: list[Pair] = []
    for number, fields in enumerate(csv.reader(lines, delimiter=mark)):
        try:
            score = float(fields[2])
        except (IndexError, ValueError):
            if number == 0:
                continue
            raise UserError(
                f"{path}: {mark.join(fields)!r} is not two words and a score: correct it, or "
                "leave it out."
            ) from None
        pairs.append((fields[0].strip(), fields[1].strip(), score))
    if len(pairs) < 2 or not all(math.isfinite(score) for _, _, score in pairs):
        raise UserError(f"{path} has no pairs with scores: give two words and a score a line.")
    return pairs


def correlate(held: WordVectors, path: Path, show: Show) -> dict[str, Any]:
    """Spearman's ρ over the pairs of which both words have a vector."""
    pairs = [(read_word(a, held), read_word(b, held), s) for a, b, s in read_pairs(path)]
    known = [(a, b, score) for a, b, score in pairs if held.knows(a) and held.knows(b)]
    if len(known) < 2:
        raise UserError(
            f"of {len(pairs)} pairs in {path} {len(known)} have vectors for both words: learn from "
            "more text, or with subwords=true."
        )
    rho = correlate_ranks(
        [held.similarity(a, b) for a, b, _ in known], [score for _, _, score in known]
    )
    show.line(
        f"similarity: Spearman's ρ {rho:.3f} over {len(known):,} of {len(pairs):,} pairs, those "
        "with vectors for both words"
    )
    return {"spearman": rho, "pairs": len(known), "of": len(pairs)}
