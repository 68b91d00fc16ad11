"""Codes as characters, there and back."""

from __future__ import annotations

import unicodedata

import pytest

from fledge.errors import UserError
from fledge.images.code_text import CLOSE, FIRST, MOST, OPEN, check_codes, read_codes, spell_codes


def test_what_is_spelled_is_read_again_wherever_it_stands() -> None:
    codes = [0, 7, 63, 7]
    text = spell_codes(codes)
    assert len(text) == 6
    assert read_codes(f"here is {text}, and {spell_codes([1, 1, 1, 1])}", 4, 64) == codes


@pytest.mark.parametrize(
    "text",
    [
        "", "a seven", spell_codes([1, 2, 3]), spell_codes([1, 2, 3, 4, 5]),
        spell_codes([1, 2, 3, 64]), spell_codes([1, 2, 3, 4])[:-1], OPEN + "abcd" + CLOSE,
    ],
)  # fmt: skip
def test_what_is_no_whole_picture_is_none(text: str) -> None:
    assert read_codes(text, 4, 64) is None


def test_every_character_is_one_letter_that_no_normal_form_changes() -> None:
    for place in (0, 1, MOST // 2, MOST - 1):
        character = chr(FIRST + place)
        assert unicodedata.category(character) == "Lo"
        assert unicodedata.normalize("NFKC", character) == character


def test_more_codes_than_characters_are_refused() -> None:
    check_codes(MOST)
    with pytest.raises(UserError, match="train one with fewer"):
        check_codes(MOST + 1)
