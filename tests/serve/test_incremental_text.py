"""Text in pieces is the text as a whole, wherever tokens, characters and stop strings are cut."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fledge.serve.incremental_text import IncrementalText

WORDS = [bytes([i]) for i in range(256)] + [b"", "é".encode(), b"ab", b"aba", "한".encode()[:2]]
STOPS = st.lists(st.sampled_from(["ab", "aba", "bab", "é", "b", "한글", "zzz"]), max_size=3)
TOKENS = st.lists(
    st.sampled_from([97, 98, 0xC3, 0xA9, 0xED, 0x95, 0x9C, 256, 257, 258, 259, 260]), max_size=30
)


@settings(max_examples=400)
@given(TOKENS, STOPS)
@example([97, 97, 97, 97, 98, 97], ["aba", "b"])
def test_pieces_are_the_whole(tokens: list[int], stops: list[str]) -> None:
    # A row ends with the token that completes a stop string, as the engine ends it: one that would
    # have begun earlier and ended later is never said.
    wholes = [b"".join(WORDS[t] for t in tokens[: i + 1]) for i in range(len(tokens))]
    ended = [any(stop.encode() in whole for stop in stops) for whole in wholes]
    tokens = tokens[: ended.index(True) + 1] if any(ended) else tokens
    raw = b"".join(WORDS[token] for token in tokens)
    places = [raw.find(stop.encode()) for stop in stops if stop.encode() in raw]
    expected = raw[: min(places, default=len(raw))].decode("utf-8", errors="replace")
    text = IncrementalText(WORDS, stops)
    shown, told = "", 0
    for size in range(0, len(tokens), 1 + len(tokens) % 3):
        piece = text.add(tokens[size : size + 1 + len(tokens) % 3])
        shown += piece.text
        assert piece.tokens.start == told  # every token once, in order
        told = piece.tokens.stop
        assert expected.startswith(shown)
    piece = text.finish()
    assert shown + piece.text == expected
    assert piece.tokens.start == told
    if not places:
        assert piece.tokens.stop == len(tokens)
    elif min(
        places
    ):  # a token of which something is shown is told of, one of which nothing is, not
        starts = [sum(len(WORDS[t]) for t in tokens[:i]) for i in range(len(tokens))]
        assert piece.tokens.stop >= sum(start < min(places) for start in starts)
        assert piece.tokens.stop <= sum(start <= min(places) for start in starts)


def test_a_character_is_shown_when_it_is_whole() -> None:
    text = IncrementalText(WORDS)
    assert [text.add([byte]).text for byte in "é".encode()] == ["", "é"]


def test_what_may_begin_a_stop_string_waits() -> None:
    text = IncrementalText(WORDS, ["END"])
    assert [text.add([ord(c)]).text for c in "xENx"] == ["x", "", "", "ENx"]
    assert text.add(list(b"yEN")).text == "y"
    assert text.finish().text == "EN"
