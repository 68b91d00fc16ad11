"""Interpolated modified Kneser–Ney from its definition (Chen & Goodman 1998, §4.1.6), with counts
in dictionaries: for small texts, where it takes as long as it takes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

Gram = tuple[int, ...]
FEW = (0.5, 1.0, 1.5)  # discounts where a text is too small to estimate any


class KneserNey:
    """border opens a document, and is never foretold; words: all that may be."""

    def __init__(
        self, documents: Sequence[Sequence[int]], order: int, border: int, words: Sequence[int]
    ) -> None:
        self.words = tuple(words)
        stood = {n: Counter(_list_grams(documents, n)) for n in range(1, order + 1)}
        self.counts: dict[int, dict[Gram, int]] = {order: dict(stood[order])}
        for n in range(1, order):
            before: dict[Gram, set[int]] = {}
            for first, *rest in stood[n + 1]:
                before.setdefault(tuple(rest), set()).add(first)
            self.counts[n] = {
                gram: times if gram[0] == border else len(before[gram])
                for gram, times in stood[n].items()
            }
        self.counts[1].pop((border,), None)
        self.discounts = {n: _discount(list(own.values())) for n, own in self.counts.items()}

    def p(self, word: int, context: Gram) -> float:
        """Of a word behind a context of at most order − 1 tokens."""
        below = self.p(word, context[1:]) if context else 1 / len(self.words)
        after = {g[-1]: c for g, c in self.counts[len(context) + 1].items() if g[:-1] == context}
        total = sum(after.values())
        if not total:
            return below
        discount = (0.0, *self.discounts[len(context) + 1])
        taken = sum(discount[min(c, 3)] for c in after.values())
        own = after.get(word, 0)
        return (own - discount[min(own, 3)] + taken * below) / total


def _list_grams(documents: Sequence[Sequence[int]], n: int) -> list[Gram]:
    return [tuple(d[i : i + n]) for d in documents for i in range(len(d) - n + 1)]


def _discount(counts: Sequence[int]) -> tuple[float, ...]:
    """Chen & Goodman 1998, eq. 26."""
    n = Counter(counts)
    if not all(n[i] for i in (1, 2, 3, 4)):
        return FEW
    y = n[1] / (n[1] + 2 * n[2])
    said = tuple(i - (i + 1) * y * n[i + 1] / n[i] for i in (1, 2, 3))
    return said if all(0 <= d <= i for i, d in enumerate(said, 1)) else FEW
