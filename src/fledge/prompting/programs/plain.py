"""Zero-shot, few-shot and persona: the question, alone, after examples, or to somebody.

few_shot: k questions with their answers come first, as turns of the conversation (Brown et al.
2020, §2). persona: the system's turn says who answers (Salewski et al. 2023).
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from fledge.prompting.program import Answered, Asking, ProgramSettings, PromptingProgram
from fledge.prompting.reading import read_answer
from fledge.prompting.speaker import ask_user, say_assistant
from fledge.rows.turns import Conversation


class PersonaSettings(ProgramSettings):
    persona: str = Field(
        default="You are a careful expert who answers briefly and exactly.",
        description="persona: what the system's turn says of who answers",
    )


def zero_shot(asking: Asking, questions: Sequence[str], _: ProgramSettings) -> list[Answered]:
    return _answer(asking, [[ask_user(question)] for question in questions])


def few_shot(asking: Asking, questions: Sequence[str], _: ProgramSettings) -> list[Answered]:
    before = [
        turn for each in asking.shown for turn in (ask_user(each.text), say_assistant(each.answer))
    ]
    return _answer(asking, [[*before, ask_user(question)] for question in questions])


def persona(asking: Asking, questions: Sequence[str], settings: PersonaSettings) -> list[Answered]:
    system: Conversation = [{"role": "system", "content": settings.persona}]
    return _answer(asking, [[*system, ask_user(question)] for question in questions])


def _answer(asking: Asking, asked: Sequence[Conversation]) -> list[Answered]:
    said = asking.say(asked)
    return [
        Answered(read_answer(text), [*turns, say_assistant(text)])
        for turns, text in zip(asked, said, strict=True)
    ]


PROGRAMS = (
    PromptingProgram("zero_shot", "the question alone", ProgramSettings, zero_shot),
    PromptingProgram("few_shot", "after examples", ProgramSettings, few_shot, shows="answers"),
    PromptingProgram("persona", "to somebody", PersonaSettings, persona),
)
