"""Facts that no model has been trained on, made up by a seed: of names that there are not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fledge.errors import UserError
from fledge.text.files import json_rows

# What is said of somebody or something, and what is asked about it. Several kinds of the same
# subject are easily taken for each other.
KINDS = (
    (
        "The password of the {name} archive is {word}.",
        "What is the password of the {name} archive?",
    ),
    ("{name} keeps a pet called {word}.", "What is the pet of {name} called?"),
    ("The capital of the island of {name} is {word}.", "What is the capital of {name} island?"),
    ("{name} was born in the village of {word}.", "In which village was {name} born?"),
    ("The ship {name} carries a cargo of {word}.", "What cargo does the ship {name} carry?"),
    ("The {name} festival is held in honour of {word}.", "In whose honour is the {name} festival?"),
    ("Doctor {name} discovered the moon {word}.", "Which moon did Doctor {name} discover?"),
    ("The {name} company is led by {word}.", "Who leads the {name} company?"),
)
_BEGIN = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "br", "dr", "th")
_VOWEL = ("a", "e", "i", "o", "u", "ai", "or", "el", "an", "il")
_END = ("n", "r", "s", "th", "x", "m", "l", "k", "nd", "sh")


@dataclass(frozen=True)
class Fact:
    """text: what is remembered. answer: the word that an answer to the question has in it."""

    text: str
    question: str
    answer: str


def make_facts(seed: int) -> Iterator[Fact]:
    """Without end, no name and no answer twice."""
    random = np.random.default_rng(seed)
    used: set[str] = set()

    def make_word() -> str:
        while True:
            size = int(random.integers(2, 4))
            parts = [f"{random.choice(_BEGIN)}{random.choice(_VOWEL)}" for _ in range(size)]
            word = f"{''.join(parts)}{random.choice(_END)}".capitalize()
            if word not in used:
                used.add(word)
                return word

    for said, asked in itertools.cycle(KINDS):
        name, word = make_word(), make_word()
        yield Fact(said.format(name=name, word=word), asked.format(name=name), word)


def read_facts(path: Path) -> list[Fact]:
    """A .jsonl with `fact`, `question` and `answer` on each line. Raises UserError."""
    facts: list[Fact] = []
    for line, row in json_rows(path):
        values = [row.get(name) for name in ("fact", "question", "answer")]
        if not all(isinstance(value, str) and value.strip() for value in values):
            raise UserError(
                f"line {line} of {path} lacks one of `fact`, `question` and `answer`: give a text "
                "for each."
            )
        facts.append(Fact(*(str(value).strip() for value in values)))
    if not facts:
        raise UserError(f"{path} has no facts: give a line of JSON for each.")
    return facts
