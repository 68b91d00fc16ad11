"""What is asked of word vectors, and the n-grams of a word, against values known beforehand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from scipy.stats import spearmanr

from fledge.errors import UserError
from fledge.models.language.subwords import Subwords, hash_fnv
from fledge.models.language.word_vectors import WordVectors, correlate_ranks

# Royalty, then sex; the last is nobody's neighbour.
GIVEN = {
    "king": [1.0, 1.0, 0.1], "queen": [1.0, -1.0, 0.1], "man": [0.0, 1.0, 0.1],
    "woman": [0.0, -1.0, 0.1], "stone": [0.0, 0.0, -1.0],
}  # fmt: skip
HELD = WordVectors(tuple(GIVEN), torch.tensor(list(GIVEN.values())))


def test_neighbours_analogies_and_similarity() -> None:
    cosine = (1 + 0 + 0.01) / math.sqrt(2.01 * 1.01)
    assert HELD.near_word("man", 1) == [("king", pytest.approx(1.01 / math.sqrt(2.01 * 1.01)))]
    assert HELD.similarity("king", "man") == pytest.approx(cosine)
    assert HELD.complete("man", "king", "woman", 1)[0][0] == "queen"
    assert {word for word, _ in HELD.complete("man", "king", "woman")} == {"queen", "stone"}
    mean = HELD.mean([["king", "stone", "unknown"], ["unknown"]])
    assert mean.tolist() == [[0.5, 0.5, pytest.approx(-0.45)], [0, 0, 0]]
    with pytest.raises(
        UserError, match=r"'kings' is none of the 5 words.*Near it in writing: king"
    ):
        HELD.vector("kings")


def test_hashes_and_ngrams_are_fasttexts() -> None:
    # http://www.isthe.com/chongo/tech/comp/fnv/ (test vectors of FNV-1a, 32 bits)
    assert [hash_fnv(x) for x in (b"", b"a", b"foobar")] == [0x811C9DC5, 0xE40C292C, 0xBF9CF968]
    # A byte above 127 is negative to fastText: its high bits are set before the product.
    assert hash_fnv(b"\xe9") == ((0x811C9DC5 ^ 0xFFFFFFE9) * 16777619) % 2**32
    three = Subwords(3, 3, 1000)
    assert three.list_ngrams("where") == ["<wh", "whe", "her", "ere", "re>"]  # §3.2
    assert Subwords(1, 2, 10).list_ngrams("as") == ["<a", "a", "as", "s", "s>"]
    begins, rows = three.list_rows(["where", "as"])
    assert begins.tolist() == [0, 6, 9]
    assert rows.tolist() == [
        0, *(2 + hash_fnv(x) % 1000 for x in (b"<wh", b"whe", b"her", b"ere", b"re>")),
        1, *(2 + hash_fnv(x) % 1000 for x in (b"<as", b"as>")),
    ]  # fmt: skip


def test_a_word_never_seen_is_its_ngrams(tmp_path: Path) -> None:
    buckets = torch.randn(50, 3, generator=torch.Generator().manual_seed(1))
    held = WordVectors(HELD.words, HELD.vectors, torch.arange(5), Subwords(3, 3, 50), buckets)
    held.save(tmp_path)
    again = WordVectors.load(tmp_path)
    own = [hash_fnv(ngram) % 50 for ngram in (b"<ki", b"kin", b"ing", b"ngs", b"gs>")]
    expected = sum((buckets[place] for place in own), torch.zeros(3)) / math.sqrt(5)
    torch.testing.assert_close(again.vector("kings"), expected)
    assert again.vector("king").tolist() == HELD.vector("king").tolist()
    assert not WordVectors(("a",), torch.ones(1, 1), None, Subwords(9, 9, 5), buckets).knows("b")


def test_the_correlation_of_ranks_is_spearmans() -> None:
    draw = torch.Generator().manual_seed(6)
    for _ in range(5):
        a = torch.randint(6, (40,), generator=draw).double().tolist()  # many are equal
        b = torch.randn(40, generator=draw).tolist()
        assert correlate_ranks(a, b) == pytest.approx(spearmanr(a, b)[0])
    assert math.isnan(correlate_ranks([1, 1], [1, 2]))
