"""The built-in tasks, endless and seeded: reverse, sort, upper, last (of a word), numbers (in
order) and add.

    reverse: planet → tenalp        sort: planet → aelnpt        numbers: 41 7 230 → 7 41 230
    upper: planet → PLANET          last: planet → t             add: 37 + 58 → 95

Words are random lower-case letters and numbers are random digits, every length in the range equally
likely: that range is the curriculum. The split is decided by what the letters or numbers are,
whatever their order: a word that is held out for `reverse` is held out for every task and with all
its anagrams, and 58 + 37 with 37 + 58. So learning
by heart does not help: no tested word, and no tested answer of `sort`, `numbers` or `reverse`, was
    trained on.

Lengths are drawn before the content, and content is drawn again until it lies in the wanted split.
So all splits have the same mixture of lengths, and short contents stay apart too, though there are
few: some of the 26 one-letter words, of the 55 sums and of the 220 triples of one-digit numbers are
held out on either side (a test counts them) and come again and again.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Callable
from dataclasses import dataclass

from fledge.splits import Split, checked, split_of
from fledge.tasks.examples import Answered, Example, draw_integer

LETTERS = string.ascii_lowercase
WORD_LENGTHS = (4, 8)
NUMBER_LENGTHS = (1, 3)

WORD_TASKS: dict[str, Callable[[str], str]] = {
    "reverse": lambda word: word[::-1],
    "sort": lambda word: "".join(sorted(word)),
    "upper": str.upper,
    "last": lambda word: word[-1],
}


@dataclass(frozen=True)
class NumberRule:
    """How many numbers are given, how the question writes them, and what is right."""

    count: int
    between: str
    answer: Callable[[list[int]], str]


NUMBER_TASKS: dict[str, NumberRule] = {
    "numbers": NumberRule(3, " ", lambda numbers: " ".join(map(str, sorted(numbers)))),
    "add": NumberRule(2, " + ", lambda numbers: str(sum(numbers))),
}


def word_of(length: int, uniform: int) -> str:
    """`length` letters out of one uniform integer: its last digits in base 26."""
    letters = []
    for _ in range(length):
        uniform, letter = divmod(uniform, 26)
        letters.append(LETTERS[letter])
    return "".join(letters)


def numbers_of(lengths: list[int], uniform: int) -> list[int]:
    """One number of each length in digits, out of one uniform integer."""
    numbers = []
    for digits in lengths:
        low = 0 if digits == 1 else 10 ** (digits - 1)
        uniform, above = divmod(uniform, 10**digits - low)
        numbers.append(low + above)
    return numbers


def word_split(word: str) -> Split:
    """By the letters, whatever their order. The key's first word is chosen: by it each split has
    one-letter words.
    """
    return split_of("letters: " + "".join(sorted(word)))


def numbers_split(numbers: list[int]) -> Split:
    """By the numbers, whatever their order; each split has sums and triples of one digit."""
    return split_of("numbers: " + " ".join(map(str, sorted(numbers))))


@dataclass(frozen=True)
class WordTask(Answered):
    """A question about one word of `shortest` to `longest` letters; `name` is a key of
    WORD_TASKS.
    """

    name: str
    seed: int
    shortest: int
    longest: int
    note: str | None = None
    holds_out: bool = True

    def example(self, index: int, split: Split) -> Example:
        """The word at `index`, drawn again until it lies in the split (twenty draws on average for
        one held out).
        """
        key = f"{self.seed} {self.name} {checked(split)} {index}"
        length = self.shortest + draw_integer(key, 16) % (self.longest - self.shortest + 1)
        # log2(26) < 5
        tries = (
            word_of(length, draw_integer(f"{key} {attempt}", 5 * length))
            for attempt in itertools.count()
        )
        word = next(word for word in tries if word_split(word) == split)
        return Example(f"{self.name}: {word}", WORD_TASKS[self.name](word), self.name)


@dataclass(frozen=True)
class NumberTask(Answered):
    """A question about some numbers of `shortest` to `longest` digits each; `name` is a key of
    NUMBER_TASKS.

    A number of one digit is 0 to 9; a longer one never begins with 0.
    """

    name: str
    seed: int
    shortest: int
    longest: int
    note: str | None = None
    holds_out: bool = True

    def example(self, index: int, split: Split) -> Example:
        """The numbers at `index`, drawn again until they lie in the split (twenty draws on average
        for one held out).
        """
        rule = NUMBER_TASKS[self.name]
        key = f"{self.seed} {self.name} {checked(split)} {index}"
        rest, lengths = draw_integer(key, 16 * rule.count), []
        for _ in range(rule.count):
            rest, extra = divmod(rest, self.longest - self.shortest + 1)
            lengths.append(self.shortest + extra)
        bits = 4 * sum(lengths)  # log2(10) < 4
        tries = (
            numbers_of(lengths, draw_integer(f"{key} {attempt}", bits))
            for attempt in itertools.count()
        )
        numbers = next(n for n in tries if numbers_split(n) == split)
        return Example(
            f"{self.name}: {rule.between.join(map(str, numbers))}", rule.answer(numbers), self.name
        )
