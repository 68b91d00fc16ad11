"""Words counted in UTF-8, held against Python's own split and letters, character by character."""

from __future__ import annotations

import re

import pytest

from fledge.curate.run_kernel import load_kernel
from fledge.curate.word_counts import COMMON, count_plain, count_words
from fledge.curate.word_hashes import encode

# All white space is below U+3100; above, every thirteenth, and some of four bytes in UTF-8.
CODES = (*range(0x3100), *range(0x3100, 0x10000, 13), 0x1D400, 0x1F600, 0x10400, 0x1E921)
CHARACTERS = [chr(code) for code in CODES]


@pytest.mark.skipif(load_kernel() is None, reason="no compiler here")
def test_every_character_divides_words_as_it_does_in_python() -> None:
    for c in CHARACTERS:
        text = f"a{c}b the{c}"
        counts, words = count_words(text), text.split()
        assert counts.words == len(words), hex(ord(c))
        assert counts.characters == sum(map(len, words)), hex(ord(c))
        assert counts.lettered == len([word for word in words if re.search("[A-Za-z]", word)])
        if counts.small is not None:
            assert counts.small == encode(text), hex(ord(c))


TEXTS = [
    "",
    " ",
    "the",
    "to be",
    "the the The THE then",
    " ".join(COMMON),
    "2 4 six 8 ten\u3000and",
]


@pytest.mark.parametrize("count", [count_words, count_plain])
def test_common_words_are_counted_once_each(count: object) -> None:
    assert callable(count)
    said = [count(text).common for text in TEXTS]
    assert said == [0, 0, 1, 2, 1, 8, 1]
    assert count(TEXTS[6]).lettered == 3


@pytest.mark.skipif(load_kernel() is None, reason="no compiler here")
def test_english_is_put_in_small_letters_on_the_way() -> None:
    """With its quotation marks: or that would be done twice, the second time slowly."""
    assert count_words("“The CAT’s” — so…").small == "“the cat’s” — so…".encode()
    assert count_words("Ärger").small is None
