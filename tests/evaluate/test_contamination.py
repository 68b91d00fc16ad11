"""Questions that were planted in a text are found there, whole or in part, and no others."""

from __future__ import annotations

from fledge.evaluate.contamination import find_overlap

LONG = " ".join(f"word{i}" for i in range(40))
SHORT = "Which of these animals lays eggs in sand?"


def test_what_was_planted_is_found() -> None:
    text = f"before {LONG.upper()} after. which of these, animals lays eggs: IN sand!"
    whole, short, other = find_overlap([LONG, SHORT, "Who wrote the book about the sea?"], [text])
    assert whole.share == 1.0
    assert whole.example.startswith("word0 word1")
    assert short.share == 1.0
    assert other.share == 0.0


def test_a_part_counts_by_its_words_and_twelve_in_a_row_do_not() -> None:
    words = LONG.split()
    part = find_overlap([LONG], ["x " + " ".join(words[5:25]) + " y"])[0]
    assert part.share == 20 / 40
    assert find_overlap([LONG], [" ".join(words[:12]), " ".join(words[12:24])])[0].share == 0


def test_what_is_too_short_stands_in_any_text() -> None:
    assert find_overlap(["What is this?"], ["what is this?"])[0].share == 0
