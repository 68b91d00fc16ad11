"""One run as the report shows it: its pictures, samples before and after, timings, settings and
files.
"""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fledge.report.board_games import ShownGame, read_games
from fledge.report.budget_curves import draw_budget_curves
from fledge.report.charts import draw_line_chart
from fledge.report.confusions import draw_confusions
from fledge.report.curves import Curve, Curves
from fledge.report.drawn import Drawn
from fledge.report.expert_loads import ExpertLoads, draw_expert_loads
from fledge.report.figures import (
    PICTURES,
    ChartPlan,
    format_duration,
    format_value,
    is_number,
    is_share,
    spell_name,
    strip_part,
)
from fledge.report.gradient_variances import draw_gradient_variances
from fledge.report.learned_world import draw_learned_world
from fledge.report.overoptimisation import BothScores, Overoptimisation, find_overoptimisation
from fledge.report.picture_quality import QualityTable, read_quality
from fledge.report.posterior_curves import draw_posterior_curves
from fledge.report.samples import Comparison, compare_answers
from fledge.report.sheets import Film, read_film, read_sheets
from fledge.report.tables import WordTable, read_tables
from fledge.report.yardsticks import draw_plans, draw_yardsticks
from fledge.runs.atomic import sha256
from fledge.runs.folder import Run
from fledge.runs.landmarks import LogRow
from fledge.runs.origin import describe_origin

_SENTENCES = {
    "pretrain": "A model learns to predict text, starting from nothing.",
    "tune": "A model learns to answer, from examples of good answers.",
    "reward": "A reward model learns which of two answers is the better one.",
    "prefer": "A policy learns which of two answers is the better one, without a reward model.",
    "distill": "A student learns to say what a teacher says.",
    "vectors": "Each word gets a vector, near those of words in the same company.",
    "merge": "Several models are made into one, without training.",
    "scale": "Runs of many sizes say what a size that nobody has trained will come to.",
    "continual": "Tasks are learned one after the other, and judged after each.",
    "data effect": "A step of curation is worth what models with and without it say.",
    "data clean": "Each document of a corpus is kept or dropped, for a reason.",
    "data mixture": "Small models on many mixtures say how much of each source to learn from.",
    "data quality": "A classifier learns which text is good, from two sets of files.",
    "compress": "A model is made smaller, and held against the one that it was.",
    "align": "A policy learns from its own answers and what they were worth.",
    "imagine": "A model learns to make what the data is like, by {model}.",
    "fit": "A model of what cannot be seen is fitted, by raising a bound on the likelihood.",
    "control": "An agent learns to act in {world}, by {algorithm}.",
    "solve": "How to play {game}, of which each player sees a part, by {algorithm}.",
    "minds": "What goes on in somebody's head, out of what they did: {scene}.",
    "query": "Labels are asked for a few at a time, by several ways of choosing.",
    "selfplay": "A network learns {game} from games against itself, by {algorithm}.",
    "demo": "A language model, raised from raw text to an aligned policy.",
}


_OF_ENCODERS = {  # by the task that an encoder is tuned on
    "classify": "An encoder learns to tell texts apart, from texts with labels.",
    "pair": "An encoder learns how two texts are related, from pairs with labels.",
    "tag": "An encoder learns what each word of a sentence is, from words with tags.",
    "choose": "An encoder learns which of several answers is right.",
    "embed": "An encoder learns to give texts that mean the same like vectors.",
}


@dataclass(frozen=True)
class Phase:
    """A part of the run's seconds: `share` of 1."""

    name: str
    seconds: str
    share: float


@dataclass(frozen=True)
class Chapter:
    """Everything the page says about one run."""

    anchor: str
    name: str
    folder: str
    verb: str
    sentence: str
    status: str
    finished: bool
    failure: str | None
    damage: list[str]
    empty: bool
    tiles: list[tuple[str, str]]
    pictures: list[Drawn]
    more: list[Drawn]
    film: Film | None
    sheets: list[Film]
    games: list[ShownGame]
    quality: QualityTable | None
    tables: list[WordTable]
    overoptimisation: Overoptimisation | None
    samples: list[Comparison]
    classes: list[str]  # of a text, the symbols of every state
    phases: list[Phase]
    speed: str | None
    settings: list[tuple[str, str]]
    origin: list[tuple[str, str]]
    files: list[tuple[str, int, str]]


def read_chapter(run: Run, name: str, anchor: str) -> Chapter:
    """Read one run folder. What is damaged in it is left out, and named."""
    nothing = Curves(), BothScores(), ExpertLoads()
    curves, scores, loads = run.part(lambda: read_curves(run.metrics.each()), nothing)
    pictures, more = draw_pictures(curves, of_tokens=run.verb not in ("imagine", "selfplay"))
    phases, speed, seconds = run.part(lambda: _sum_timings(run.timings.each()), ([], None, 0.0))
    summary = run.part(lambda: run.summary, None) or {}
    pictures += draw_expert_loads(loads)
    pictures += run.part(lambda: draw_gradient_variances(summary), [])
    pictures += run.part(lambda: draw_confusions(summary), [])
    pictures += run.part(lambda: draw_yardsticks(summary), [])
    pictures += run.part(lambda: draw_plans(summary), [])
    pictures += run.part(lambda: draw_learned_world(summary), [])
    pictures += run.part(lambda: draw_posterior_curves(summary), [])
    pictures += run.part(lambda: draw_budget_curves(summary), [])
    samples = run.part(lambda: compare_answers(run.samples.each()), [])
    failure = run.part(lambda: run.failure, None)
    film = run.part(lambda: read_film(run.folder), None)
    done = "" if curves.steps is None else f"{curves.steps:,} steps"
    if curves.world_steps:
        done = f"{curves.world_steps:,.0f} steps in the world"
        speed = (
            f"{curves.world_steps / seconds:,.0f} steps in the world per second, learning included"
            if seconds
            else None
        )
    status = "finished" if run.finished else "unfinished"
    return Chapter(
        anchor=anchor,
        name=name,
        folder=str(run.folder),
        verb=run.verb,
        sentence=tell_what(run),
        status=f"{status} · {done}" if done else status,
        finished=run.finished,
        failure=failure,
        damage=list(run.damage),
        empty=not curves.rows,
        tiles=list_tiles(summary),
        pictures=pictures,
        more=more,
        film=film,
        sheets=run.part(lambda: read_sheets(run.folder, summary), []),
        games=run.part(lambda: read_games(run.folder), []),
        quality=run.part(lambda: read_quality(summary), None),
        tables=run.part(lambda: read_tables(summary), []),
        overoptimisation=find_overoptimisation(scores),
        samples=samples,
        classes=list_classes(summary),
        phases=phases,
        speed=speed,
        settings=_flatten(run.config),
        origin=describe_origin(run.lineage),
        files=list_run_files(run.folder),
    )


def tell_what(run: Run) -> str:
    """What is done in such a run, in one sentence."""
    sentence = _SENTENCES.get(run.verb, f"A run of {run.verb}.")
    if run.verb == "tune":
        sentence = _OF_ENCODERS.get(str(run.config.get("task")), sentence)
    return sentence.format(**_list_names(run.config))


def list_classes(summary: dict[str, Any]) -> list[str]:
    """The symbols of every state of a chain that was fitted to a text."""
    classes = summary.get("classes")
    if not isinstance(classes, list) or not all(isinstance(each, list) for each in classes):
        return []
    return [" ".join(map(str, symbols)) for symbols in classes]


def list_tiles(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """What the summary says in figures: those with a before and an after, then the single ones."""
    before, after = summary.get("before") or {}, summary.get("after") or {}
    changes = [
        (spell_name(name), f"{format_value(name, before[name])} → {format_value(name, value)}")
        for name, value in after.items()
        if is_number(value) and is_number(before.get(name))
    ]
    single = [
        (name, value) for name, value in summary.items() if is_number(value) and name not in after
    ]
    return changes + [(spell_name(name), format_value(name, value)) for name, value in single]


def read_curves(rows: Iterable[LogRow]) -> tuple[Curves, BothScores, ExpertLoads]:
    """All that is drawn of metrics.jsonl, read once."""
    curves, scores, loads = Curves(), BothScores(), ExpertLoads()
    for row in rows:
        curves.add(row)
        scores.add(row)
        loads.add(row)
    return curves, scores, loads


def draw_pictures(curves: Curves, *, of_tokens: bool = True) -> tuple[list[Drawn], list[Drawn]]:
    """The pictures that tell the story, and one for each of the remaining figures. of_tokens: what
    a loss is counted by; of pictures and whole sentences it is not.
    """
    columns = curves.list_figures()
    over = "steps in the world" if curves.in_world else "step"
    reward, score = columns.get("reward"), columns.get("reward_model_score")
    if reward is not None and score is not None and reward.equals(score):
        # the reward was the reward model's: one line, not two on top of each other
        del columns["reward_model_score"]
    not_of_text = not of_tokens or any(
        strip_part(name)
        in ("pair_accuracy", "accuracy", "retrieval", "reward", "episode_return", "nats")
        for name in columns
    )
    pictures = []
    for picture in PICTURES:
        names = sorted(
            (name for name in columns if strip_part(name) in picture.bases),
            key=lambda name: (name != strip_part(name), name),
        )
        if names:
            if picture.title == "Loss" and not_of_text:
                picture = replace(picture, unit="")
            elif over != "step":  # a world has no tokens
                picture = replace(
                    picture, unit=picture.unit.replace("nats per token", "nats per step")
                )
            pictures.append(_draw(picture, {name: columns.pop(name) for name in names}, over))
    more = []
    for name, curve in columns.items():
        words = spell_name(name)
        low = 0.0 if curve.lowest >= 0 else None
        more.append(
            _draw(ChartPlan(words[0].upper() + words[1:], (name,), low=low), {name: curve}, over)
        )
    return pictures, more


def _draw(picture: ChartPlan, columns: dict[str, Curve], over: str) -> Drawn:
    series, captions = [], []
    for name, curve in columns.items():
        series.append(curve.series(spell_name(name)))
        change = (
            f"{format_value(name, curve.first)} → {format_value(name, curve.last)}"
            if len(series[-1].y) > 1
            else None
        )
        not_numbers = f" ({curve.lost} not a number)" if curve.lost else ""
        captions.append(
            (spell_name(name), f"{change or format_value(name, curve.first)}{not_numbers}")
        )
    single = len(captions) == 1
    caption = (
        captions[0][1] if single else " · ".join(f"{name} {change}" for name, change in captions)
    )
    svg = draw_line_chart(
        series,
        x_label=over,
        description=f"{picture.title} over {over}: {caption}",
        low=picture.low,
        high=picture.high,
        percent=all(is_share(name) for name in columns),
    )
    only = next(iter(columns))
    legend = [] if single and only in picture.bases else [one.name for one in series]
    return Drawn(picture.title, picture.unit, svg, legend, caption)


def _list_names(config: dict[str, Any]) -> dict[str, str]:
    """What a sentence may name."""
    return {
        "world": str(config.get("world")),
        "game": str(config.get("game")),
        "scene": str(config.get("scene")),
        "model": str(config.get("model")),
        "algorithm": str(config.get("compare") or config.get("algorithm")),
    }


def _sum_timings(rows: Iterable[LogRow]) -> tuple[list[Phase], str | None, float]:
    seconds: dict[str, float] = {}
    speeds = array("d")
    for row in rows:
        if isinstance(row.get("tokens_per_second"), int | float):
            speeds.append(row["tokens_per_second"])
        for name, value in row.items():
            if name not in ("step", "tokens_per_second", "total") and isinstance(
                value, int | float
            ):
                seconds[name] = seconds.get(name, 0.0) + value
    order = [name for name in ("generate", "score", "fit", "evaluate") if name in seconds]
    order += sorted(seconds.keys() - {*order, "other"}) + (["other"] if "other" in seconds else [])
    total = sum(seconds.values())
    speed = (
        f"{np.median(speeds):,.0f} tokens per second (median of {len(speeds):,} steps)"
        if speeds
        else None
    )
    return (
        [
            Phase(name, format_duration(seconds[name]), seconds[name] / total)
            for name in order
            if total > 0
        ],
        speed,
        total,
    )


def _flatten(config: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    settings: list[tuple[str, str]] = []
    for key, value in config.items():
        if isinstance(value, dict) and value:
            settings += _flatten(value, f"{prefix}{key}.")
        else:
            settings.append(
                (
                    f"{prefix}{key}",
                    value if isinstance(value, str) else json.dumps(value, ensure_ascii=False),
                )
            )
    return settings


def list_run_files(folder: Path) -> list[tuple[str, int, str]]:
    """(path, bytes, sha256) of the run's own files: not those of runs inside it, not this report,
    nothing hidden.

    Folders that are links are not entered: a link to a folder above would never end.
    """
    listed: list[tuple[str, int, str]] = []
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        return [("", 0, _describe_error(error))]
    for path in inside:
        if path.name.startswith(".") or path.name == "report.html":
            continue
        if os.path.isdir(path) and not os.path.islink(path):
            if not os.path.lexists(path / "lineage.json"):
                listed += [
                    (f"{path.name}/{name}", size, digest)
                    for name, size, digest in list_run_files(path)
                ]
        elif os.path.isfile(path):
            try:
                listed.append((path.name, path.stat().st_size, sha256(path)))
            except OSError as error:
                listed.append((path.name, 0, _describe_error(error)))
    return listed


def _describe_error(error: OSError) -> str:
    return f"cannot be read ({(error.strerror or str(error)).lower()})"
