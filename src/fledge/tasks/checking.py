"""The check of a task before a run begins: can its judge be trusted?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from string import ascii_lowercase, ascii_uppercase, digits

from fledge.errors import UserError
from fledge.splits import SPLITS
from fledge.tasks.conversed import Mixed
from fledge.tasks.examples import Example, Task, Verdict
from fledge.tasks.python_world import PythonWorld, check_replies

RUBBISH = ("", "???", "~~~~~~~~")


def check_task(task: Task, examples_per_split: int = 8) -> None:
    """The start-up check, on the first examples of each split: does the judge tell right from
    wrong?

    Where the answer is known it must be right, and score more than the same answer with every
    character changed and more than rubbish, neither of which may be right. Where only a function
    knows what is right, it must give such texts finite numbers; on none may it hang or die. Of a
    user's world each text is said turn by turn, and must be answered. Raises UserError with one
    sentence for the first example that fails.
    """
    for split in SPLITS:
        examples = [task.example(i, split) for i in range(examples_per_split)]
        for example in examples:
            part = task.find_part(example) if isinstance(task, Mixed) else task
            if isinstance(part, PythonWorld):
                check_replies(part, example, list_replies_to(example))
        for example, replies, verdicts in judge_replies(task, examples):
            at = f"the task {example.task} cannot be trusted on the prompt {example.prompt!r}:"
            for reply, verdict in zip(replies, verdicts, strict=True):
                if verdict.failure is not None:
                    raise UserError(
                        f"{verdict.failure}, which was answered {reply!r} to see whether the judge "
                        "stands; mend it."
                    )
                if not math.isfinite(verdict.score):
                    raise UserError(
                        f"{at} {reply!r} scores {verdict.score}: a score is a finite number; mend "
                        "it."
                    )
            if example.answer is None:
                continue
            right = verdicts[0]
            if not right.right:
                raise UserError(
                    f"{at} its own answer {example.answer!r} scores {right.score:.3g} and is not "
                    "called right; mend it."
                )
            for number, (reply, verdict) in enumerate(zip(replies[1:], verdicts[1:], strict=True)):
                if number > 0 and reply[:1] == example.answer.strip()[:1]:
                    # an answer may begin like rubbish, and then that earns a part of its score
                    continue
                what = "the wrong" if number == 0 else "the rubbish"
                if verdict.score >= right.score:
                    raise UserError(
                        f"{at} {what} {reply!r} scores {verdict.score:.3g} and the right "
                        f"{replies[0]!r} {right.score:.3g}."
                    )
                if verdict.right:
                    raise UserError(f"{at} {what} {reply!r} is called right; mend it.")


def judge_replies(
    task: Task, examples: Sequence[Example]
) -> list[tuple[Example, list[str], list[Verdict]]]:
    """Those of `list_replies_to` for each example, judged in one call."""
    replies = [list_replies_to(example) for example in examples]
    asked = [example for example, several in zip(examples, replies, strict=True) for _ in several]
    verdicts = iter(task.judge(asked, [reply for several in replies for reply in several]))
    return [
        (example, several, [next(verdicts) for _ in several])
        for example, several in zip(examples, replies, strict=True)
    ]


def list_replies_to(example: Example) -> list[str]:
    """A right one (the prompt where none is known), a wrong one and rubbish."""
    right = example.prompt if example.answer is None else example.answer
    return [right, corrupt(right), *RUBBISH]


def corrupt(answer: str) -> str:
    """The answer with each letter and digit replaced by its successor (z by a, 9 by 0), all else by
    # or @.
    """
    after = {}
    for alphabet in (ascii_lowercase, ascii_uppercase, digits):
        after.update(zip(alphabet, alphabet[1:] + alphabet[0], strict=True))
    return "".join(
        after.get(character, "@" if character == "#" else "#") for character in answer.strip()
    )
