"""Table-to-text as a task: a .jsonl whose rows have `slots` and, as an example of what may be said
of them, `text`; a completion is worth the share of the slots that it says.

The share counts the slots whose value the row's own text says, since one that is said otherwise
("yes" of a slot `family friendly`) cannot be looked for. It asks for no fluency: a KL to the model
that one starts from holds that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fledge.rows.census import Unusable
from fledge.rows.slots import list_said, parse_slots
from fledge.tasks.examples import Example, Verdict, known_answer
from fledge.tasks.rows import ExampleRows, OfRows


@dataclass(frozen=True)
class SlotTask(OfRows):
    """Rows of slots and text. Its score is the slot coverage, and all slots said is right."""

    name: str
    rows: ExampleRows
    can_fail = False

    def judge(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Verdict]:
        """The slot coverage of each completion.  [B], [B] -> [B]"""
        pairs = zip(examples, completions, strict=True)
        shares = [measure_coverage(example, completion) for example, completion in pairs]
        return [Verdict(share, share == 1.0) for share in shares]

    def state_dict(self) -> dict[str, object]:
        return {}

    def load_state_dict(self, state: object) -> None:
        """There is none."""


def list_wanted(example: Example) -> dict[str, str]:
    """The slots of an example whose value its own text says."""
    slots = parse_slots(example.prompt)
    said = list_said(slots, known_answer(example))
    return {name: slots[name] for name in said}


def measure_coverage(example: Example, completion: str) -> float:
    """The share of these slots that the completion says, in [0, 1]."""
    wanted = list_wanted(example)
    return len(list_said(wanted, completion)) / len(wanted)


def check_slots(example: Example) -> None:
    """Raises Unusable for an example whose text says no slot."""
    if not list_wanted(example):
        raise Unusable("a `text` that says the value of no slot")
