"""The page of `fledge study`: each study a sentence, a picture with intervals, a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from fledge.evaluate.study_findings import ALPHA, Finding
from fledge.report.page import Picture
from fledge.report.show_page import Page, ShowChapter
from fledge.report.whiskers import Whisker, draw_whiskers


@dataclass(frozen=True)
class Subject:
    title: str
    text: str  # what is varied, and whose effect it is


SUBJECTS: Mapping[str, Subject] = {
    "order": Subject(
        "Order",
        "The same examples in several orders (Lu et al. 2022). Where the order does not matter, a "
        "question's answers could be dealt to the orders by lot.",
    ),
    "label_balance": Subject(
        "Label balance",
        "How many of the examples have the first label (majority label bias, Zhao et al. 2021).",
    ),
    "label_coverage": Subject(
        "Label coverage",
        "As many examples, over one label, two, up to all (Min et al. 2022, §5: the label space).",
    ),
    "random_labels": Subject(
        "Random labels",
        "The same examples with their own labels and with labels by lot (Min et al. 2022, §4).",
    ),
}


def draw_study(
    findings: Mapping[str, Finding], facts: Sequence[tuple[str, str]], example: str
) -> Page:
    """facts: tiles at the head of the page. example: a prompt, as the model was given it."""
    seen = [SUBJECTS[name].title.lower() for name, each in findings.items() if each.seen]
    unseen = [SUBJECTS[name].title.lower() for name, each in findings.items() if not each.seen]
    matters = "matters" if len(seen) == 1 else "matter"
    parts = [f"{' and '.join(seen)} {matters}" if seen else "", *(
        [f"no effect of {' and '.join(unseen)} is seen"] if unseen else []
    )]  # fmt: skip
    lead = "; ".join(part for part in parts if part)
    chapters = [_draw_chapter(name, finding) for name, finding in findings.items()]
    prompt = Markup("<br>").join(example.split("\n"))  # what is no Markup yet is escaped
    chapters.append(ShowChapter("A prompt", "With two of its examples.", rows=[(prompt,)]))
    return Page("Study of prompts", f"{lead[:1].upper()}{lead[1:]}.", facts, chapters)


def _draw_chapter(name: str, finding: Finding) -> ShowChapter:
    rows = [Whisker(each.name, each.mean, each.low, each.high) for each in finding.conditions]
    picture = Picture(
        finding.measure[:1].upper() + finding.measure[1:],
        "",
        draw_whiskers(rows, description=SUBJECTS[name].title),
        caption="" if name == "order" else "With 95 % intervals, over sets and questions.",
    )
    verdict = "is seen" if finding.seen else "is not seen"
    if finding.least >= ALPHA:
        verdict = "cannot be seen with so few sets"
    text = (
        f"{SUBJECTS[name].text} The effect {verdict} (p = {finding.p:.2g}): "
        f"{100 * finding.effect:+.1f} points ({100 * finding.low:+.1f} to "
        f"{100 * finding.high:+.1f}) {finding.unit}."
    )
    if finding.by_chance:
        text += f" Chance alone gives {100 * finding.by_chance:.1f}."
    heads = ["condition", finding.measure, "95 %", "accuracy"]
    if name == "order":
        heads = ["examples", "mean accuracy", "worst and best order"]
    table = [
        (each.name, f"{each.mean:.1%}", f"{each.low:.1%} to {each.high:.1%}", f"{each.right:.1%}")
        for each in finding.conditions
    ]
    if all(each.right == each.mean for each in finding.conditions):
        heads, table = heads[:3], [row[:3] for row in table]
    return ShowChapter(SUBJECTS[name].title, text, [picture], heads, table)
