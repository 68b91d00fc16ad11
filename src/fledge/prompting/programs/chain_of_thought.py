"""Chain of thought: the model reasons before it answers.

zero_shot_cot: "Let's think step by step.", and a second question for the answer (Kojima et al.
2022, §3). few_shot_cot: the examples show their reasoning, which ends in "The answer is …" (Wei et
al. 2022, §2).
"""

from __future__ import annotations

from collections.abc import Sequence

from fledge.prompting.program import Answered, Asking, ProgramSettings, PromptingProgram
from fledge.prompting.reading import read_answer
from fledge.prompting.speaker import ask_user, say_assistant
from fledge.rows.turns import Conversation

STEPS = "Let's think step by step."
THEREFORE = "Therefore, what is the answer? Reply with the answer alone."
SHORT = 32  # tokens of the answer alone


def zero_shot_cot(asking: Asking, questions: Sequence[str], _: ProgramSettings) -> list[Answered]:
    asked: list[Conversation] = [[ask_user(f"{question}\n\n{STEPS}")] for question in questions]
    reasons = asking.say(asked)
    again = [
        [*turns, say_assistant(reason), ask_user(THEREFORE)]
        for turns, reason in zip(asked, reasons, strict=True)
    ]
    answers = asking.say(again, 1, max_new_tokens=min(SHORT, asking.saying.max_new_tokens))
    return [
        Answered(read_answer(text), [*turns, say_assistant(text)], calls=2)
        for turns, text in zip(again, answers, strict=True)
    ]


def few_shot_cot(asking: Asking, questions: Sequence[str], _: ProgramSettings) -> list[Answered]:
    asked = write_reasoned(asking, questions)
    return [
        Answered(read_answer(text), [*turns, say_assistant(text)])
        for turns, text in zip(asked, asking.say(asked), strict=True)
    ]


def write_reasoned(asking: Asking, questions: Sequence[str]) -> list[Conversation]:
    """The prompts: examples with their reasoning, where there are any, then the question."""
    before: Conversation = []
    for each in asking.shown:
        reasoned = f"{each.reasoning}\nThe answer is {each.answer}.".strip()
        before += [ask_user(each.text), say_assistant(reasoned)]
    if before:
        return [[*before, ask_user(question)] for question in questions]
    ending = 'End with "The answer is" and the answer.'
    return [[ask_user(f"{question}\n\n{STEPS} {ending}")] for question in questions]


PROGRAMS = (
    PromptingProgram("zero_shot_cot", "step by step", ProgramSettings, zero_shot_cot),
    PromptingProgram(
        "few_shot_cot", "after reasoned examples", ProgramSettings, few_shot_cot, shows="reasoning"
    ),
)
