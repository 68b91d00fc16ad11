"""How near a model's answers about minds are to the exact ones, by kind: the likeliest of the
listed answers, and −Σ p ln q, p the exact chances and q what the model gives the answers among
themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from fledge.errors import Diverged
from fledge.evaluate.suites.choosing import choose
from fledge.evaluate.suites.questions import ChoiceQuestion
from fledge.policy import TokenPolicy
from fledge.tasks.examples import Example
from fledge.tasks.minds.mind_task import Asked, read_asked, read_story
from fledge.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class MindAnswer:
    """shares: q, of each answer in the order of `asked.chances`."""

    kind: str
    story: str
    asked: Asked
    shares: tuple[float, ...]

    @property
    def right(self) -> bool:
        chances = list(self.asked.chances.values())
        best = max(range(len(chances)), key=lambda i: self.shares[i])
        return chances[best] == max(chances)

    @property
    def nats(self) -> float:
        return cross_entropy(list(self.asked.chances.values()), self.shares)

    @property
    def exact_nats(self) -> float:
        """The least that there can be: the entropy of the exact chances."""
        chances = list(self.asked.chances.values())
        return cross_entropy(chances, chances)


def cross_entropy(chances: Sequence[float], shares: Sequence[float]) -> float:
    """−Σ p ln q in nats; infinite where q is 0 and p is not."""
    terms = [
        -p * math.log(q) if q > 0 else math.inf
        for p, q in zip(chances, shares, strict=True)
        if p > 0
    ]
    return sum(terms)


def answer_minds(
    policy: TokenPolicy, tokenizer: Tokenizer, examples: Sequence[Example]
) -> list[MindAnswer]:
    """Each asked as a user's turn, its answers as what is said in reply. Raises Diverged where a
    log-probability is no number.
    """
    asked = [read_asked(example) for example in examples]
    questions = [
        ChoiceQuestion(
            (example.prompt,) * len(one.chances),
            tuple(one.chances),
            tuple(one.chances),
            0,
            "",
            example.prompt,
        )
        for example, one in zip(examples, asked, strict=True)
    ]
    answers = []
    chosen = choose(policy, tokenizer, questions, [""] * len(questions), chat=True, pmi=False)
    for example, one, said in zip(examples, asked, chosen, strict=True):
        nats = torch.tensor(said.nats, dtype=torch.float64)
        if not bool(nats.isfinite().all()):
            raise Diverged(
                f"an answer to {example.prompt!r} has a log-probability that is no number: use a "
                "run from before that."
            )
        shares = tuple(nats.softmax(0).tolist())
        answers.append(MindAnswer(example.task, read_story(example), one, shares))
    return answers


@dataclass(frozen=True)
class MindFigures:
    """questions, right: what the kind is about. controls, remembered: what is asked beside it, and
    how many of these are right. scenes, whole: of which all was asked, and all was right.
    by_chance: the share that a guess would have right. nats, exact_nats: means over `questions`.
    """

    questions: int
    right: int
    controls: int
    remembered: int
    scenes: int
    whole: int
    by_chance: float
    nats: float
    exact_nats: float


def count_minds(answers: Sequence[MindAnswer]) -> MindFigures:
    """Of the answers of one kind or several, one or more of which is no control."""
    own = [one for one in answers if not one.asked.control]
    beside = [one for one in answers if one.asked.control]
    scenes: dict[tuple[str, str], list[bool]] = {}
    for one in answers:
        scenes.setdefault((one.kind, one.story), []).append(one.right)
    most: dict[str, int] = {}
    for (kind, _), each in scenes.items():
        most[kind] = max(most.get(kind, 0), len(each))
    asked_whole = [each for (kind, _), each in scenes.items() if len(each) == most[kind]]
    return MindFigures(
        questions=len(own),
        right=sum(one.right for one in own),
        controls=len(beside),
        remembered=sum(one.right for one in beside),
        scenes=len(asked_whole),
        whole=sum(all(each) for each in asked_whole),
        by_chance=sum(1 / len(one.shares) for one in own) / len(own),
        nats=sum(one.nats for one in own) / len(own),
        exact_nats=sum(one.exact_nats for one in own) / len(own),
    )
