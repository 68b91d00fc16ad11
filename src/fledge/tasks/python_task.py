"""The user's own task in a Python file, with `prompts()` and `score(prompt, completion)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fledge.tasks.examples import Example, Verdict
from fledge.tasks.rows import ExampleRows, OfRows


class JudgingFile(Protocol):
    """A file of the user's that lists prompts and judges completions, in this process or in one of
    its own.
    """

    @property
    def pairs(self) -> Sequence[tuple[str, str | None]]: ...
    @property
    def turns(self) -> int: ...
    def reply(self, prompt: str, said: Sequence[str]) -> str | None: ...
    def judge(self, prompts: Sequence[str], completions: Sequence[str]) -> list[Verdict]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True)
class PythonTask(OfRows):
    """Prompts and a judge from a Python file, which may fail on an answer where it has a process of
    its own.
    """

    name: str
    rows: ExampleRows
    own: JudgingFile
    can_fail: bool

    def judge(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Verdict]:
        """The file's verdicts, asked once.  [B], [B] -> [B]

        Raises UserError where the file raises, returns what is no score, or fails too often.
        """
        if len(examples) != len(completions):
            raise ValueError(
                f"{len(examples)} examples came with {len(completions)} completions: give one for "
                "each."
            )
        return self.own.judge([e.prompt for e in examples], list(completions))

    def state_dict(self) -> dict[str, Any]:
        return self.own.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.own.load_state_dict(state)
