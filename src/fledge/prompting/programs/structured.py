"""Structured output: the answer is an object of JSON with its reasoning before it. Our own models
can say nothing else (constrained decoding); an endpoint is asked for the schema.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from fledge.prompting.program import Answered, Asking, ProgramSettings, PromptingProgram
from fledge.prompting.speaker import ask_user, say_assistant

# Reasoning first: what has been said of it is what the answer goes on from.
SCHEMA = {
    "type": "object",
    "properties": {
        "reasoning": {"type": "string", "maxLength": 400},
        "answer": {"type": "string", "maxLength": 80},
    },
    "required": ["reasoning", "answer"],
    "additionalProperties": False,
}
FORM = (
    'Reply with JSON alone: {{"reasoning": "how you come to it", "answer": "the answer alone"}}'
    "\n\n{question}"
)


def structured(asking: Asking, questions: Sequence[str], _: ProgramSettings) -> list[Answered]:
    asked = [[ask_user(FORM.format(question=question))] for question in questions]
    said = asking.say(asked, json_schema=SCHEMA)
    return [
        Answered(read_json_answer(text), [*turns, say_assistant(text)])
        for turns, text in zip(asked, said, strict=True)
    ]


def read_json_answer(text: str) -> str:
    """ "" where it was cut off, or is no such object."""
    start, end = text.find("{"), text.rfind("}")
    try:
        answer = json.loads(text[start : end + 1])["answer"]
    except (ValueError, LookupError, TypeError):
        return ""
    return str(answer).strip()


PROGRAMS = (
    PromptingProgram("structured", "JSON with the answer in it", ProgramSettings, structured),
)
