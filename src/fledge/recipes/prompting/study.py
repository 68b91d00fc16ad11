"""`fledge study`: what in a few-shot prompt matters to a model; a table, a page, a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import ConfigDict, Field

from fledge.errors import UserError
from fledge.evaluate.prompt_studies import STUDIES, Design, StudyName, run_study
from fledge.evaluate.study_findings import ALPHA, Finding
from fledge.prompting.label_prompt import Labelled, LabelPrompt
from fledge.recipes.prompting.speaker_fields import SpeakerFields
from fledge.report.show_page import check_show_page, write_show_page
from fledge.report.study_page import SUBJECTS, draw_study
from fledge.rows.census import Reading
from fledge.rows.labels import LabelledText
from fledge.runs.lineage import run_of
from fledge.runs.show import Show
from fledge.text.labelled_files import read_labelled


class StudyConfig(SpeakerFields):
    """Study what in a prompt of labelled examples matters: their order, how many have each label
    (label_balance), which labels they cover (label_coverage), whether the labels are their own
    (random_labels).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    study: StudyName | Literal["all"] = Field(
        description="order, label_balance, label_coverage, random_labels, or all"
    )
    data: Path = Field(
        description="labelled texts: a .jsonl, .csv or .tsv with `text` and `label` (or .gz)"
    )
    names: str | None = Field(
        default=None,
        description="what the labels are called in the prompt, with commas between, in their "
        "order; by default as in data",
    )
    template: str = Field(
        default="Text: {text}\nLabel: {label}",
        description="an example, with {text} and {label} at its end; \\n is a new line",
    )
    shots: int = Field(default=8, ge=2, description="examples of a prompt")
    sets: int = Field(default=8, ge=2, description="of examples, drawn anew, for each condition")
    orders: int = Field(default=6, ge=2, description="order: of each set")
    questions: int = Field(default=50, ge=10, description="texts that are labelled each time")
    out: Path = Field(default=Path("study.html"), description="the page to write")


def study(config: StudyConfig, show: Show) -> dict[str, Any]:
    """Raises UserError for data that has too few rows, and a model that does not answer."""
    check_show_page(config.out)
    names, rows = read_rows(config)
    prompt = LabelPrompt(names, config.template.replace("\\n", "\n"))
    order = np.random.default_rng(config.seed).permutation(len(rows))
    asked = [rows[i] for i in order[: config.questions]]
    pool = [rows[i] for i in order[config.questions :]]
    chosen = STUDIES if config.study == "all" else (config.study,)
    speaker = config.open_speaker()
    design = Design(config.shots, config.sets, config.orders, config.seed)
    findings: dict[str, Finding] = {}
    lost: dict[str, float] = {}
    for name in chosen:
        total = count_prompts(name, config, len(names))
        with show.progress(name, total, "") as watch:
            findings[name], lost[name] = run_study(
                name, pool, asked, len(names),
                lambda shown, texts: prompt.label(speaker, shown, texts, config.seed),
                design, lambda done, _: watch.step(done, {}),
            )  # fmt: skip
        tell(name, findings[name], lost[name], show)
    model = config.base if config.asks_endpoint else run_of(Path(config.base)).stem
    facts = [
        ("model", model),
        ("data", config.data.name),
        ("questions", str(len(asked))),
        ("shots", str(config.shots)),
        ("sets", str(config.sets)),
    ]
    example = prompt.write(pool[:2], asked[0].text)
    write_show_page(config.out, draw_study(findings, facts, example))
    show.line(f"Page: {config.out}")
    studies = {name: describe(finding, lost[name]) for name, finding in findings.items()}
    return {"base": config.base, "data": str(config.data), "studies": studies,
            "page": str(config.out)}  # fmt: skip


def read_rows(config: StudyConfig) -> tuple[tuple[str, ...], list[Labelled]]:
    """The labels' names, and the rows. Raises UserError."""
    read, _ = read_labelled(config.data, "classify", Reading())
    labels = sorted({row.label for row in read if isinstance(row, LabelledText)}, key=sort_key)
    if len(labels) < 2:
        raise UserError(f"{config.data} has one label, {labels[0]!r}: a study needs two or more.")
    if len(read) < config.questions + config.shots:
        raise UserError(
            f"{config.data} has {len(read)} rows, and questions={config.questions} with "
            f"shots={config.shots} want more: give more rows, or fewer questions."
        )
    names = tuple(labels)
    if config.names is not None:
        names = tuple(name.strip() for name in config.names.split(","))
        if len(names) != len(labels) or len(set(names)) < len(names) or "" in names:
            raise UserError(
                f"names={config.names!r} was given and the labels are {', '.join(labels)}: give "
                f"{len(labels)} different names, in this order."
            )
    place = {label: i for i, label in enumerate(labels)}
    rows = [
        Labelled(" ".join(row.texts[0].split()), place[row.label])
        for row in read
        if isinstance(row, LabelledText)
    ]
    return names, rows


def sort_key(label: str) -> tuple[int, float, str]:
    """Numbers by their value, before words."""
    try:
        return 0, float(label), label
    except ValueError:
        return 1, 0.0, label


def count_prompts(name: str, config: StudyConfig, labels: int) -> int:
    sets = config.sets
    return {
        "order": sets * config.orders, "label_balance": 5 * sets, "label_coverage": labels * sets,
        "random_labels": 2 * sets + 1,
    }[name]  # fmt: skip


def tell(name: str, finding: Finding, lost: float, show: Show) -> None:
    """The table and the verdict, for a person."""
    show.line(f"{SUBJECTS[name].title}: {finding.measure}")
    width = max(len(each.name) for each in finding.conditions)
    for each in finding.conditions:
        right = "" if each.right == each.mean else f", accuracy {each.right:.1%}"
        show.line(
            f"  {each.name:<{width}}  {each.mean:6.1%} ({each.low:.0%} to {each.high:.0%}){right}"
        )
    show.line(f"  {write_verdict(finding)}")
    if lost:
        show.line(f"  {lost:.1%} of what was said is none of the labels, and counts as wrong")


def write_verdict(finding: Finding) -> str:
    seen = "seen" if finding.seen else "not seen"
    if finding.least >= ALPHA:
        seen = f"cannot be seen with so few sets, whose p is {finding.least:.2g} or more"
    chance = f"; chance alone gives {100 * finding.by_chance:.1f}" if finding.by_chance else ""
    return (
        f"{seen} (p = {finding.p:.2g}): {100 * finding.effect:+.1f} points "
        f"({100 * finding.low:+.1f} to {100 * finding.high:+.1f}) {finding.unit}{chance}"
    )


def describe(finding: Finding, lost: float) -> dict[str, Any]:
    conditions: Sequence[dict[str, Any]] = [vars(each) for each in finding.conditions]
    return {
        "seen": finding.seen, "effect": finding.effect, "interval": [finding.low, finding.high],
        "p": finding.p, "by_chance": finding.by_chance, "unit": finding.unit,
        "measure": finding.measure, "conditions": conditions, "unread": lost,
    }  # fmt: skip
