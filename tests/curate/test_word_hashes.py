"""Words as numbers: equal ones, and only these, are equal, wherever and in whatever company."""

from __future__ import annotations

import re

import numpy as np
import pytest

from fledge.curate.run_kernel import hash_native, load_kernel
from fledge.curate.word_hashes import encode, hash_plain, hash_runs, hash_words, lower

TEXTS = [
    "The cat, the CAT; a cat-2!",
    "",
    "  ",
    "É é straße İx end",
    "«the» “cat” —the… 猫。犬、猫 cat’s",
    "猫，犬：ｃａｔ！（犬）～猫＿２｡犬",
    "".join(f"a{chr(code)}b " for code in range(0xFF01, 0xFFA0)),
    "cat the",
    "x" * 200 + " " + "x" * 201,
]


def list_words(text: str) -> list[str]:
    """Characters are judged, where the code judges bytes."""
    return re.findall(r"[^\W_]+", lower(text))


def test_a_number_for_each_word_and_equal_ones_are_equal() -> None:
    hashed = hash_words(TEXTS)
    words = [list_words(text) for text in TEXTS]
    assert [int(n) for n in hashed.first] == [
        sum(map(len, words[:i])) for i in range(len(TEXTS) + 1)
    ]
    flat = [word for each in words for word in each]
    assert len(hashed.words) == len(flat)
    for a in range(len(flat)):
        for b in range(len(flat)):
            assert (hashed.words[a] == hashed.words[b]) == (flat[a] == flat[b]), (flat[a], flat[b])


def test_a_text_alone_has_the_same_numbers() -> None:
    hashed = hash_words(TEXTS)
    for at, text in enumerate(TEXTS):
        own = hash_words([text]).words
        assert own.tolist() == hashed.words[hashed.first[at] : hashed.first[at + 1]].tolist()


def test_runs_are_equal_where_their_words_are() -> None:
    text = "a b c d e f a b c d e a b d c e a a a a a a a"
    words = text.split()
    hashed = hash_words([text]).words
    for length in (1, 2, 3, 5, 7):
        runs = hash_runs(hashed, length)
        said = [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]
        assert len(runs) == len(said)
        for a in range(len(said)):
            for b in range(len(said)):
                assert (runs[a] == runs[b]) == (said[a] == said[b])
    assert len(hash_runs(hashed, 99)) == 0


def test_lower_case_has_as_many_characters() -> None:
    """İ alone would become two, i and a dot above: it stays."""
    assert lower("The ÉÀ straßE Ж İX") == "the éà straße ж İx"
    assert hash_words(["É Ж"]).words.tolist() == hash_words(["é ж"]).words.tolist()
    for text in TEXTS:
        assert len(lower(text)) == len(text)


def test_c_and_numpy_give_the_same_numbers_and_places() -> None:
    library = load_kernel()
    if library is None:
        pytest.skip("no compiler here")
    every = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x10000), 0x1D400, 0xDC80)))
    for text in (*TEXTS, "".join(TEXTS), every, " ".join(every)):
        joined = b"\n" + encode(text) + b"\n"
        ours, plain = hash_native(library, joined), hash_plain(joined)
        assert all(np.array_equal(a, b) for a, b in zip(ours, plain, strict=True))
