"""What a prompting program is given and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ConfigDict

from fledge.prompting.questions import Question
from fledge.prompting.speaker import Prompt, Saying, Speaker
from fledge.rows.turns import Conversation
from fledge.tools.python_tool import RunPrograms
from fledge.tools.tool import Tool


class ProgramSettings(BaseModel):
    """Of a program: its own fields are added."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class Asking:
    """shown: demonstrations, the same for every question. saying: how an answer is drawn, unless
    the program says otherwise. tools, run: what a program may use.
    """

    speaker: Speaker
    shown: tuple[Question, ...]
    saying: Saying
    tools: tuple[Tool, ...]
    run: RunPrograms

    def say(self, prompts: Sequence[Prompt], round: int = 0, **changed: Any) -> list[str]:
        """[N] -> [N]. round: of a program that asks more than once, so that its draws differ."""
        saying = replace(self.saying, seed=self.saying.seed + round, **changed)
        return self.speaker.say(prompts, saying) if prompts else []


@dataclass(frozen=True)
class Answered:
    """answer: what is judged. turns: everything that was said on the way. calls: answers that the
    model gave for it.
    """

    answer: str
    turns: Conversation
    calls: int = 1


@dataclass(frozen=True)
class PromptingProgram:
    """answer: (asking, questions [N], settings) -> [N]. shows: demonstrations that it needs, none,
    plain ones, or with their reasoning.
    """

    name: str
    summary: str
    settings: type[ProgramSettings]
    answer: Callable[[Asking, Sequence[str], Any], list[Answered]]
    shows: str = "none"
