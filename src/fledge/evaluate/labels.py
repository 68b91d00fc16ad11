"""How well things are labelled: F1 by label, the confusion table; of entities precision, recall and
F1 by conlleval's rules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fledge.rows.entities import list_entities


@dataclass(frozen=True)
class Agreement:
    """right: of the `said` things, and of the `true` ones, how many are both."""

    true: int = 0
    said: int = 0
    right: int = 0

    @property
    def precision(self) -> float:
        """0 where nothing was said."""
        return self.right / self.said if self.said else 0.0

    @property
    def recall(self) -> float:
        """0 where nothing is true."""
        return self.right / self.true if self.true else 0.0

    @property
    def f1(self) -> float:
        """2PR / (P + R) = 2·right / (true + said)."""
        both = self.true + self.said
        return 2 * self.right / both if both else 0.0


@dataclass
class EntityCount:
    """Entities of sentences, counted by type: one is right where its type, its first and its last
    word are (conlleval).
    """

    true: Counter[str] = field(default_factory=Counter)
    said: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)

    def add(self, true: Sequence[str], said: Sequence[str]) -> None:
        """The tags of one sentence. Raises ValueError where not every word has both."""
        if len(true) != len(said):
            raise ValueError(f"{len(true)} true tags and {len(said)} said ones: give as many.")
        one, other = list_entities(true), list_entities(said)
        self.true.update(kind for kind, _, _ in one)
        self.said.update(kind for kind, _, _ in other)
        self.right.update(kind for kind, _, _ in set(one) & set(other))

    @property
    def whole(self) -> Agreement:
        return Agreement(self.true.total(), self.said.total(), self.right.total())

    def by_type(self) -> dict[str, Agreement]:
        kinds = sorted(self.true.keys() | self.said.keys())
        return {k: Agreement(self.true[k], self.said[k], self.right[k]) for k in kinds}


def count_confusions(true: Tensor, said: Tensor, labels: int) -> Tensor:
    """How often each true label was given each other.  [N], [N] long -> [L, L] long, a row a true
    one
    """
    places = true * labels + said
    return torch.bincount(places, minlength=labels * labels).view(labels, labels)


def list_agreements(confusions: Tensor) -> list[Agreement]:
    """Of each label.  [L, L]"""
    true, said = confusions.sum(1).tolist(), confusions.sum(0).tolist()
    right = confusions.diagonal().tolist()
    return [Agreement(*each) for each in zip(true, said, right, strict=True)]


def mean_f1(confusions: Tensor) -> float:
    """Over the labels that are true of something: macro-F1."""
    there = [each.f1 for each in list_agreements(confusions) if each.true]
    return sum(there) / len(there) if there else 0.0


def order_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Numbers by size, then words by the alphabet: the same order whatever the order of rows."""
    return tuple(sorted(set(labels), key=lambda x: (0, int(x), x) if x.isdecimal() else (1, 0, x)))
