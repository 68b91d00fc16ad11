"""Whether a model may have read the questions: runs of words that stand both in them and in what it
was trained on.

As in Brown et al. 2020, "Language Models are Few-Shot Learners", appendix C: words in lower case
without punctuation, 13 in a row. A question of fewer words is looked for as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

WORDS = 13
FEWEST = 6  # words; what is shorter stands in any text
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Overlap:
    """share: of the question's words, those in a run that the training data has, too. example: the
    first such run; "" for none.
    """

    share: float
    example: str


def find_overlap(
    questions: Sequence[str], documents: Iterable[str], words: int = WORDS
) -> list[Overlap]:
    """Of each question, against all documents together. A document is read once, and nothing of it
    is kept but which of the questions' runs it has.
    """
    asked = [_WORD.findall(question.lower()) for question in questions]
    wanted = collect_runs(questions, words)
    known: set[str] = set()
    for document in documents:
        said = _WORD.findall(document.lower())
        for length, runs in wanted.items():
            for start in range(len(said) - length + 1):
                run = " ".join(said[start : start + length])
                if run in runs:
                    known.add(run)
    return [_measure(each, known, words) for each in asked]


def collect_runs(questions: Iterable[str], words: int = WORDS) -> dict[int, set[str]]:
    """The runs to look for, by their number of words."""
    wanted: dict[int, set[str]] = {}
    for question in questions:
        said = _WORD.findall(question.lower())
        for run in _list_runs(said, words):
            wanted.setdefault(min(words, len(said)), set()).add(run)
    return wanted


def find_run(document: str, wanted: Mapping[int, set[str]]) -> str:
    """The first of these runs that the document has; "" for none."""
    said = _WORD.findall(document.lower())
    for length, runs in wanted.items():
        for start in range(len(said) - length + 1):
            run = " ".join(said[start : start + length])
            if run in runs:
                return run
    return ""


def _list_runs(said: Sequence[str], words: int) -> list[str]:
    if len(said) < FEWEST:
        return []
    length = min(words, len(said))
    return [" ".join(said[a : a + length]) for a in range(len(said) - length + 1)]


def _measure(said: Sequence[str], known: set[str], words: int) -> Overlap:
    length = min(words, len(said))
    inside, example = set[int](), ""
    for start, run in enumerate(_list_runs(said, words)):
        if run in known:
            inside.update(range(start, start + length))
            example = example or run
    return Overlap(len(inside) / max(1, len(said)), example)
