"""One rule for every kind of data: by content, whatever else there is, and no side empty."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fledge.splits import FEWEST_TO_SPLIT, SPLITS, checked, divide, prompt_key, split_of


def test_the_split_follows_from_the_text_alone_and_has_the_shares_it_promises() -> None:
    # 20,000 hashes: a share is off by 5 standard deviations in fewer than 1 of 10^6 corpora; this
    # one is fixed anyway.
    counts = Counter(split_of(f"document {i}") for i in range(20_000))
    assert abs(counts["train"] - 18_000) < 5 * (20_000 * 0.9 * 0.1) ** 0.5
    for split in ("validation", "test"):
        assert abs(counts[split] - 1_000) < 5 * (20_000 * 0.05 * 0.95) ** 0.5
    place = int(hashlib.sha256(b"document 0").hexdigest()[:16], 16) / 16**16
    assert split_of("document 0") == (
        "train" if place < 0.9 else "validation" if place < 0.95 else "test"
    )


@given(st.sets(st.text(max_size=8), min_size=FEWEST_TO_SPLIT, max_size=60))
def test_no_side_is_empty_and_copies_change_nothing(contents: set[str]) -> None:
    sides = divide(contents)
    assert sides is not None
    assert set(sides) == contents
    assert set(sides.values()) == set(SPLITS)
    assert divide([*contents, *contents]) == sides
    # Only where a side would be empty does a content move, and then only out of training.
    assert all(side == split_of(c) or split_of(c) == "train" for c, side in sides.items())


def test_a_content_stays_on_its_side_when_others_come() -> None:
    contents = [f"content {i}" for i in range(1000)]
    few, many = divide(contents[:200]), divide(contents)
    assert few is not None
    assert many is not None
    assert all(many[content] == side for content, side in few.items())


def test_copies_do_not_make_a_set_large_enough_to_split() -> None:
    assert divide([f"content {i % 19}" for i in range(950)]) is None


def test_neither_case_nor_blanks_at_the_ends_make_another_prompt() -> None:
    assert prompt_key(" Straße 1\n") == prompt_key("STRASSE 1") != prompt_key("strasse  1")


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="train, validation, test"):
        checked("held out")
