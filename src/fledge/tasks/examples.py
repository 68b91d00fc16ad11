"""What a verifiable text task is: examples drawn by index, held out by content, and a judge of what
is said in reply.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fledge.splits import Split


@dataclass(frozen=True, slots=True)
class Example:
    """One question. `answer` is None where only a function knows what is right; `task` is the name
    of its task; `hidden` is what the task knows of it and the prompt does not say.
    """

    prompt: str
    answer: str | None
    task: str
    hidden: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge says of one completion: a score, any finite number, and whether the completion
    is right.

    failure: why a judge of the user's has not judged it, one that hung or died; the score is then
        one that was agreed on.
    """

    score: float
    right: bool
    failure: str | None = None


class Task(Protocol):
    """Questions without end, and the judge of what is said in reply."""

    @property
    def name(self) -> str:
        """What `load_task` was given; the parts of a mixture keep their own names in
        `Example.task`.
        """
        ...

    @property
    def note(self) -> str | None:
        """One sentence that the user should be told before the run starts, or None."""
        ...

    @property
    def holds_out(self) -> bool:
        """False where validation and test are the very examples that are trained on: a figure says
        nothing of new ones.
        """
        ...

    @property
    def can_fail(self) -> bool:
        """Whether its judge is a user's in a process of its own, which may hang or die on an
        answer.
        """
        ...

    def example(self, index: int, split: Split) -> Example:
        """The example at `index` ≥ 0: a pure function of the task's seed, the split and the index.

        So the place in the data is one integer, and a run that is resumed sees what it would have
        seen.
        """
        ...

    def judge(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Verdict]:
        """What each completion is worth, asked once.  [B], [B] -> [B]"""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What its judge draws from, so that a run that is continued is judged as it would have
        been.
        """
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


def draw_integer(key: str, bits: int) -> int:
    """A uniform integer of at least `bits` bits that depends on `key` alone, so no generator has to
    be saved.

    SHAKE-128 (FIPS 202) gives as many bits as are asked for. 64 more than asked are returned: `% n`
    of the result, for an n of at most `bits` bits, is then biased by less than 2⁻⁶⁴.
    """
    return int.from_bytes(hashlib.shake_128(key.encode()).digest(bits // 8 + 9), "little")


def prefix_credit(answer: str, completion: str) -> float:
    """Credit in [0, 1] for a completion that begins as the answer does:

        max(0, k − 1 − e) / (n − 1)

    n = len(answer), k = length of the common prefix, e = max(0, len(completion) − n), the
    characters too many. Blanks at either end of both texts are ignored, nothing else is. It is 1
    for the exact answer and for nothing else; an answer of one character is right (1) or wrong (0).
    Three choices keep it hard to game:
    - a prefix, not the share of positions that agree: a constant guess agrees with some position of
      most words, but with the first m letters of one word in 26^m only;
    - the first character alone is worth nothing, since it is cheap to guess (more than half of all
      sums of two two-digit numbers begin with 1);
    - a character too many costs what a right one earns, so neither the prompt said again nor an
      endless reply pays.
    """
    answer, completion = answer.strip(), completion.strip()
    if answer == completion:
        return 1.0
    shared = 0
    for wanted, given in zip(answer, completion, strict=False):
        if wanted != given:
            break
        shared += 1
    extra = max(0, len(completion) - len(answer))
    return max(0, shared - 1 - extra) / max(1, len(answer) - 1)


def known_answer(example: Example) -> str:
    """The example's answer, which a task that compares with one must have."""
    if example.answer is None:
        raise ValueError(
            f"an example of {example.task} came without an answer, and its completion is compared "
            "with one."
        )
    return example.answer


class Answered:
    """The judge of every task whose answers are known: equality, and some credit for a right
    beginning.
    """

    can_fail = False

    def judge(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Verdict]:
        """`prefix_credit` of each completion, which is 1 for the right one and for no other.  [B],
        [B] -> [B]
        """
        pairs = zip(examples, completions, strict=True)
        credits = [
            prefix_credit(known_answer(example), completion) for example, completion in pairs
        ]
        return [Verdict(credit, credit == 1.0) for credit in credits]

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """There is none."""
