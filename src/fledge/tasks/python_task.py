"""The user's own task in a Python file, with `prompts()` and `score(prompt, completion)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fledge.rows.census import Census, Reading
from fledge.seeds import seed_for
from fledge.tasks.examples import Example, Verdict
from fledge.tasks.judge_process import JudgeProcess, Limits
from fledge.tasks.own_judge import OwnJudge
from fledge.tasks.rows import Admit, ExampleRows, OfRows, PromptSides, list_usable


class JudgingFile(Protocol):
    """A file of the user's that lists prompts and judges completions, in this process or in one of
    its own.
    """

    @property
    def pairs(self) -> Sequence[tuple[str, str | None]]: ...
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


def load_python_task(
    name: str, seed: int, limits: Limits | None, reading: Reading, admit: Admit
) -> PythonTask:
    """A Python file with prompts() and score(), as `OwnJudge` has them; without limits it runs in
    this process.

    Raises UserError where the file lacks one of them, raises, hangs, dies, or returns something
    else.
    """
    path = Path(name)
    own: JudgingFile
    if limits is None:
        own = OwnJudge(path, seed_for(seed, "judge", path.name))
    else:
        own = JudgeProcess(path, seed, limits)
    census = Census(name, reading, rows="prompts", lines="entries")

    def make(pair: tuple[str, str | None], place: int) -> Example:
        example = Example(*pair, name)
        admit(example)
        return example

    sides, examples = PromptSides(), []
    for _, example in list_usable(census, enumerate(own.pairs), make):
        sides.append(example.prompt)
        examples.append(example)
    rows = sides.deal(name, examples, seed, [census])
    return PythonTask(name, rows, own, can_fail=limits is not None)
