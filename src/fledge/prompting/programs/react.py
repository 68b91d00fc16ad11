"""ReAct: thoughts, actions and what they come to take turns until the model finishes. Yao et al.
2023, §2 and appendix C:

    Thought 1: … / Action 1: calculator[17 * 3] / Observation 1: 51 / … / Action 2: finish[51]
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import Field

from fledge.prompting.program import Answered, Asking, ProgramSettings, PromptingProgram
from fledge.prompting.speaker import ask_user, say_assistant
from fledge.tools.tool import call_tool

RULES = (
    "Answer the question in steps. Each step is a line that begins with Thought and says what you "
    "need, then a line that begins with Action and is one of\n{tools}\n- finish[answer]: ends with "
    "the answer\nAfter an Action you are told its Observation.\n\n"
    "Question: {example}\nThought 1: I need to multiply.\nAction 1: calculator[12 * 3]\n"
    "Observation 1: 36\nThought 2: That is the answer.\nAction 2: finish[36]\n\n"
    "Question: {question}"
)
EXAMPLE = "There are 12 boxes with 3 eggs each. How many eggs are there?"


class Settings(ProgramSettings):
    steps: int = Field(default=6, ge=1, description="react: thoughts and actions at most")


def react(asking: Asking, questions: Sequence[str], settings: Settings) -> list[Answered]:
    listed = "\n".join(
        f"- {tool.name}[{next(iter(tool.parameters))}]: {tool.description}" for tool in asking.tools
    )
    prompts = [RULES.format(tools=listed, example=EXAMPLE, question=each) for each in questions]
    said, answers, calls = [""] * len(prompts), [""] * len(prompts), [0] * len(prompts)
    open_ = list(range(len(prompts)))
    for step in range(1, settings.steps + 1):
        asked = [[ask_user(f"{prompts[i]}\n{said[i]}".rstrip())] for i in open_]
        # The observation is the tool's to say: the model is stopped before it makes one up.
        texts = asking.say(asked, step, stop=("Observation", "\nQuestion:"))
        still: list[int] = []
        for place, text in zip(open_, texts, strict=True):
            calls[place] += 1
            action = find_action(text)
            if action is None:
                told = "Error: no Action was given. Write Action: tool[input]."
                said[place] += f"{text.strip()}\nObservation {step}: {told}\n"
                still.append(place)
                continue
            name, given, upto = action
            said[place] += f"{text[:upto].strip()}\n"
            if name == "finish":
                answers[place] = given
                continue
            tool = next((tool for tool in asking.tools if tool.name == name), None)
            first = next(iter(tool.parameters)) if tool is not None else "input"
            said[place] += f"Observation {step}: {call_tool(asking.tools, name, {first: given})}\n"
            still.append(place)
        open_ = still
    return [
        Answered(answer, [ask_user(prompt), say_assistant(text)], n)
        for answer, prompt, text, n in zip(answers, prompts, said, calls, strict=True)
    ]


def find_action(text: str) -> tuple[str, str, int] | None:
    """The first action: its tool, what it is given, and where it ends. A bracket may hold others,
    as a list in Python does; an action of one line ends with its line.
    """
    begun = re.search(r"Action(?:\s*\d+)?\s*:\s*(\w+)\s*\[", text, re.IGNORECASE)
    if begun is None:
        return None
    depth, place = 1, begun.end()
    while place < len(text) and depth:
        depth += {"[": 1, "]": -1}.get(text[place], 0)
        place += 1
    inside = text[begun.end() : place - 1 if depth == 0 else place]
    return begun[1].lower(), inside.strip(), place


PROGRAMS = (PromptingProgram("react", "thoughts and tools in turn", Settings, react),)
