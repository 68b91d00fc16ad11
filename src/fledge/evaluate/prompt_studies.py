"""What in a prompt matters: four studies of few-shot prompts, each one effect, with its test.

order           accuracy changes with the order of the same examples (Lu et al. 2022)
label_balance   a label is said more often, the more examples have it (Zhao et al. 2021, §4.1)
label_coverage  accuracy rises with the labels that the examples cover (Min et al. 2022, §5)
random_labels   examples with their own labels help more than with random ones (Min et al. 2022, §4)

The unit of each is a set of examples, drawn anew; all questions are asked of each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from fledge.errors import UserError
from fledge.evaluate.study_findings import (
    Finding,
    Said,
    judge_balance,
    judge_coverage,
    judge_order,
    judge_random,
)
from fledge.prompting.label_prompt import Labelled

StudyName = Literal["order", "label_balance", "label_coverage", "random_labels"]
STUDIES: tuple[StudyName, ...] = get_args(StudyName)
# The label that is said of each text, after those examples.
Label = Callable[[Sequence[Labelled], Sequence[str]], Sequence[int]]
Told = Callable[[int, int], object]


@dataclass(frozen=True)
class Design:
    """shots: examples of a prompt. sets: of examples, drawn anew for each condition (order: each in
    `orders` orders).
    """

    shots: int = 8
    sets: int = 8
    orders: int = 6
    seed: int = 0


def run_study(
    study: StudyName,
    pool: Sequence[Labelled],
    asked: Sequence[Labelled],
    labels: int,
    label: Label,
    design: Design,
    told: Told = lambda done, of: None,
) -> tuple[Finding, float]:
    """The finding, and the share of what was said that is no label. pool: what examples are drawn
    from; asked: the questions, none of them in it.

    Raises UserError for a pool with too few examples of a label.
    """
    random = np.random.default_rng(design.seed)
    check_pool(pool, labels, design)
    prompts = PLANS[study](pool, labels, design, random)  # [C][S] of examples
    texts, wanted = [each.text for each in asked], np.array([each.label for each in asked])
    total = sum(map(len, prompts.values()))
    said: dict[str, np.ndarray] = {}  # [S, Q]
    done = 0
    for name, sets in prompts.items():
        rows: list[Sequence[int]] = []
        for shown in sets:
            rows.append(label(shown, texts))
            done += 1
            told(done, total)
        said[name] = np.array(rows)
    unread = float(np.mean([np.mean(each < 0) for each in said.values()]))
    return JUDGES[study](said, wanted, random), unread


def check_pool(pool: Sequence[Labelled], labels: int, design: Design) -> None:
    counts = np.bincount([each.label for each in pool], minlength=labels)
    few = int(counts.argmin())
    if counts[few] < design.shots:
        raise UserError(
            f"the data has {counts[few]} rows of label {few} beside those that are asked, and "
            f"shots={design.shots} may want as many of one label: give more rows, fewer questions, "
            "or fewer shots."
        )


Sets = list[list[Labelled]]
Pool = Sequence[Labelled]
Plan = Callable[[Pool, int, Design, np.random.Generator], dict[str, Sets]]
Judge = Callable[[Said, np.ndarray, np.random.Generator], Finding]


def draw(
    pool: Sequence[Labelled], counts: Sequence[int], random: np.random.Generator
) -> list[Labelled]:
    """So many examples of each label, in a random order."""
    shown: list[Labelled] = []
    for label, count in enumerate(counts):
        own = [each for each in pool if each.label == label]
        shown += [own[i] for i in random.choice(len(own), count, replace=False)]
    return [shown[i] for i in random.permutation(len(shown))]


def share_out(
    count: int, over: Sequence[int], labels: int, random: np.random.Generator
) -> list[int]:
    """`count` examples as evenly over those labels as can be, the rest by lot.  -> [labels]"""
    counts = [0] * labels
    for place, label in enumerate(random.permutation(list(over))):
        counts[label] = count // len(over) + (place < count % len(over))
    return counts


def plan_order(
    pool: Pool, labels: int, design: Design, random: np.random.Generator
) -> dict[str, Sets]:
    """Condition s is set s in its orders: what differs within it is the order alone."""
    conditions: dict[str, Sets] = {}
    for number in range(design.sets):
        shown = draw(pool, share_out(design.shots, range(labels), labels, random), random)
        orders = [random.permutation(len(shown)) for _ in range(design.orders)]
        conditions[f"set {number + 1}"] = [[shown[i] for i in order] for order in orders]
    return conditions


def plan_balance(
    pool: Pool, labels: int, design: Design, random: np.random.Generator
) -> dict[str, Sets]:
    """The first label on none, a quarter, … all of the examples; the others share the rest."""
    conditions: dict[str, Sets] = {}
    for quarter in range(5):
        first = round(design.shots * quarter / 4)
        sets: Sets = []
        for _ in range(design.sets):
            counts = share_out(design.shots - first, range(1, labels), labels, random)
            counts[0] = first
            sets.append(draw(pool, counts, random))
        conditions[f"{first} of {design.shots}"] = sets
    return conditions


def plan_coverage(
    pool: Pool, labels: int, design: Design, random: np.random.Generator
) -> dict[str, Sets]:
    """As many examples, over one label, two, … all."""
    conditions: dict[str, Sets] = {}
    for covered in range(1, labels + 1):
        sets: Sets = []
        for _ in range(design.sets):
            over = random.choice(labels, covered, replace=False).tolist()
            sets.append(draw(pool, share_out(design.shots, over, labels, random), random))
        conditions[f"{covered} of {labels}"] = sets
    return conditions


def plan_random(
    pool: Pool, labels: int, design: Design, random: np.random.Generator
) -> dict[str, Sets]:
    """The same examples in the same order with their own labels, and with labels by lot."""
    own = [
        draw(pool, share_out(design.shots, range(labels), labels, random), random)
        for _ in range(design.sets)
    ]
    lot = [[Labelled(each.text, int(random.integers(labels))) for each in shown] for shown in own]
    return {"own labels": own, "random labels": lot, "no examples": [[]]}


PLANS: dict[StudyName, Plan] = {
    "order": plan_order,
    "label_balance": plan_balance,
    "label_coverage": plan_coverage,
    "random_labels": plan_random,
}
JUDGES: dict[StudyName, Judge] = {
    "order": judge_order,
    "label_balance": judge_balance,
    "label_coverage": judge_coverage,
    "random_labels": judge_random,
}
