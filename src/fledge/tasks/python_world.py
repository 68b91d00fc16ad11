"""Opens a Python file of the user's as a task: one with `reply(prompt, said)` too is a world of
text, which is asked for its replies before it is trusted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fledge.errors import UserError
from fledge.rows.census import Census, Reading
from fledge.seeds import seed_for
from fledge.tasks.conversed import in_one_line
from fledge.tasks.examples import Example
from fledge.tasks.judge_process import JudgeProcess
from fledge.tasks.own_judge import OwnJudge
from fledge.tasks.own_process import Limits
from fledge.tasks.python_task import JudgingFile, PythonTask
from fledge.tasks.rows import Admit, PromptSides, list_usable
from fledge.user_code import abbreviate


@dataclass(frozen=True)
class PythonWorld(PythonTask):
    """A Python file that answers: its reply() says what comes of a turn, and its judge reads all
    the turns, one a line.
    """

    @property
    def turns(self) -> int:
        return self.own.turns

    def reply(self, example: Example, said: Sequence[str]) -> str | None:
        """Raises Unanswered where the file fails on it, UserError where it fails too often, or at
        all in this process.
        """
        return self.own.reply(example.prompt, said)


def load_python_task(
    name: str, seed: int, limits: Limits | None, reading: Reading, admit: Admit
) -> PythonTask:
    """A Python file with prompts() and score(), as `OwnJudge` has them, and perhaps with reply();
    without limits it runs in this process.

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
    kind = PythonTask if own.turns == 1 else PythonWorld
    return kind(name, rows, own, can_fail=limits is not None)


def check_replies(world: PythonWorld, example: Example, texts: Sequence[str]) -> None:
    """Does it answer the turns of each text, one a line, and answer them alike when it is asked
    again? And does the example's own answer, where it has one, end where the conversation does?

    Raises UserError with one sentence for the first that fails.
    """
    at = f"the task {world.name} cannot be trusted on the prompt {example.prompt!r}:"
    for text in texts:
        said = [in_one_line(line) for line in text.split("\n")][: world.turns]
        replies = list_replies(world, example, said)
        if list_replies(world, example, said) != replies:
            raise UserError(
                f"{at} reply() does not say the same when it is asked about {abbreviate(said)} "
                "again, as a run that is resumed does: let it depend on the prompt and what was "
                "said alone."
            )
    if example.answer is None:
        return
    turns = example.answer.split("\n")
    odd = next((turn for turn in turns if turn != in_one_line(turn) or not turn), None)
    if odd is not None:
        raise UserError(
            f"{at} its own answer has the turn {odd!r}: a turn is a line, with single blanks for "
            "all white space, and not empty."
        )
    if len(turns) > world.turns:
        raise UserError(
            f"{at} its own answer has {len(turns)} turns and TURNS is {world.turns}: raise TURNS, "
            "or shorten it."
        )
    replies = list_replies(world, example, turns)
    if len(replies) < len(turns):
        raise UserError(
            f"{at} reply() ends the conversation after turn {len(replies)} of the {len(turns)} of "
            "its own answer: mend one of them."
        )
    if replies[-1] is not None and len(turns) < world.turns:
        raise UserError(
            f"{at} reply() goes on after its own answer has ended, with {abbreviate(replies[-1])}: "
            "return None where there is nothing more to say."
        )


def list_replies(world: PythonWorld, example: Example, said: Sequence[str]) -> list[str | None]:
    """What is answered turn by turn, as far as the conversation goes."""
    replies: list[str | None] = []
    for number in range(1, len(said) + 1):
        replies.append(world.reply(example, said[:number]))
        if replies[-1] is None:
            break
    return replies
