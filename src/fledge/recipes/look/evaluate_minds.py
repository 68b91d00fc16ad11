"""`fledge evaluate task=false_beliefs`: a model's answers about minds beside the exact ones,
kind by kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fledge.evaluate.foretold_minds import MindAnswer, MindFigures, answer_minds, count_minds
from fledge.evaluate.intervals import share_interval
from fledge.policy import TokenPolicy
from fledge.runs.show import Show
from fledge.tasks.minds.mind_task import MindTask
from fledge.tasks.named import Example, Task, TaskMixture
from fledge.text.paired import PairedTokenizer
from fledge.text.tokenizer import Tokenizer


def list_mind_examples(task: Task, examples: Sequence[Example]) -> list[Example]:
    """Those of the examples that are about minds."""
    parts = task.parts if isinstance(task, TaskMixture) else (task,)
    names = {part.name for part in parts if isinstance(part, MindTask)}
    return [example for example in examples if example.task in names]


def evaluate_minds(
    policy: TokenPolicy, tokenizer: Tokenizer, examples: Sequence[Example], show: Show
) -> dict[str, Any]:
    """by_kind: the counts of each kind with the interval of its share of right answers at 95 %;
    by_task: of all kinds of a task together, where there are several. Nothing where none of the
    examples is about minds.
    """
    if not examples:
        return {}
    if isinstance(tokenizer, PairedTokenizer):
        show.line("of an encoder–decoder the answers it says are judged, not the chances of others")
        return {}
    answers = answer_minds(policy, tokenizer, examples)
    kinds: dict[str, list[MindAnswer]] = {}
    tasks: dict[str, list[MindAnswer]] = {}
    for one in answers:
        kinds.setdefault(one.kind, []).append(one)
        tasks.setdefault(one.kind.partition(":")[0], []).append(one)
    several = {name: own for name, own in tasks.items() if len({one.kind for one in own}) > 1}
    show.line(
        "by the likeliest of the answers listed (right, 95 % interval; nats, and the fewest there "
        "can be; what the story says; scenes with all right):"
    )
    return {"by_kind": tell_each(kinds, show), "by_task": tell_each(several, show)}


def tell_each(groups: Mapping[str, Sequence[MindAnswer]], show: Show) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for name, answers in groups.items():
        counted = count_minds(answers)
        low, high = share_interval(counted.right, counted.questions)
        table[name] = asdict(counted) | {"low": low, "high": high}
        show.line(f"  {name}: {write_figures(counted, low, high)}")
    return table


def write_figures(counted: MindFigures, low: float, high: float) -> str:
    said = (
        f"{counted.right / counted.questions:.0%} ({low:.0%} to {high:.0%}, by chance "
        f"{counted.by_chance:.0%}) of {counted.questions}; {counted.nats:.2f} nats, exact "
        f"{counted.exact_nats:.2f}"
    )
    if counted.controls:
        said += (
            f"; story {counted.remembered / counted.controls:.0%} of {counted.controls}; whole "
            f"{counted.whole} of {counted.scenes}"
        )
    return said
