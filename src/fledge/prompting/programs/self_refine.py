"""Self-refine: the model answers, says what is wrong with its answer, and answers again, until it
finds nothing or the rounds are over. Madaan et al. 2023, algorithm 1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import Field

from fledge.prompting.program import Answered, Asking, ProgramSettings, PromptingProgram
from fledge.prompting.reading import read_answer
from fledge.prompting.speaker import ask_user, say_assistant

CRITIQUE = (
    "Check the answer above. If it is right and complete, reply with the one word CORRECT. "
    "Otherwise say what is wrong with it."
)
REFINE = 'Answer the question again, and mend that. End with "The answer is" and the answer.'
_FINE = re.compile(r"\W*correct\b", re.IGNORECASE)  # and no correction


class Settings(ProgramSettings):
    rounds: int = Field(default=2, ge=1, description="self_refine: of critique and new answer")


def self_refine(asking: Asking, questions: Sequence[str], settings: Settings) -> list[Answered]:
    turns = [[ask_user(question)] for question in questions]
    answers = asking.say(turns)
    turns = [[*each, say_assistant(a)] for each, a in zip(turns, answers, strict=True)]
    calls = [1] * len(questions)
    open_ = list(range(len(questions)))  # of those that may still be mended
    for round in range(settings.rounds):
        for place in open_:
            turns[place].append(ask_user(CRITIQUE))
        judged = asking.say([turns[place] for place in open_], 2 * round + 1)
        still: list[int] = []
        for place, text in zip(open_, judged, strict=True):
            turns[place].append(say_assistant(text))
            calls[place] += 1
            if not _FINE.match(text):
                turns[place].append(ask_user(REFINE))
                still.append(place)
        mended = asking.say([turns[place] for place in still], 2 * round + 2)
        for place, text in zip(still, mended, strict=True):
            turns[place].append(say_assistant(text))
            calls[place] += 1
            answers[place] = text
        open_ = still
    return [
        Answered(read_answer(a), each, n) for a, each, n in zip(answers, turns, calls, strict=True)
    ]


PROGRAMS = (PromptingProgram("self_refine", "answer, critique, again", Settings, self_refine),)
