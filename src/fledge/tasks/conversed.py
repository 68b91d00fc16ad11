"""Tasks of several turns: what is said is answered, until there is nothing more to say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from fledge.errors import UserError
from fledge.rows.turns import Message
from fledge.tasks.examples import Example, Task, Verdict


@runtime_checkable
class Conversed(Protocol):
    """A task whose completion is a conversation: the turns of whoever answers, one a line, are what
    its judge reads and what an example's `answer` holds.
    """

    @property
    def turns(self) -> int:
        """How many turns there are at most."""
        ...

    def reply(self, example: Example, said: Sequence[str]) -> str | None:
        """What is answered to the last of `said`, all the turns so far, each as `in_one_line` makes
        it; None where it is over, which running out of turns is not. A function of nothing else,
        so that nothing of a conversation has to be kept for a run that is resumed.

        Raises Unanswered where code of a user's failed on it.
        """
        ...


class Unanswered(UserError):
    """A turn that code of a user's failed to answer: it costs its own conversation, whose verdict
    this has.
    """

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(f"{verdict.failure}; mend it.")
        self.verdict = verdict


def in_one_line(text: str) -> str:
    """What was said in a turn, with single blanks for all white space."""
    return " ".join(text.split())


def join_turns(said: Sequence[str]) -> str:
    """The turns as a judge reads them, one a line."""
    return "\n".join(said)


@runtime_checkable
class Mixed(Protocol):
    """Several tasks as one."""

    def find_part(self, example: Example) -> Task:
        """The one that an example is of."""
        ...


def count_turns(task: Task, example: Example | None = None) -> int:
    """1 where an answer is a single text. example: of a mixture, whose own part is meant; else the
    most of all parts.
    """
    if example is not None and isinstance(task, Mixed):
        task = task.find_part(example)
    return task.turns if isinstance(task, Conversed) else 1


def write_messages(task: Task | None, example: Example) -> list[Message]:
    """The example, asked and answered as its `answer` says, in the turns of a conversation. It must
    have an answer.
    """
    assert example.answer is not None
    asked: Message = {"role": "user", "content": example.prompt}
    if task is None or not isinstance(task, Conversed) or count_turns(task, example) == 1:
        return [asked, {"role": "assistant", "content": example.answer}]
    messages, said = [asked], list[str]()
    for turn in example.answer.split("\n"):
        said.append(turn)
        messages.append({"role": "assistant", "content": turn})
        reply = task.reply(example, said)
        if reply is None:
            break
        messages.append({"role": "user", "content": reply})
    return messages if messages[-1]["role"] == "assistant" else messages[:-1]


def write_transcript(task: Conversed, example: Example, said: Sequence[str]) -> str:
    """What was said and answered, as a person reads it: turns behind "> ", replies under them. It
    ends where the task fails on a turn that it had answered.
    """
    lines = []
    for number, turn in enumerate(said, 1):
        lines.append(f"> {turn}")
        try:
            reply = task.reply(example, said[:number])
        except Unanswered as failure:
            return "\n".join([*lines, str(failure.verdict.failure)])
        lines += [] if reply is None else [reply]
    return "\n".join(lines)
