"""Which of two answers is better, by a judge that sees each pair in both orders: a language model
that is asked, or a reward model, to which the order is nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fledge.evaluate.suites.choosing import choose
from fledge.evaluate.suites.questions import ChoiceQuestion
from fledge.evaluate.win_rate import WinRate, measure_win_rate
from fledge.policy import TokenPolicy
from fledge.text.tokenizer import Tokenizer

LETTERS = ("A", "B")
ASKED = (
    "Here are a question and two answers. Which answer is better?\n\nQuestion: {question}\n\n"
    "Answer A: {first}\n\nAnswer B: {second}\n\nThe better answer is Answer"
)
# Of each prompt, the first answer, the second: 1 where the first is preferred, ½ for a tie, 0.
Prefer = Callable[[Sequence[str], Sequence[str], Sequence[str]], list[float]]


def judge_both_orders(
    prefer: Prefer, prompts: Sequence[str], ours: Sequence[str], theirs: Sequence[str]
) -> WinRate:
    """Of our answers against theirs.  [N], [N], [N]"""
    as_first = prefer(prompts, ours, theirs)
    as_second = [1 - won for won in prefer(prompts, theirs, ours)]
    return measure_win_rate(as_first, as_second)


def ask_model(policy: TokenPolicy, tokenizer: Tokenizer, *, chat: bool = False) -> Prefer:
    """By which letter the model would rather say. Answers that are the same are a tie."""

    def prefer(prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> list[float]:
        questions: list[ChoiceQuestion] = []
        for prompt, a, b in zip(prompts, first, second, strict=True):
            text = ASKED.format(question=prompt, first=a.strip(), second=b.strip())
            continuations = tuple(f" {letter}" for letter in LETTERS)
            questions.append(ChoiceQuestion((text, text), continuations, LETTERS, 0, "", text))
        befores = [""] * len(questions)
        chosen = choose(policy, tokenizer, questions, befores, chat=chat, pmi=False)
        gaps = [each.nats[0] - each.nats[1] for each in chosen]
        return [
            0.5 if a.strip() == b.strip() or gap == 0 else float(gap > 0)
            for gap, a, b in zip(gaps, first, second, strict=True)
        ]

    return prefer


def compare_scores(score: Callable[[Sequence[str], Sequence[str]], Sequence[float]]) -> Prefer:
    """By a number of each answer alone, [N], [N] -> [N]; an equal one is a tie."""

    def prefer(prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> list[float]:
        pairs = zip(score(prompts, first), score(prompts, second), strict=True)
        return [0.5 if a == b else float(a > b) for a, b in pairs]

    return prefer
