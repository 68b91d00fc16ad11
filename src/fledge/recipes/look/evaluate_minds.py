"""`fledge evaluate task=false_beliefs`: a model's answers about minds beside the exact ones,
kind by kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from fledge.evaluate.foretold_minds import KindFigures, answer_minds, count_kind
from fledge.evaluate.intervals import share_interval
from fledge.policy import TokenPolicy
from fledge.runs.show import Show
from fledge.tasks.minds.mind_task import MindTask
from fledge.tasks.named import Example, Task, TaskMixture
from fledge.text.tokenizer import Tokenizer


def list_mind_examples(task: Task, examples: Sequence[Example]) -> list[Example]:
    """Those of the examples that are about minds."""
    parts = task.parts if isinstance(task, TaskMixture) else (task,)
    names = {part.name for part in parts if isinstance(part, MindTask)}
    return [example for example in examples if example.task in names]


def evaluate_minds(
    policy: TokenPolicy, tokenizer: Tokenizer, examples: Sequence[Example], show: Show
) -> dict[str, Any]:
    """by_kind: the counts of each kind with intervals of their shares at 95 %; nothing where none
    of the examples is about minds.
    """
    if not examples:
        return {}
    answers = answer_minds(policy, tokenizer, examples)
    table: dict[str, Any] = {}
    show.line(
        "by the likeliest of the answers listed (right, 95 % interval; nats, and the fewest there "
        "can be; what the story says; scenes with all right):"
    )
    for kind in dict.fromkeys(one.kind for one in answers):
        counted = count_kind([one for one in answers if one.kind == kind])
        low, high = share_interval(counted.right, counted.questions)
        table[kind] = asdict(counted) | {"low": low, "high": high}
        show.line(f"  {kind}: {tell_kind(counted, low, high)}")
    return {"by_kind": table}


def tell_kind(counted: KindFigures, low: float, high: float) -> str:
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
