"""Near copies: planted ones come out as the formula says, and nothing else does."""

from __future__ import annotations

import random

import numpy as np

from fledge.curate.near_copies import BANDS, ROWS, SHINGLE, find_clusters, hash_bands
from tests.curate.texts import write_text

DOCUMENTS = 150


def change(text: str, number: int, seed: int) -> str:
    """`number` of its words by others."""
    lot, words = random.Random(seed), text.split()
    for at in lot.sample(range(len(words)), number):
        words[at] = f"other{lot.randrange(10**9)}"
    return " ".join(words)


def share(a: str, b: str) -> float:
    """Jaccard's, of runs of five words, by sets of tuples."""
    first, second = (
        {tuple(w[i : i + SHINGLE]) for i in range(len(w) - SHINGLE + 1)}
        for w in (a.split(), b.split())
    )
    return len(first & second) / len(first | second)


def test_planted_copies_come_out_and_nothing_else() -> None:
    """150 documents; of each a copy with 0, 1, 3, 10 or 60 words of 300 changed. Recall stands
    within 5 standard deviations of 1 − (1 − s⁸)¹⁴; of 60 words, where s is 0.2 and that is 4 in
    100,000, nothing comes out, nor do documents of different origin.
    """
    texts = [write_text(seed) for seed in range(DOCUMENTS)]
    bands = hash_bands(texts)
    for number in (0, 1, 3, 10, 60):
        copies = [change(text, number, seed) for seed, text in enumerate(texts)]
        first = find_clusters(np.concatenate([bands, hash_bands(copies)]))
        assert first[:DOCUMENTS].tolist() == list(range(DOCUMENTS))
        own = np.arange(DOCUMENTS, 2 * DOCUMENTS)
        right = first[DOCUMENTS:] == np.arange(DOCUMENTS)
        assert np.all(right | (first[DOCUMENTS:] == own))  # a copy of its own, or of none
        shares = np.array([share(a, b) for a, b in zip(texts, copies, strict=True)])
        chance = 1 - (1 - shares**ROWS) ** BANDS
        spread = np.sqrt((chance * (1 - chance)).sum())
        assert abs(right.sum() - chance.sum()) <= 5 * spread + 1.0, number
        if number <= 1:
            assert right.mean() > 0.97
        if number == 60:
            assert right.sum() <= 1  # two or more: 2 in 10⁵


def test_bands_do_not_depend_on_the_company() -> None:
    texts = [write_text(0), "", "one two", write_text(1, 5000), write_text(2, 4)]
    together = hash_bands(texts)
    for text, bands in zip(texts, together, strict=True):
        assert hash_bands([text])[0].tolist() == bands.tolist()
    assert hash_bands(["One, two"])[0].tolist() == together[2].tolist()


def test_what_has_no_words_is_a_copy_of_its_like_alone() -> None:
    assert find_clusters(hash_bands(["--", "...", "--\n", "a --"])).tolist() == [0, 1, 0, 3]


def test_a_chain_of_copies_is_of_its_first() -> None:
    bands = np.arange(6 * BANDS, dtype=np.uint64).reshape(6, BANDS)
    bands[5, 3], bands[2, 3] = 999, 999
    bands[5, 0], bands[4, 0] = 777, 777
    assert find_clusters(bands).tolist() == [0, 1, 2, 3, 2, 2]
