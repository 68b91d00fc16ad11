"""Samples and edits are judged by the grammar: of a model that knows its sentences by heart."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from fledge.recipes.texts.grammar_figures import count_edits, count_grammatical, find_numbers
from fledge.text.grammar import draw_sentences, make_sentence_grammar

GRAMMAR = make_sentence_grammar()
PAST = {"sees": "saw", "see": "saw", "sleeps": "slept", "sleep": "slept"}


class ByHeart:
    """Vectors: of which sentence, and whether it is to be said in the past."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def embed(self, texts: list[str]) -> torch.Tensor:
        past = [float("saw" in text or "slept" in text) for text in texts]
        self.texts = texts
        return torch.tensor([[n, p] for n, p in enumerate(past)])

    def settle(self, z: torch.Tensor) -> torch.Tensor:
        return z

    def say(self, z: torch.Tensor) -> list[str]:
        said = []
        for (_, past), text in zip(z.tolist(), self.texts, strict=True):
            words = text.split()
            said.append(" ".join(PAST.get(word, word) if past > 0.5 else word for word in words))
        return said

    def sample(self, count: int, generator: torch.Generator, temperature: float) -> list[str]:
        return (["a dog sleeps", "a dog sleep"] * count)[:count]


def test_half_of_what_it_draws_is_grammatical() -> None:
    model: Any = ByHeart()
    figures = count_grammatical(model, GRAMMAR, 0)
    assert figures["grammatical"] == figures["greedy_grammatical"] == 0.5
    assert figures["distinct"] == 2 / 500
    assert figures["sample_nats"] == pytest.approx(-GRAMMAR.log_prob("a dog sleeps"))


def test_a_sentence_that_comes_out_in_the_past_is_edited() -> None:
    """All but those that say when, which stay in the present: "a dog slept now" is none."""
    model: Any = ByHeart()
    train = [f"{who} {does}" for who in ("the cat", "a dog") for does in ("sleeps", "slept")]
    held_out = ["a cat sees the dog", "the dogs sleep now", "many cats see the dogs", "a dog ran"]
    figures = count_edits(model, GRAMMAR, train, held_out)
    assert figures == {"edited": 2 / 3, "edited_number": 2 / 3}
    assert find_numbers(GRAMMAR, ["the dogs slept", "the dogs sleep"], "past") == ["plural", None]


def test_nothing_is_edited_where_a_tense_is_missing() -> None:
    model: Any = ByHeart()
    assert count_edits(model, GRAMMAR, ["the cat sleeps"], ["the cat sleeps"]) == {}


def test_every_drawn_sentence_has_one_tense_and_number() -> None:
    texts = draw_sentences(GRAMMAR, 50, random.Random(0).randrange(100))
    by_tense = [find_numbers(GRAMMAR, texts, tense) for tense in ("present", "past", "future")]
    for one in zip(*by_tense, strict=True):
        assert sum(number is not None for number in one) == 1
