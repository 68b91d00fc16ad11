"""Words, their numbers and how often they stand near each other, against counting by hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fledge.text import cooccurrence
from fledge.text.cooccurrence import count_cooccurrences
from fledge.text.documents import CHUNK, Document, LongDocument
from fledge.text.words import CHUNK_WORDS, WordReader, list_words, make_text, split_words


def test_what_a_word_is() -> None:
    said = "The cat's 2nd “Straße”—rock'n'roll, 'quoted' snake_case, 日本 don’t."
    assert split_words(said) == [
        "the", "cat's", "2nd", "straße", "rock'n'roll", "quoted", "snake", "case", "日本", "don’t",
    ]  # fmt: skip


def test_a_long_document_is_read_in_pieces_that_cut_no_word(tmp_path: Path) -> None:
    text = "elephant " * (2 * CHUNK // 9 + 5)
    (tmp_path / "long.txt").write_text(text)
    counted = Counter(list_words(LongDocument(str(tmp_path / "long.txt"))))
    assert counted == {"elephant": 2 * CHUNK // 9 + 5}


def test_rare_words_leave_and_documents_are_apart() -> None:
    reader = WordReader()
    ids, lengths = reader.read([Document("b a b c", "1"), Document("a b d a b", "2")])
    vocabulary, places = reader.choose(ids, 2)
    assert vocabulary.words == ("b", "a")
    assert vocabulary.counts.tolist() == [4, 3]
    text = make_text(ids, lengths, places)
    assert text.ids.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert text.begins.tolist() == [0, 3, 7]
    ids, lengths = reader.read([Document("b " * (2 * CHUNK_WORDS + 1), "3"), Document("d", "4")])
    assert np.diff(make_text(ids, lengths, places).begins).tolist() == [6667, 6667, 6667]


@pytest.mark.parametrize("part", [7, 2**18])
def test_cooccurrences_are_those_counted_by_hand(
    part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cooccurrence, "PART_WORDS", part)
    reader = WordReader()
    documents = ["a b c a a d", "c d d a b c b a", "d"]
    ids, lengths = reader.read(Document(each, "") for each in documents)
    vocabulary, places = reader.choose(ids, 1)
    expected: Counter[tuple[int, int]] = Counter()
    for each in documents:
        words = [vocabulary.number[word] for word in each.split()]
        for i, a in enumerate(words):
            for j, b in enumerate(words):
                if 0 < abs(i - j) <= 3 and a <= b:
                    expected[a, b] += 1 / abs(i - j)  # pyright: ignore[reportArgumentType]
    rows, columns, x = count_cooccurrences(make_text(ids, lengths, places), len(vocabulary), 3)
    counted = dict(zip(zip(rows.tolist(), columns.tolist(), strict=True), x, strict=True))
    assert counted.keys() == expected.keys()
    assert all(counted[pair] == pytest.approx(expected[pair]) for pair in expected)
