"""A stop string is found exactly when the text said so far contains it, whatever the tokens
were.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fledge.engine.stop_strings import StopStrings, cut
from fledge.errors import UserError

LETTERS = "abé€"
SLICES = sorted(
    {character.encode()[a:b] for character in LETTERS for a in range(3) for b in range(a, 4)}
    | {b"aa", b"ba\xc3"}
)
texts = st.text(LETTERS, max_size=12)
stops = st.lists(st.text(LETTERS, min_size=1, max_size=4), max_size=3)


@given(stops, st.lists(st.sampled_from(range(len(SLICES))), max_size=30))
def test_found_after_each_token_is_contained_in_what_was_said(
    strings: list[str], tokens: list[int]
) -> None:
    watch = StopStrings(strings, SLICES)
    for count, token in enumerate(tokens, start=1):
        said = b"".join(SLICES[token] for token in tokens[:count])
        assert watch.match(token) == any(said.find(string.encode()) >= 0 for string in strings)


@given(stops, texts, st.data())
def test_borders_of_tokens_do_not_matter(
    strings: list[str], text: str, data: st.DataObject
) -> None:
    said = text.encode()
    borders = sorted(data.draw(st.sets(st.integers(0, len(said)), max_size=6)) | {0, len(said)})
    pieces = [said[a:b] for a, b in pairwise(borders)]
    watch = StopStrings(strings, pieces)
    places = [text.find(string) for string in strings]
    assert any(watch.match(token) for token in range(len(pieces))) == any(
        place >= 0 for place in places
    )


@given(stops, texts)
def test_cut_gives_the_text_before_the_earliest_stop_string(strings: list[str], text: str) -> None:
    start = [
        place
        for place in range(len(text))
        if any(text[place:].startswith(string) for string in strings)
    ]
    assert cut(text.encode(), strings).decode() == (text[: start[0]] if start else text)


def test_a_false_start_is_taken_up_again() -> None:
    watch = StopStrings(["aab"], [b"a", b"b"])
    assert [watch.match(token) for token in (0, 0, 0, 1, 0)] == [False, False, False, True, True]


def test_rows_do_not_share_what_was_said() -> None:
    one, other = StopStrings(["ab"], [b"a", b"b"]), StopStrings(["ab"], [b"a", b"b"])
    one.match(0)
    assert not other.match(1)


def test_only_the_tail_that_may_still_matter_is_kept() -> None:
    watch = StopStrings(["abc"], [b"a" * 1000])
    for _ in range(100):
        watch.match(0)
    assert max(len(value) for value in vars(watch).values() if isinstance(value, bytes)) <= 2


def test_a_string_that_utf8_cannot_write_is_refused() -> None:
    for use in (lambda: StopStrings(["\ud800"], [b"a"]), lambda: cut(b"a", ["\ud800"])):
        with pytest.raises(UserError, match="surrogate"):
            use()
