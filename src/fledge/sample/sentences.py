"""What an encoder reads, and what it is to say of it: batches of sentences with labels, of tagged
words, of choices, and of texts that mean the same.

Rows come as tuples whose first part is what `ConversationRows` sorts them by, so that a step's rows
are of like length.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from fledge.trajectories import Rows

UNLABELLED = -1


@dataclass(frozen=True)
class Encoded:
    """The ids of a text, or of two, with what stands around them; of each the text it is of, 0 or
    1.
    """

    ids: tuple[int, ...]
    types: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.ids)


# What is read, and of each thing that is to be labelled which label, by its number.
LabelledIds = tuple[Encoded, int]
TaggedIds = tuple[Encoded, tuple[int, ...]]  # of each token a tag, or UNLABELLED
# The longest of those that are read comes first.
ChoiceIds = tuple[Encoded, tuple[Encoded, ...], int]
PairIds = tuple[Encoded, Encoded, Encoded]


@dataclass(frozen=True)
class Sentences(Rows):
    """B rows of T tokens at the most, filled up on the right; masks come from `length`."""

    tokens: Tensor  # [B, T]
    types: Tensor  # [B, T]: of a pair 0 in the first text, 1 in the second
    length: Tensor  # [B]

    @property
    def lengths(self) -> Tensor:
        return self.length[:, None]

    def trim(self) -> Self:
        longest = int(self.length.max())
        if longest == self.tokens.shape[1]:
            return self
        cut = {name: getattr(self, name)[:, :longest] for name in ("tokens", "types")}
        return dataclasses.replace(self, **cut)


@dataclass(frozen=True)
class LabelledSentences(Rows):
    """Sentences with a label each."""

    sentences: Sentences
    target: Tensor  # [B]


@dataclass(frozen=True)
class TaggedSentences(Rows):
    """Sentences with a tag for the first token of each word, UNLABELLED for all others."""

    sentences: Sentences
    target: Tensor  # [B, T]

    def trim(self) -> Self:
        cut = self.sentences.trim()
        return self.replace(sentences=cut, target=self.target[:, : cut.tokens.shape[1]])


@dataclass(frozen=True)
class ChoiceRows(Rows):
    """A question with each of its K choices at the most, of which one is right."""

    tokens: Tensor  # [B, K, T]
    types: Tensor  # [B, K, T]
    length: Tensor  # [B, K]; 0 where a question has fewer choices
    target: Tensor  # [B]

    @property
    def lengths(self) -> Tensor:
        """All choices of a question are filled up to the longest."""
        return self.length.amax(1, keepdim=True).expand(self.length.shape)

    def trim(self) -> Self:
        longest = int(self.length.max())
        return self.replace(tokens=self.tokens[:, :, :longest], types=self.types[:, :, :longest])

    def each(self) -> tuple[Sentences, Tensor]:
        """Every choice that there is as a sentence, [N, T], and where it stands, [B, K] bool."""
        there = self.length > 0
        return Sentences(self.tokens[there], self.types[there], self.length[there]), there


@dataclass(frozen=True)
class AlikePairs(Rows):
    """Two texts that mean the same, row by row; `name` and `other_name` are equal where texts
    are.
    """

    anchor: Sentences
    positive: Sentences
    name: Tensor  # [B]: of the anchor's text
    other_name: Tensor  # [B]: of the positive's


def stack_sentences(rows: Sequence[Encoded], pad: int = 0) -> Sentences:
    """[B, T] of rows of unequal length. Raises ValueError for none."""
    if not rows:
        raise ValueError("no sentences were given: a batch needs one or more.")
    longest = max(map(len, rows))
    tokens = torch.full((len(rows), longest), pad, dtype=torch.long)
    types = torch.zeros(len(rows), longest, dtype=torch.long)
    for place, row in enumerate(rows):
        tokens[place, : len(row)] = torch.tensor(row.ids)
        types[place, : len(row)] = torch.tensor(row.types)
    return Sentences(tokens, types, torch.tensor([len(row) for row in rows]))


def stack_labelled(rows: Sequence[LabelledIds], pad: int = 0) -> LabelledSentences:
    target = torch.tensor([label for _, label in rows])
    return LabelledSentences(stack_sentences([read for read, _ in rows], pad), target)


def stack_tagged(rows: Sequence[TaggedIds], pad: int = 0) -> TaggedSentences:
    sentences = stack_sentences([read for read, _ in rows], pad)
    target = torch.full(sentences.tokens.shape, UNLABELLED)
    for place, (_, tags) in enumerate(rows):
        target[place, : len(tags)] = torch.tensor(tags)
    return TaggedSentences(sentences, target)


def stack_choices(rows: Sequence[ChoiceIds], pad: int = 0) -> ChoiceRows:
    most = max(len(choices) for _, choices, _ in rows)
    nothing = Encoded((), ())
    filled = [each for _, choices, _ in rows for each in (*choices, *[nothing] * most)[:most]]
    flat = stack_sentences(filled, pad)
    tokens, types, length = (x.unflatten(0, (len(rows), most)) for _, x in flat.items())
    return ChoiceRows(tokens, types, length, torch.tensor([answer for _, _, answer in rows]))


def stack_pairs(rows: Sequence[PairIds], pad: int = 0) -> AlikePairs:
    """Texts are named by their ids, so that the same text has the same name."""
    names: dict[tuple[int, ...], int] = {}
    anchors, positives = [row[1] for row in rows], [row[2] for row in rows]
    name, other_name = (
        torch.tensor([names.setdefault(each.ids, len(names)) for each in side])
        for side in (anchors, positives)
    )
    return AlikePairs(
        stack_sentences(anchors, pad), stack_sentences(positives, pad), name, other_name
    )
