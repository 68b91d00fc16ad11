"""false_beliefs, goals, irony: stories without end as a task, by kind, with a judge and the exact
chances of every answer.

A scene is drawn again until its text lies in the wanted split, so all questions about one scene are
on one side. The answer is the likeliest one; a completion is worth the chance of the one answer it
names.
"""

from __future__ import annotations

import difflib
import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fledge.errors import UserError
from fledge.splits import Split, checked, split_of
from fledge.tasks.examples import Example, Verdict
from fledge.tasks.minds.false_beliefs import FALSE_BELIEFS
from fledge.tasks.minds.goals import GOALS
from fledge.tasks.minds.irony import IRONY
from fledge.tasks.minds.scene import Kind, Question, Scene
from fledge.tasks.worlds.world import Draws

MIND_TASKS: dict[str, dict[str, Kind]] = {
    "false_beliefs": FALSE_BELIEFS,
    "goals": GOALS,
    "irony": IRONY,
}


@dataclass(frozen=True)
class Asked:
    """What is known of an example beside its prompt. chances: of each answer. control: whether it
    asks what the story says.
    """

    chances: dict[str, float]
    control: bool


@dataclass(frozen=True)
class MindTask:
    """Of one kind. Questions i, i + 1, … of one scene follow each other."""

    name: str
    kind: Kind
    seed: int
    note: str | None = None
    holds_out: bool = True
    can_fail: bool = False

    def draw_scene(self, index: int, split: Split) -> Scene:
        key = f"{self.seed} {self.name} {checked(split)} {index}"
        scenes = (self.kind.make(Draws(f"{key} {attempt}")) for attempt in itertools.count())
        return next(scene for scene in scenes if split_of(f"scene: {scene.text}") == split)

    def example(self, index: int, split: Split) -> Example:
        place, which = divmod(index, self.kind.questions)
        scene = self.draw_scene(place, split)
        question = scene.questions[which]
        known = {
            "chances": {answer: float(p) for answer, p in question.chances.items()},
            "control": question.control,
        }
        return Example(
            write_prompt(scene, question), question.best, self.name, hidden=json.dumps(known)
        )

    def judge(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Verdict]:
        """The chance of the one answer that each completion names; 0 where it names none, or more
        than one.  [B], [B] -> [B]
        """
        verdicts = []
        for example, completion in zip(examples, completions, strict=True):
            chances = read_asked(example).chances
            said = read_answer(completion, list(chances))
            chance = 0.0 if said is None else chances[said]
            verdicts.append(Verdict(chance, said == example.answer))
        return verdicts

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Any) -> None:
        """There is none."""


def write_prompt(scene: Scene, question: Question) -> str:
    *first, last = question.chances
    return f"{scene.text}\n{question.text} Answer with one word: {', '.join(first)} or {last}."


def read_story(example: Example) -> str:
    """The scene that an example asks about."""
    return example.prompt.rpartition("\n")[0]


def read_asked(example: Example) -> Asked:
    return Asked(**json.loads(example.hidden))


def read_answer(text: str, answers: Sequence[str]) -> str | None:
    """The only one of the answers that the text names as a word."""
    words = set(re.findall(r"[a-z]+", text.lower()))
    named = [answer for answer in answers if answer in words]
    return named[0] if len(named) == 1 else None


def list_kinds(name: str) -> list[str]:
    """false_beliefs:moved+told as its two kinds, false_beliefs as all there are; another name as it
    is. Raises UserError for a kind that there is none of.
    """
    word, _, said = name.partition(":")
    if word not in MIND_TASKS:
        return [name]
    kinds = MIND_TASKS[word]
    wanted = said.split("+") if said else list(kinds)
    for kind in wanted:
        if kind not in kinds:
            near = difflib.get_close_matches(kind, kinds, n=1)
            perhaps = f"perhaps you meant {word}:{near[0]}; " if near else ""
            raise UserError(
                f"{name!r} names no kind of {word}: {perhaps}it has {', '.join(kinds)}, such as "
                f"{word}:{'+'.join(list(kinds)[:2])} for two of them."
            )
    return [f"{word}:{kind}" for kind in wanted]


def make_mind_task(name: str, seed: int) -> MindTask | None:
    """The kind that a name such as irony:odds says; None where it names none."""
    word, _, kind = name.partition(":")
    if kind not in MIND_TASKS.get(word, {}):
        return None
    return MindTask(name, MIND_TASKS[word][kind], seed)
