"""N-gram models are what their formulas say, token by token, and every one of them sums to one."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from fledge.algorithms.likelihood import smoothing
from fledge.algorithms.likelihood.smoothing import (
    FALLBACK,
    add_k,
    estimate_discounts,
    kneser_ney,
)
from fledge.models.language.ngram import Ngram, Order
from fledge.text.ngram_passes import count_ngrams

VOCAB, BEGIN, END = 7, 0, 1
SAYABLE = np.arange(VOCAB) != BEGIN


def make_documents(seed: int, number: int = 60) -> list[list[int]]:
    """Uneven words, so that some n-grams are often and some never."""
    random = np.random.default_rng(seed)
    shares = np.array([0.4, 0.3, 0.2, 0.07, 0.03])
    return [
        [BEGIN, *(2 + random.choice(5, size=random.integers(0, 9), p=shares)), END]
        for _ in range(number)
    ]


def count(documents: Sequence[Sequence[int]], order: int):
    text = np.array(list(itertools.chain(*documents)), dtype=np.int64)
    return count_ngrams([text], order, VOCAB, BEGIN)


def list_grams(documents: Sequence[Sequence[int]], n: int) -> Counter[tuple[int, ...]]:
    return Counter(
        tuple(document[i : i + n]) for document in documents for i in range(len(document) - n + 1)
    )


class ByDefinition:
    """Kneser and Ney's distribution, straight from the page, with counts in dictionaries."""

    def __init__(self, documents: Sequence[Sequence[int]], order: int) -> None:
        self.raw = {n: list_grams(documents, n) for n in range(1, order + 1)}
        self.order = order
        self.count: dict[int, dict[tuple[int, ...], int]] = {order: dict(self.raw[order])}
        for n in range(1, order):
            before: dict[tuple[int, ...], set[int]] = defaultdict(set)
            for longer in self.raw[n + 1]:
                before[longer[1:]].add(longer[0])
            self.count[n] = {
                gram: self.raw[n][gram] if gram[0] == BEGIN else len(before[gram])
                for gram in self.raw[n]
            }
        self.count[1].pop((BEGIN,), None)
        if order == 1:
            self.count[1] = {g: c for g, c in self.count[1].items() if g != (BEGIN,)}
        self.discount = {}
        for n, counts in self.count.items():
            tally = Counter(counts.values())
            said = []
            if all(tally[i] for i in (1, 2, 3, 4)):
                y = tally[1] / (tally[1] + 2 * tally[2])
                said = [i - (i + 1) * y * tally[i + 1] / tally[i] for i in (1, 2, 3)]
                good = all(0 <= d <= i for i, d in enumerate(said, 1))
            else:
                good = False
            self.discount[n] = said if good else list(FALLBACK)

    def p(self, word: int, context: tuple[int, ...]) -> float:
        n = len(context) + 1
        lower = self.p(word, context[1:]) if context else (word != BEGIN) / (VOCAB - 1)
        counts = {g[-1]: c for g, c in self.count[n].items() if g[:-1] == context}
        total = sum(counts.values())
        if not total:
            return lower
        d = [0.0, *self.discount[n]]
        taken = sum(d[min(c, 3)] for c in counts.values())
        c = counts.get(word, 0)
        return (c - d[min(c, 3)]) / total + taken / total * lower


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", [0, 1])
def test_kneser_ney_is_what_its_definition_says(order: int, seed: int) -> None:
    documents = make_documents(seed)
    model = kneser_ney(count(documents, order), SAYABLE)
    exact = ByDefinition(documents, order)
    other = make_documents(seed + 100, 12)
    for document in documents[:6] + other:
        said = model.log_prob(np.array(document))
        for i in range(1, len(document)):
            context = tuple(document[max(0, i - order + 1) : i])
            assert np.exp(said[i]) == pytest.approx(exact.p(document[i], context), rel=3e-6)


@pytest.mark.parametrize("make", ["kneser_ney", "pruned", "add_k", "unsmoothed"])
def test_every_context_sums_to_one_and_says_what_a_text_is_given(make: str) -> None:
    counts = count(make_documents(3), 4)
    model = {
        "kneser_ney": lambda: kneser_ney(counts, SAYABLE),
        "pruned": lambda: kneser_ney(counts, SAYABLE, prune=1),
        "add_k": lambda: add_k(counts, SAYABLE, 0.3),
        "unsmoothed": lambda: add_k(counts, SAYABLE, 0.0),
    }[make]()
    contexts = [
        np.array(c, dtype=np.int64)
        for n in range(4)
        for c in itertools.product(range(VOCAB), repeat=n)
        if BEGIN not in c[1:] and END not in c
    ]
    said = model.distribution(contexts)
    assert np.exp(said.astype(np.float64)).sum(1) == pytest.approx(1, abs=2e-6)
    assert (said[:, BEGIN] == -np.inf).all()
    for context, row in list(zip(contexts, said, strict=True))[::7]:
        for word in range(1, VOCAB):
            alone = model.log_prob(np.append(context, word))[-1]
            assert alone == pytest.approx(row[word], abs=1e-5)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_the_formula_sums_to_one_before_it_is_rounded(
    order: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model is kept in float32, whose rounding is all that the sums above lack."""

    def keep(counts: Any, levels: Any, leaves: Any, staying: Any) -> Ngram:
        with np.errstate(divide="ignore"):
            logs, left = [np.log(x) for x in levels], [np.log(x) for x in leaves]
        left.append(np.zeros(len(levels[0])) if order == 1 else np.zeros(0))
        longer = tuple(
            Order(grams.keys, logs[k + 1], left[k + 1]) for k, grams in enumerate(counts.grams)
        )
        return Ngram(logs[0], left[0], longer, counts.border)

    monkeypatch.setattr(smoothing, "_pack", keep)
    model = kneser_ney(count(make_documents(3), order), SAYABLE)
    contexts = [
        np.array(c, dtype=np.int64)
        for n in range(order)
        for c in itertools.product(range(VOCAB), repeat=n)
        if BEGIN not in c[1:] and END not in c
    ]
    said = model.distribution(contexts)
    assert said.dtype == np.float64
    assert np.exp(said).sum(1) == pytest.approx(1, abs=1e-12)


def test_pruning_leaves_out_what_stood_once_and_nothing_else() -> None:
    documents = make_documents(4)
    counts = count(documents, 3)
    whole, less = kneser_ney(counts, SAYABLE), kneser_ney(counts, SAYABLE, prune=1)
    for k, grams in enumerate(counts.grams):
        assert len(less.longer[k].keys) == (grams.counts > 1).sum() < len(whole.longer[k].keys)


def test_add_k_is_a_share_of_counts() -> None:
    documents = make_documents(5)
    raw = list_grams(documents, 3)
    for k in (0.0, 0.5):
        model = add_k(count(documents, 3), SAYABLE, k)
        context = max(raw, key=lambda gram: raw[gram])[:2]
        total = sum(c for gram, c in raw.items() if gram[:2] == context)
        for word in range(1, VOCAB):
            said = np.exp(model.distribution([np.array(context)])[0, word])
            assert said == pytest.approx(
                (raw[(*context, word)] + k) / (total + k * (VOCAB - 1)), abs=1e-6
            )


def test_too_few_to_estimate_discounts() -> None:
    assert tuple(estimate_discounts(np.array([1, 1, 2]))) == FALLBACK


def test_it_says_of_documents_side_by_side_what_it_says_of_each() -> None:
    documents = make_documents(6)
    model: Ngram = kneser_ney(count(documents, 3), SAYABLE)
    both = model.log_prob(np.array(documents[0] + documents[1]))
    n = len(documents[0])
    assert np.array_equal(both[:n], model.log_prob(np.array(documents[0])))
    assert np.array_equal(both[n:], model.log_prob(np.array(documents[1])))


@pytest.mark.parametrize("make", [kneser_ney, lambda c, sayable: add_k(c, sayable, 0.5)])
def test_documents_shorter_than_an_n_gram(make) -> None:
    """Of some lengths there are none."""
    model = make(count([[BEGIN, 2, END], [BEGIN, END]], 5), SAYABLE)
    assert [len(order.keys) for order in model.longer] == [3, 1, 0, 0]
    contexts = [np.array(c) for c in ([], [BEGIN], [BEGIN, 2], [BEGIN, 2, 2, 2, 2, 2])]
    assert np.exp(model.distribution(contexts)).sum(1) == pytest.approx(1, abs=1e-6)
    assert np.isfinite(model.log_prob(np.array([BEGIN, 2, 2, 3, 4, 5, END]))[1:]).all()
