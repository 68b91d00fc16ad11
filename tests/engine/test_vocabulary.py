"""What a vocabulary can say, against trying every character."""

from __future__ import annotations

import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fledge.engine.vocabulary import Vocabulary


def characters(vocabulary: Vocabulary) -> set[int]:
    assert vocabulary.alphabet is not None
    assert all(a <= b for a, b in vocabulary.alphabet)
    return {point for low, high in vocabulary.alphabet for point in range(low, high + 1)}


MISSING = st.sets(
    st.sampled_from(
        [*b"a\x7f", 0x80, 0x81, 0x9F, 0xA0, 0xBF, 0xC2, 0xDF, 0xE0, 0xED, 0xEF, 0xF0, 0xF4]
    )
)


@settings(max_examples=5, deadline=None)
@given(MISSING)
def test_a_character_can_be_said_where_each_of_its_bytes_can(missing: set[int]) -> None:
    vocabulary = Vocabulary([bytes((byte,)) for byte in range(256) if byte not in missing])
    expected = {
        point
        for point in range(sys.maxunicode + 1)
        if not 0xD800 <= point < 0xE000 and missing.isdisjoint(chr(point).encode())
    }
    assert {each for each in characters(vocabulary) if not 0xD800 <= each < 0xE000} == expected


def test_bytes_that_text_never_has_are_not_missed() -> None:
    """Many byte-level vocabularies are without them."""
    never = {0xC0, 0xC1, *range(0xF5, 0x100)}
    vocabulary = Vocabulary([bytes((byte,)) for byte in range(256) if byte not in never])
    begin = time.process_time()
    assert vocabulary.alphabet == [(0, sys.maxunicode)]
    assert time.process_time() - begin < 2  # 0.02 s on the machine it was written on


def test_characters_that_are_tokens_can_be_said() -> None:
    vocabulary = Vocabulary([text.encode() for text in ("a", "b", "é", "ab", "éa")])
    assert characters(vocabulary) == set(map(ord, "abé"))
    assert Vocabulary([b"ab", b"a"]).alphabet is None
    assert Vocabulary([b"\xc3\xa9", b"\xc3"]).alphabet is None


@pytest.mark.parametrize(
    ("text", "whole", "least"),
    [
        ("abab", True, 2), ("aba", True, 2), ("", True, 0), ("x", True, None), ("ax", True, None),
        ("abab", False, 2), ("aba", False, 2), ("abc", False, 2), ("abx", False, 2),
    ],
)  # fmt: skip
def test_the_fewest_tokens_of_a_text(text: str, whole: bool, least: int | None) -> None:
    vocabulary = Vocabulary([b"a", b"b", b"ab"])
    assert vocabulary.count_least(text.encode(), whole=whole) == least


def test_stop_tokens_say_nothing_and_the_others_what_they_said() -> None:
    vocabulary = Vocabulary([b"a", b"b", b"", b"ab"], {2: "<x>"})
    assert vocabulary.without(frozenset({2})) is vocabulary
    silent = vocabulary.without(frozenset({1, 2}))
    assert silent.tokens == [b"a", b"", b"", b"ab"]
    assert vocabulary.without(frozenset({1})) is silent
    assert vocabulary.sayable == 4
