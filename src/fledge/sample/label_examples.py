"""Rows that teach a model to label, as ids and numbers: what a batch is stacked of.

Of a word the first token has its tag, and the others none (Devlin et al. 2019, §5.3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fledge.rows.census import Census, Unusable
from fledge.rows.entities import OUTSIDE
from fledge.rows.labels import (
    Choices,
    LabelledText,
    LabelRow,
    LabelTask,
    TaggedWords,
)
from fledge.sample.sentences import (
    UNLABELLED,
    Encoded,
    stack_choices,
    stack_labelled,
    stack_pairs,
    stack_tagged,
)
from fledge.text.fitting import say_too_long
from fledge.text.frames import Frame, cut_texts, read_frame
from fledge.text.tokenizer import Tokenizer
from fledge.trajectories import Rows

Row = TypeVar("Row", bound=LabelRow)

STACK: dict[LabelTask, Callable[[Sequence[Any]], Rows]] = {
    "classify": stack_labelled,
    "pair": stack_labelled,
    "tag": stack_tagged,
    "choose": stack_choices,
    "embed": stack_pairs,
}


@dataclass(frozen=True)
class Example(Generic[Row]):
    """ids: LabelledIds, TaggedIds, ChoiceIds or PairIds, as the row is. places: of each word the
    place of its first token; none of one that has no token, or was cut off.
    """

    row: Row
    ids: Any
    places: tuple[int | None, ...] = ()


class ExampleMaker:
    """Rows into examples, by a tokenizer and for a context; labels by their numbers.

    census: of rows that have none of their own. frame: what stands around a text, by default an
    encoder's. A label that is none of `labels` is UNLABELLED: it is judged, and is never right.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        labels: Sequence[str],
        context: int,
        census: Census,
        frame: Frame | None = None,
    ) -> None:
        self.tokenizer, self.context, self.census = tokenizer, context, census
        self.number = {label: place for place, label in enumerate(labels)}
        self.frame: Frame = frame or read_frame(tokenizer)
        # Where a tokenizer does not put a space before a text itself, a word that is not the first
        # is encoded with the one that stands before it.
        self.space = "" if begins_with_space(tokenizer) else " "

    def make(self, row: LabelRow) -> Example[Any]:
        """Raises Unusable for a row that is too long and may not be cut, and UserError for one that
        has no ids.
        """
        census = self.find_census(row)
        if isinstance(row, LabelledText):
            return Example(row, (self.encode(row.texts, census), self.find(row.label)))
        if isinstance(row, TaggedWords):
            return self._tag(row, census)
        if isinstance(row, Choices):
            read = tuple(self.encode((row.question, choice), census) for choice in row.choices)
            return Example(row, (max(read, key=len), read, row.answer))
        anchor, positive = (self.encode((text,), census) for text in row.texts)
        return Example(row, (max(anchor, positive, key=len), anchor, positive))

    def find(self, label: str) -> int:
        return self.number.get(label, UNLABELLED)

    def find_census(self, row: LabelRow) -> Census:
        return row.census or self.census

    def encode(self, texts: Sequence[str], census: Census) -> Encoded:
        """One text or a pair in its frame. Raises Unusable."""
        ids = self._fit([self.tokenizer.encode(text) for text in texts], census)
        framed, types = self.frame.frame(ids[0], ids[1] if len(ids) == 2 else None)
        return Encoded(tuple(framed), tuple(types))

    def _fit(self, texts: Sequence[list[int]], census: Census) -> list[list[int]]:
        """The ids of one text or two that the context has room for; of two the longer one is cut
        first. Raises Unusable where they are too long and may not be cut.
        """
        room = self.context - self.frame.count(len(texts) == 2)
        if sum(map(len, texts)) <= room:
            return list(texts)
        truncate = census.reading.truncate
        if truncate in (None, "no") or room < len(texts):
            raise Unusable(say_too_long(self.context))
        census.truncated += 1
        way = -1 if truncate == "left" else 1  # what is cut is the end of what is turned around
        cut = cut_texts(texts[0][::way], texts[1][::way] if len(texts) == 2 else None, room)
        return [ids[::way] for ids in cut if ids is not None]

    def _tag(self, row: TaggedWords, census: Census) -> Example[TaggedWords]:
        begun = len(self.frame.before)
        ids: list[int] = []
        places: list[int | None] = []
        words = [
            word if number == 0 else f"{self.space}{word}" for number, word in enumerate(row.words)
        ]
        for word in self.tokenizer.encode_many(words):
            places.append(begun + len(ids) if len(word) else None)
            ids += word.tolist()
        kept = self._fit([ids], census)[0]
        first = len(ids) - len(kept) if census.reading.truncate == "left" else 0
        places = [
            None if place is None or not begun <= place - first < begun + len(kept)
            else place - first
            for place in places
        ]  # fmt: skip
        framed, types = self.frame.frame(kept)
        encoded = Encoded(tuple(framed), tuple(types))
        tags = [UNLABELLED] * len(encoded)
        for place, tag in zip(places, row.tags, strict=True):
            if place is not None:
                tags[place] = self.find(tag)
        if not any(place is not None for place in places):
            raise Unusable("no word that has a token")
        return Example(row, (encoded, tuple(tags)), tuple(places))


def begins_with_space(tokenizer: Tokenizer) -> bool:
    """Whether the ids of a text are those that it has behind a space."""
    return tokenizer.encode("a") == tokenizer.encode(" a")


def name_words(
    example: Example[TaggedWords], said: Sequence[int], labels: Sequence[str]
) -> list[str]:
    """What each word is tagged as, out of the number of the likeliest tag of each token; a word
    that has no token is outside of everything, or as the first label.
    """
    otherwise = OUTSIDE if OUTSIDE in labels else labels[0]
    return [otherwise if place is None else labels[said[place]] for place in example.places]


def make_examples(rows: Sequence[LabelRow], maker: ExampleMaker) -> list[Example[Any]]:
    """Those that can be read. Raises UserError for others, counted by their reasons, unless they
    are to be skipped.
    """
    examples = []
    for row in rows:
        try:
            examples.append(maker.make(row))
        except Unusable as fault:
            maker.find_census(row).leave_out(fault.reason, row.line)
    for census in dict.fromkeys(map(maker.find_census, rows)):
        census.settle()
    return examples
