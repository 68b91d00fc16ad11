"""What a suite is made of: questions whose answer is chosen by its likelihood, and questions that
are answered in words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ChoiceQuestion:
    """contexts, continuations: of each choice; most have one context in common, and WinoGrande one
    continuation. choices: as they are counted in bytes. neutral: what stands in the place of the
    contexts where only how likely a choice is at all is asked (PMI). text: the question itself.
    """

    contexts: tuple[str, ...]
    continuations: tuple[str, ...]
    choices: tuple[str, ...]
    right: int
    neutral: str
    text: str

    @property
    def shown(self) -> str:
        """As an example before other questions: with its answer."""
        return self.contexts[self.right] + self.continuations[self.right]


@dataclass(frozen=True)
class Marked:
    """What a judge says of one answer: right or not, under the rule that counts and under others by
    name; the answer as it was read out of the text; what went wrong, where something did.
    """

    right: bool
    read: str
    others: dict[str, bool]
    error: str = ""


# The judges of a suite judge all answers at once: programs run side by side.
Judge = Callable[[Sequence["AskedQuestion"], Sequence[str]], list[Marked]]


@dataclass(frozen=True)
class AskedQuestion:
    """stop: texts that end an answer; stop_in_turn: also one in a conversation. solved: the answer
    as an example before other questions has it. row: what the judge goes by.
    """

    prompt: str
    solved: str
    stop: tuple[str, ...]
    text: str
    row: dict[str, Any]
    stop_in_turn: bool = True

    @property
    def shown(self) -> str:
        return self.prompt + self.solved


Question = ChoiceQuestion | AskedQuestion
