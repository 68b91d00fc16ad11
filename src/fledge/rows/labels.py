"""Rows that teach a model to label: a text or two with a label, words with a tag each, a question
with its choices, texts that mean the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fledge.errors import UserError
from fledge.rows.census import Census, Unusable
from fledge.rows.fields import Fields, quote

UNKNOWN = ""

LabelTask = Literal["classify", "pair", "tag", "choose", "embed"]

# What the two texts of a pair are called in data sets: ours first.
PAIRS = (
    ("text_a", "text_b"), ("premise", "hypothesis"), ("sentence1", "sentence2"),
    ("sentence_a", "sentence_b"), ("question1", "question2"),
)  # fmt: skip
MEANINGS = (("anchor", "positive"), *PAIRS)
TEXTS = ("text", "sentence")


@dataclass(frozen=True, kw_only=True)
class FromLine:
    """line: where it stands in its file, from 1; 0 of none. census: the count of that file."""

    line: int = field(default=0, compare=False)
    census: Census | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class LabelledText(FromLine):
    """One text, or two, and their label; UNKNOWN of one that is to be labelled."""

    texts: tuple[str, ...]
    label: str


@dataclass(frozen=True)
class TaggedWords(FromLine):
    """Words, and as many tags; UNKNOWN each where they are to be tagged."""

    words: tuple[str, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Choices(FromLine):
    """A question, and which of the choices is right; −1 where that is asked."""

    question: str
    choices: tuple[str, ...]
    answer: int


@dataclass(frozen=True)
class Likeness(FromLine):
    """Two texts that mean the same, or are as much alike as `score` says."""

    texts: tuple[str, str]
    score: float | None = None


LabelRow = LabelledText | TaggedWords | Choices | Likeness


def read_label_row(
    task: LabelTask, row: Mapping[str, Any], where: str, census: Census, *, labelled: bool = True
) -> LabelRow:
    """The row of a file for this task; labelled: False where it may lack what is to be said of it.

        classify   {"text": ..., "label": ...}
        pair       {"text_a": ..., "text_b": ..., "label": ...}; `premise` and `hypothesis` (SNLI),
                   `sentence1` and `sentence2` (GLUE) are the same
        tag        {"tokens": [...], "tags": [...]}
        choose     {"question": ..., "choices": [...], "answer": number, letter or the choice}
        embed      {"anchor": ..., "positive": ...}, or two texts as of a pair; with a `score` where
                   they are alike by degrees

    Raises UserError for another shape, and Unusable for a row without a text.
    """
    fields = Fields(row, where, census)
    read: LabelRow
    if task == "tag":
        read = _read_words(fields, labelled)
    elif task == "choose":
        read = _read_choices(fields, labelled)
    elif task == "embed":
        read = _read_likeness(fields)
    else:
        texts = _read_pair(fields, PAIRS) if task == "pair" else (_read_text(fields),)
        read = LabelledText(texts, _read_label(fields, labelled))
    fields.close()
    return read


def content_of(row: LabelRow) -> str:
    """What decides a row's split: all pairs of one first text, all choices of one question go
    together.
    """
    if isinstance(row, TaggedWords):
        return " ".join(row.words)
    return row.question if isinstance(row, Choices) else row.texts[0]


def read_of(row: LabelRow) -> tuple[str, ...]:
    """All that is read of a row, without what is said of it: the same text is the same row."""
    if isinstance(row, TaggedWords):
        return row.words
    return (row.question, *row.choices) if isinstance(row, Choices) else row.texts


def spell_row(row: LabelRow) -> str:
    """What was read, in a line or two."""
    if isinstance(row, TaggedWords):
        return " ".join(row.words)
    if isinstance(row, Choices):
        return "\n".join([row.question, *(f"– {choice}" for choice in row.choices)])
    return "\n".join(row.texts)


def _read_text(fields: Fields) -> str:
    name = next((name for name in TEXTS if name in fields), TEXTS[0])
    return _check_written(fields.text(name))


def _read_pair(fields: Fields, pairs: tuple[tuple[str, str], ...]) -> tuple[str, str]:
    names = next((pair for pair in pairs if pair[0] in fields or pair[1] in fields), pairs[0])
    first, second = (_check_written(fields.text(name)) for name in names)
    return first, second


def _check_written(text: str) -> str:
    if not text.strip():
        raise Unusable("an empty text")
    return text


def _read_label(fields: Fields, labelled: bool) -> str:
    """A word, or a whole number or true and false, which are words too."""
    if "label" not in fields:
        if not labelled:
            return UNKNOWN
        raise UserError(f"{fields.where} has no `label`: add it")
    return _read_name(fields.take("label"), f"the `label` of {fields.where}")


def _read_name(value: object, what: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) or (isinstance(value, str) and value.strip()):
        return str(value).strip()
    raise UserError(f"{what} is {quote(value)}: write a word or a whole number")


def _read_words(fields: Fields, labelled: bool) -> TaggedWords:
    lists: list[list[str]] = []
    for name in ("tokens", "tags"):
        if name not in fields:
            if lists and not labelled:
                lists.append([UNKNOWN] * len(lists[0]))
                continue
            raise UserError(f"{fields.where} has no `{name}`: a row has `tokens` and `tags`")
        value = fields.take(name)
        if not isinstance(value, list):
            raise UserError(
                f"the `{name}` of {fields.where} is {quote(value)}: write a list of strings"
            )
        lists.append([_read_name(each, f"one of the `{name}` of {fields.where}") for each in value])
    words, tags = lists
    if len(words) != len(tags):
        raise UserError(
            f"{fields.where} has {len(words)} `tokens` and {len(tags)} `tags`: give each its own"
        )
    if not words:
        raise Unusable("no token")
    return TaggedWords(tuple(words), tuple(tags))


def _read_choices(fields: Fields, labelled: bool) -> Choices:
    question = _check_written(fields.text("question"))
    choices = fields.take("choices")
    good = isinstance(choices, list) and all(isinstance(each, str) for each in choices)
    if not good or len(set(choices)) != len(choices) or len(choices) < 2:
        raise UserError(
            f"the `choices` of {fields.where} are {quote(choices)}: write a list of two strings or "
            "more that differ"
        )
    name = next((name for name in ("answer", "label") if name in fields), None)
    if name is None:
        if not labelled:
            return Choices(question, tuple(choices), -1)
        raise UserError(f"{fields.where} has no `answer`: name the choice that is right")
    return Choices(question, tuple(choices), _find_answer(fields, name, choices))


def _find_answer(fields: Fields, name: str, choices: list[str]) -> int:
    """The choice itself, its number from 0, or its letter from A."""
    value = fields.take(name)
    if isinstance(value, str) and value in choices:
        return choices.index(value)
    letters = [chr(ord("A") + place) for place in range(len(choices))]
    if isinstance(value, str) and value.strip().upper() in letters:
        return letters.index(value.strip().upper())
    number = int(value) if isinstance(value, str) and value.strip().isdecimal() else value
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < len(choices):
        return number
    raise UserError(
        f"the `{name}` of {fields.where} is {quote(value)}: write one of the {len(choices)} "
        f"choices, its number from 0 to {len(choices) - 1}, or its letter"
    )


def _read_likeness(fields: Fields) -> Likeness:
    texts = _read_pair(fields, MEANINGS)
    score = fields.take("score")
    if isinstance(score, str):  # of a csv
        try:
            score = float(score)
        except ValueError:
            raise UserError(
                f"the `score` of {fields.where} is {quote(score)}: write a number"
            ) from None
    if score is not None and (isinstance(score, bool) or not isinstance(score, int | float)):
        raise UserError(f"the `score` of {fields.where} is {quote(score)}: write a number")
    return Likeness(texts, None if score is None else float(score))
