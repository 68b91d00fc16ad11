"""Program-aided: the model writes a Python program, and what it prints is the answer. Gao et al.
2023 (PAL), §3. A program that fails is shown its error and may be written again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import Field

from fledge.prompting.program import Answered, Asking, ProgramSettings, PromptingProgram
from fledge.prompting.speaker import ask_user, say_assistant
from fledge.rows.turns import Conversation

ASK = (
    "Write a Python program that calculates the answer to this question and prints it, and nothing "
    "else. Reply with the program in ```python and ```.\n\nQuestion: {question}"
)
_BLOCK = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)


class Settings(ProgramSettings):
    tries: int = Field(default=2, ge=1, description="program_aided: programs a question at most")


def program_aided(asking: Asking, questions: Sequence[str], settings: Settings) -> list[Answered]:
    turns: list[Conversation] = [[ask_user(ASK.format(question=each))] for each in questions]
    answers, calls = [""] * len(questions), [0] * len(questions)
    open_ = list(range(len(questions)))
    for attempt in range(settings.tries):
        said = asking.say([turns[place] for place in open_], attempt)
        ended = asking.run([read_program(text) for text in said])
        still: list[int] = []
        for place, text, outcome in zip(open_, said, ended, strict=True):
            calls[place] += 1
            turns[place].append(say_assistant(text))
            printed = outcome.output.strip().splitlines()
            if outcome.whole and printed:
                answers[place] = printed[-1].strip()
                turns[place].append({"role": "tool", "content": outcome.output.strip()})
            else:
                why = outcome.error or "it printed nothing"
                turns[place].append(ask_user(f"That program failed: {why}. Write it again."))
                still.append(place)
        open_ = still
    return [Answered(*each) for each in zip(answers, turns, calls, strict=True)]


def read_program(said: str) -> str:
    """What stands in the last block of code, or all of it where there is none."""
    blocks = _BLOCK.findall(said)
    return blocks[-1] if blocks else said


PROGRAMS = (PromptingProgram("program_aided", "a program that is run", Settings, program_aided),)
