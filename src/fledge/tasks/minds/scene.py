"""What a short story with questions is, each with the exact chances of its answers, and how one is
drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from fledge.tasks.worlds.world import Draws

PEOPLE = ("Ann", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gina", "Hugo", "Ida", "Jon", "Kim", "Leo")


@dataclass(frozen=True)
class Question:
    """chances: of each answer that may be given, 0 among them, in the order they are listed.
    control: whether it asks what the story says, and not what somebody has in mind.
    """

    text: str
    chances: Mapping[str, Fraction]
    control: bool = False

    @property
    def best(self) -> str:
        return max(self.chances, key=lambda answer: self.chances[answer])

    @property
    def is_decided(self) -> bool:
        """Whether one answer is likelier than all others."""
        return list(self.chances.values()).count(self.chances[self.best]) == 1


@dataclass(frozen=True)
class Scene:
    """The first question is the one that the kind is about; what is asked beside it tells apart who
    understood it from who has a habit, such as always the last place.
    """

    text: str
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class Kind:
    """questions: how many each of its scenes has."""

    make: Callable[[Draws], Scene]
    questions: int


def normalise(weights: Mapping[str, Fraction]) -> dict[str, Fraction]:
    total = sum(weights.values())
    return {answer: weight / total for answer, weight in weights.items()}


def count(times: int) -> str:
    return "once" if times == 1 else f"{times} times"


def ask(
    draw: Draws,
    text: str,
    chances: Mapping[str, Fraction],
    answers: Sequence[str],
    *,
    control: bool = False,
) -> Question:
    """With all the answers that may be given, in an order of chance."""
    listed = draw.several(answers, len(answers))
    return Question(text, {a: chances.get(a, Fraction(0)) for a in listed}, control)


def remember(draw: Draws, text: str, answer: str, answers: Sequence[str]) -> Question:
    """A control question."""
    return ask(draw, text, {answer: Fraction(1)}, answers, control=True)
