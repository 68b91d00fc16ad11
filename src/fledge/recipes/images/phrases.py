"""Sentences about pictures: what asks for one, what asks about one, what is said of several."""

from __future__ import annotations

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ASK = (
    "draw {}", "a picture of {}, please", "show me {}", "paint {}", "i want to see {}", "make {}",
)  # fmt: skip
AFTER = "{} is {}. now draw {}"  # a picture, what it is, and what is wanted
READ = "what is {}?"
SAID = ("{0}: {1}", "{1} is {0}.", "here is {0}. {1}", "look, {1}! it is {0}.")
BOTH = "{1} is {0}, and {3} is {2}."


def name_label(label: str) -> str:
    """With its article, a digit in letters: "a seven", "an eight", "a cat"."""
    word = NUMBERS[int(label)] if label in map(str, range(10)) else label
    return f"{'an' if word[:1].lower() in 'aeiou' and word != 'one' else 'a'} {word}"
