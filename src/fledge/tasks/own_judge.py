"""The prompts and the judge in a Python file of the user's: asked for, and what they return made
into verdicts.

    prompts() -> list                          of strings, or of dicts with `prompt` and perhaps
    `answer`
    score(prompt: str, completion: str)        -> a finite number; or a pair (number, is it right?)
    scores(prompts: list, completions: list)   -> a list of these: used instead of `score` where
    both are there
    reply(prompt, said), TURNS                 as `own_replies` has them: a task of several turns

Without a pair a completion is right from a score of 1 on. Imports no numpy and no torch: it also
runs in a process of its own, which should begin at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fledge.errors import UserError
from fledge.generators import seed_generators
from fledge.tasks.examples import Verdict
from fledge.tasks.own_replies import find_reply, read_reply, say_when
from fledge.user_code import abbreviate, call, is_text, load_module

LARGEST = 3.4e38  # what trains is float32
RIGHT_FROM = 1.0


class OwnJudge:
    """The file, run in this process, with the generators seeded before. `pairs`: each prompt with
    its answer or None. `turns`: 1 where completions are single texts.

    Raises UserError where the file lacks one of the functions, raises, or returns something else.
    """

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        seed_generators(seed)
        module = vars(load_module(path))
        prompts, score, scores = (module.get(name) for name in ("prompts", "score", "scores"))
        if not callable(prompts):
            raise UserError(
                f"{path} has no function prompts(): define one that returns a list of prompts."
            )
        if not callable(scores) and not callable(score):
            raise UserError(
                f"{path} has no function score(prompt, completion): define one that returns a "
                "number."
            )
        self.whole = callable(scores)  # all completions in one call
        self.function: Any = scores if self.whole else score
        self.answering, self.turns = find_reply(path, module)
        given = call(path, "prompts()", prompts, "while the prompts were listed")
        if not isinstance(given, list | tuple) or not given:
            kind = (
                "an empty list"
                if isinstance(given, list | tuple)
                else f"a value of type {type(given).__name__}"
            )
            raise UserError(
                f"{path}: prompts() returned {kind}: return a list of at least one prompt."
            )
        self.pairs = [self._pair(place, row) for place, row in enumerate(given)]

    def judge(self, prompts: Sequence[str], completions: Sequence[str]) -> list[Verdict]:
        """[B], [B] -> [B]. Raises UserError where the file's function raises or returns what is no
        score.
        """
        if self.whole:
            return self._judge_whole(list(prompts), list(completions)) if prompts else []
        return [self._judge_one(p, c) for p, c in zip(prompts, completions, strict=True)]

    def reply(self, prompt: str, said: Sequence[str]) -> str | None:
        """What the file answers to the last of `said`. Raises UserError where its function raises
        or returns what is no reply. `turns` must be more than 1.
        """
        assert self.answering is not None
        when = say_when(prompt, said)
        value = call(self.path, "reply()", self.answering, when, prompt, list(said))
        return read_reply(self.path, value, when)

    def _judge_one(self, prompt: str, completion: str) -> Verdict:
        when = f"on the prompt {abbreviate(prompt)}"
        said = call(self.path, "score()", self.function, when, prompt, completion)
        return read_verdict(self.path, said, when)

    def _judge_whole(self, prompts: list[str], completions: list[str]) -> list[Verdict]:
        number, when = (
            len(prompts),
            f"on {len(prompts)} prompts, the first of them {abbreviate(prompts[0])}",
        )
        asked = list(prompts)  # the file may change the list it is given
        said = call(self.path, "scores()", self.function, when, prompts, completions)
        if hasattr(said, "tolist"):  # an array or a tensor
            said = call(self.path, "scores()", said.tolist, when)
        if not isinstance(said, list | tuple):
            kind = type(said).__name__
            raise UserError(
                f"{self.path}: scores() returned a value of type {kind} {when}: return a list of "
                "numbers."
            )
        if len(said) != number:
            raise UserError(
                f"{self.path}: scores() returned {len(said)} scores {when}: return one for each "
                "completion."
            )
        return [
            read_verdict(self.path, value, f"on the prompt {abbreviate(p)}")
            for value, p in zip(said, asked, strict=True)
        ]

    def _pair(self, place: int, row: Any) -> tuple[str, str | None]:
        """One entry of what prompts() returned, a string or a dict."""
        prompt, answer = (
            (row.get("prompt"), row.get("answer")) if isinstance(row, dict) else (row, None)
        )
        unknown = (
            [key for key in row if key not in ("prompt", "answer")] if isinstance(row, dict) else []
        )
        # `answr` would be taken for a prompt without an answer, which any completion may answer
        if unknown:
            raise UserError(
                f"{self.path}: entry {place} of prompts() has "
                f"{', '.join(map(abbreviate, unknown[:3]))} beside what is known (`prompt`, "
                "`answer`): take it out, or mend its name."
            )
        if not is_text(prompt) or (answer is not None and not is_text(answer)):
            raise UserError(
                f"{self.path}: entry {place} of prompts() is {abbreviate(row)}: make it a string, "
                "or a dict with the string `prompt` and perhaps the string `answer`."
            )
        return prompt, answer

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the generators are those of this process, and whatever else the file keeps is
        its own affair.
        """
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing."""


def read_verdict(path: Path, value: Any, when: str) -> Verdict:
    """A number (or a tensor of one), or a pair of it and a truth. Raises UserError, with the file
    it came from, for anything else.
    """
    score, right = value if is_pair(value) else (value, None)
    if isinstance(score, str | bytes):
        number = math.nan
    else:
        try:
            number = call(path, "the score", float, when, score)
        except UserError as error:
            # A list, None, a tensor of several elements, 10 ** 400; what else is raised is the
            # user's own.
            if not isinstance(
                error.__cause__, TypeError | ValueError | RuntimeError | OverflowError
            ):
                raise
            number = math.nan
    if not abs(number) <= LARGEST:
        raise UserError(
            f"{path}: the score was {abbreviate(score)} {when}: return a finite number."
        )
    return Verdict(number, number >= RIGHT_FROM if right is None else bool(right))


def is_pair(value: Any) -> bool:
    """A score and whether it is right; numpy's own truth too."""
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and type(value[1]).__name__ in ("bool", "bool_")
    )
