"""Which words answers have, counted by hand."""

from __future__ import annotations

import math

import pytest
import torch

from fledge.score.pair_words import count_words, find_common_words


def test_words_are_counted_by_hand() -> None:
    pairs = [("Yes, yes.", "No."), ("yes", "")]
    words = find_common_words(pairs, most=3)
    assert list(words.places) == [".", "yes", ","]  # two answers have the first two each
    raw = words.compare(pairs) * words.scale
    first = [0.0, math.sqrt(2), 1.0, math.log(5 / 3)]  # "yes , yes ." has four, "no ." two
    assert torch.allclose(raw[0], torch.tensor(first).double())
    assert torch.allclose(raw[1], torch.tensor([0.0, 1.0, 0.0, math.log(2)]).double())
    assert float(words.compare(pairs).square().sum(1).mean()) == pytest.approx(1)


def test_signs_beside_latin_words_stand_alone_too() -> None:
    assert list(count_words("用Python编程, 3x")) == ["用", "python", "编", "程", ",", "3x"]
