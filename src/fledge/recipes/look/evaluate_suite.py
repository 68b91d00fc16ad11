"""`fledge evaluate suite=…`: a model on published questions, with intervals, beside another one,
and whether it has read them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fledge.errors import UserError
from fledge.evaluate.contamination import WORDS, find_overlap
from fledge.evaluate.intervals import (
    independent_questions_needed,
    mean_interval,
    paired_difference,
    questions_needed,
    share_interval,
)
from fledge.evaluate.suites.lineage_texts import list_trained, read_texts, read_trained
from fledge.evaluate.suites.suite import Asked, open_suite
from fledge.programs.limits import ProgramLimits
from fledge.programs.pool import ProgramPool
from fledge.recipes.look.sound_model import load_sound_model
from fledge.recipes.look.suite_fields import EvaluateSuiteConfig
from fledge.recipes.look.suite_memory import tell_suite_memory
from fledge.recipes.look.suite_model import Measured, measure_model
from fledge.recipes.look.suite_pairs import evaluate_pairs
from fledge.report.suite_page import write_suite_page
from fledge.runs.show import Show

POINTS = 0.02  # the difference of two models whose questions are counted
READ = 0.5  # of a question's words, from which on it is said to have been read


def evaluate_suite(config: EvaluateSuiteConfig, show: Show) -> dict[str, Any]:
    """Raises UserError for a file or a model that cannot be used."""
    config.check()
    config.use_family()
    asked = open_suite(config.suite, config.data, shots=config.shots, questions=config.questions)
    model = load_sound_model(config.base)
    if asked.suite.pairwise:
        return evaluate_pairs(config, model, asked, show)
    tell_suite_memory(config, model, asked, show)
    pool = open_pool(config, asked, show)
    try:
        measured = measure_model(config, model, asked, pool)
        other = None
        if config.against is not None:
            other = measure_model(config, load_sound_model(config.against), asked, pool)
    finally:
        if pool is not None:
            pool.close()
    figures = tell_model(config, asked, measured, show)
    figures |= tell_subjects(asked, measured, show)
    if other is not None:
        figures |= tell_difference(config, measured, other, show)
    figures |= tell_power(measured, figures, show)
    figures |= tell_read(config, asked, measured, show)
    if config.details is not None:
        rows = (json.dumps(row, ensure_ascii=False) + "\n" for row in measured.details)
        config.details.write_text("".join(rows), encoding="utf-8")
        figures["details"] = str(config.details)
    if config.out is not None:
        write_suite_page(config.out, str(config.base), figures, measured.details)
        show.line(f"page: {config.out}")
        figures["page"] = str(config.out)
    return figures


def open_pool(config: EvaluateSuiteConfig, asked: Asked, show: Show) -> ProgramPool | None:
    if not asked.suite.programs:
        return None
    pool = ProgramPool(ProgramLimits(config.program_seconds, config.program_memory_mb))
    if not pool.kernel:
        show.line(
            "this system's kernel has no means to keep programs from files and the network "
            "(Landlock, seccomp): Python alone does, which a program that reaches C gets around."
        )
    return pool


def tell_model(
    config: EvaluateSuiteConfig, asked: Asked, measured: Measured, show: Show
) -> dict[str, Any]:
    number = len(measured.main)
    accuracy = sum(measured.main) / number
    low, high = bound(measured.main, config.seed)
    means = {name: sum(each) / number for name, each in measured.values.items()}
    others = ", ".join(
        f"{name.replace('_at_', '@')} {mean:.1%}"
        for name, mean in means.items()
        if name != measured.counts
    )
    show.line(
        f"{config.suite}: {accuracy:.1%} right ({measured.counts}; {low:.1%} to {high:.1%} at "
        f"95 %), {others + ', ' if others else ''}of {number:,} questions of {asked.file}, "
        f"{asked.examples} shots; {number / measured.seconds:.1f} questions/s"
    )
    figures: dict[str, Any] = {
        "base": str(config.base), "suite": config.suite, "data": str(asked.file),
        "questions": number, "shots": asked.examples, "accuracy": accuracy, "low": low,
        "high": high, "rule": measured.counts, "by_rule": means, "seconds": measured.seconds,
        "questions_per_second": number / measured.seconds, **measured.figures,
    }  # fmt: skip
    if measured.figures.get("cut", 0) > 0.1:
        show.line(
            f"{measured.figures['cut']:.0%} of the answers were cut at "
            f"{config.most_new_tokens} tokens: a larger max_new_tokens might change the figure."
        )
    if measured.unjudged:
        figures["unjudged"] = len(measured.unjudged)
        show.line(
            f"{len(measured.unjudged)} answers could not be judged whole: {measured.unjudged[0]}"
        )
    if (c := measured.calibration) is not None:
        figures["calibration"] = {
            "error": c.error, "by_chance": c.by_chance, "brier": c.brier, "nats": c.nats,
            "confidence": c.confidence, "bins": [vars(each) for each in c.bins],
        }  # fmt: skip
        show.line(
            f"calibration: {c.confidence:.1%} sure and {c.accuracy:.1%} right, error {c.error:.3f} "
            f"({c.by_chance:.3f} by chance), Brier {c.brier:.3f}"
        )
    return figures


def tell_subjects(asked: Asked, measured: Measured, show: Show) -> dict[str, Any]:
    """Of a suite with several subjects or tasks each one's share."""
    names = sorted(set(asked.subjects) - {""})
    if len(names) < 2:
        return {}
    table: dict[str, Any] = {}
    for name in names:
        own = [v for v, s in zip(measured.main, asked.subjects, strict=True) if s == name]
        low, high = bound(own)
        table[name] = {
            "questions": len(own), "accuracy": sum(own) / len(own), "low": low, "high": high
        }  # fmt: skip
        show.line(f"  {name}: {sum(own) / len(own):.1%} ({low:.1%} to {high:.1%}) of {len(own):,}")
    return {"by_subject": table}


def tell_difference(
    config: EvaluateSuiteConfig, measured: Measured, other: Measured, show: Show
) -> dict[str, Any]:
    """Of base against the other: what base has more."""
    gap = paired_difference(other.main, measured.main, config.seed)
    theirs = sum(other.main) / len(other.main)
    show.line(
        f"{config.against}: {theirs:.1%} right; {config.base} is {100 * gap.difference:+.1f} "
        f"points from it ({100 * gap.low:+.1f} to {100 * gap.high:+.1f} at 95 %, p = {gap.p:.2g}); "
        f"they differ on {gap.disagree:.0%} of the questions"
    )
    return {
        "against": {
            "base": str(config.against), "accuracy": theirs, "difference": gap.difference,
            "low": gap.low, "high": gap.high, "p": gap.p, "disagree": gap.disagree,
            "by_rule": {k: sum(v) / len(v) for k, v in other.values.items()},
            "questions_per_second": len(other.main) / other.seconds,
        }
    }  # fmt: skip


def tell_power(measured: Measured, figures: dict[str, Any], show: Show) -> dict[str, Any]:
    """How many questions a difference of two points takes."""
    number, accuracy = len(measured.main), figures["accuracy"]
    away = -POINTS if accuracy > 0.5 else POINTS
    alone = independent_questions_needed(away, accuracy)
    disagree = figures.get("against", {}).get("disagree")
    told: dict[str, Any] = {"points": 100 * POINTS, "independent": alone, "asked": number}
    said = (
        f"to see 2 points between two models (power 80 %): {alone:,} questions to each, if they "
        "answer different ones"
    )
    if disagree is not None and disagree > POINTS:
        told["paired"] = questions_needed(POINTS, disagree)
        said += f"; {told['paired']:,} where both answer the same and differ on {disagree:.0%}"
    show.line(f"{said}; these are {number:,}")
    return {"needed": told}


def tell_read(
    config: EvaluateSuiteConfig, asked: Asked, measured: Measured, show: Show
) -> dict[str, Any]:
    """Which questions stand in what the model was trained on."""
    trained = list_trained(config.base)
    given = [Path(name).expanduser() for name in config.seen.split(",") if name.strip()]
    for path in given:
        if not path.is_file():
            raise UserError(f"seen={path} is no file: give text files, with commas between them.")
    if not given and not trained.known:
        show.line(
            f"whether {config.base} has read the questions is not known: it has no lineage. "
            "seen=FILES looks for them."
        )
        return {}

    def read() -> Any:
        yield from read_trained(trained)
        for path in given:
            yield from read_texts(path)

    overlaps = find_overlap([question.text for question in asked.questions], read())
    whole = [place for place, each in enumerate(overlaps) if each.share >= READ]
    some = [place for place, each in enumerate(overlaps) if each.share > 0]
    for row, each in zip(measured.details, overlaps, strict=True):
        row["read_before"] = each.share
    files = len(trained.files) + trained.prose + len(given)
    line = (
        f"read before: {len(some):,} of {len(overlaps):,} questions have {WORDS} words in a row "
        f"(or all theirs) that stand in the {files} files it was trained on"
    )
    told: dict[str, Any] = {
        "files": files, "some": len(some), "half": len(whole), "lost": trained.lost
    }  # fmt: skip
    clean = [v for v, each in zip(measured.main, overlaps, strict=True) if each.share == 0]
    if some and clean:
        told["accuracy_of_others"] = sum(clean) / len(clean)
        line += f"; without them {told['accuracy_of_others']:.1%} right"
    show.line(line)
    if trained.lost:
        show.line(
            f"{len(trained.lost)} files of its lineage are not here, and were not looked through: "
            f"{', '.join(trained.lost[:3])}"
        )
    return {"read_before": told}


def bound(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """Wilson's of yes and no; by the bootstrap of shares of several samples."""
    if all(value in (0.0, 1.0) for value in values):
        return share_interval(sum(values), len(values))
    return mean_interval(values, seed)
