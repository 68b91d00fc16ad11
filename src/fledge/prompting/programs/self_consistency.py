"""Self-consistency: several chains of thought are drawn, and the answer that most of them come to
counts. Wang et al. 2023, §2: argmax_a Σ_i 1(a_i = a); of equals the one that came first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pydantic import Field

from fledge.prompting.program import Answered, Asking, ProgramSettings, PromptingProgram
from fledge.prompting.programs.chain_of_thought import write_reasoned
from fledge.prompting.reading import plain_words, read_answer, read_number
from fledge.prompting.speaker import say_assistant


class Settings(ProgramSettings):
    paths: int = Field(default=5, ge=1, description="self_consistency: chains drawn a question")
    path_temperature: float = Field(default=0.7, gt=0, description="self_consistency: of the draws")


def self_consistency(
    asking: Asking, questions: Sequence[str], settings: Settings
) -> list[Answered]:
    asked = [turns for turns in write_reasoned(asking, questions) for _ in range(settings.paths)]
    said = asking.say(asked, temperature=settings.path_temperature)
    answered: list[Answered] = []
    for start in range(0, len(asked), settings.paths):
        some = said[start : start + settings.paths]
        chosen = vote([read_answer(text) for text in some])
        turns = [*asked[start], *map(say_assistant, some)]
        answered.append(Answered(chosen, turns, calls=settings.paths))
    return answered


def vote(answers: Sequence[str]) -> str:
    """Answers with one number in them are told apart by its value, others by their words; empty
    ones have no vote.
    """
    keys = [key_of(answer) for answer in answers]
    counts = Counter(key for key in keys if key)
    if not counts:
        return ""
    best, _ = counts.most_common(1)[0]  # in the order in which they came
    return answers[keys.index(best)]


def key_of(answer: str) -> str:
    number = read_number(answer)
    return plain_words(answer) if number is None else str(number.normalize())


PROGRAMS = (
    PromptingProgram(
        "self_consistency", "several chains, a vote", Settings, self_consistency, shows="reasoning"
    ),
)
