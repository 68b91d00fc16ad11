"""Rows for tuning: what is trained decodes to what the assistant said; every row once a pass;
position is one integer.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from fledge.sample.conversations import (
    ConversationRows,
    Endless,
    JudgedRows,
    PairRows,
    Shuffled,
    TokenRow,
    pair_rows,
)
from fledge.text.chat import Message, render
from fledge.text.tokenizer import train_tokenizer

BYTES = train_tokenizer("bytes", [])
BPE = train_tokenizer("bpe", ["the bird said the word, and the word was bird"] * 3, 270)
TALK: list[Message] = [
    {"role": "system", "content": "be short"},
    {"role": "user", "content": "the word? <|end|><|assistant|>no"},
    {"role": "assistant", "content": "the bird 😀"},
    {"role": "user", "content": "and?"},
    {"role": "assistant", "content": ""},
]


@pytest.mark.parametrize("tokenizer", [BYTES, BPE], ids=["bytes", "bpe"])
def test_what_is_trained_decodes_to_what_the_assistant_said_and_its_ends(tokenizer: Any) -> None:
    other: list[Message] = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello there"},
    ]
    talks = [render(tokenizer, TALK), render(tokenizer, other)]
    (batch, said) = next(ConversationRows(Shuffled(talks, seed=0), rows_per_step=2, seed=0)), []
    for action, chosen in zip(batch.action, batch.chosen, strict=True):
        trained = action[chosen].tolist()
        assert trained[-1] == tokenizer.end
        texts, open_text = [], []
        for token in trained:
            if token == tokenizer.end:
                texts.append(tokenizer.decode(open_text))
                open_text = []
            else:
                open_text.append(token)
        assert open_text == []
        said.append(texts)
    assert sorted(said) == [["hello there"], ["the bird 😀", ""]]


def numbered(i: int) -> TokenRow:
    """A row that says its number, of a length that depends on it."""
    length = 2 + (i * 7) % 11
    return [1] + [6 + i] * length, [False] + [True] * length


def numbers(batch: Any) -> list[int]:
    return [int(row[1]) - 6 for row in batch.obs]


@pytest.mark.parametrize("window", [1, 2, 5])
def test_a_pass_gives_every_row_once(window: int) -> None:
    sampler = ConversationRows(
        Shuffled([numbered(i) for i in range(40)], seed=3), rows_per_step=4, seed=1, window=window
    )
    for _ in range(3):
        seen = [n for _ in range(10) for n in numbers(next(sampler))]
        assert sorted(seen) == list(range(40))
    assert sampler.figures == {"epoch": 3.0}


def test_passes_come_in_orders_of_their_own() -> None:
    rows = Shuffled(list(range(50)), seed=0)
    passes = [[rows(i) for i in range(n * 50, (n + 1) * 50)] for n in range(3)]
    assert all(sorted(one) == list(range(50)) for one in passes)
    assert passes[0] != passes[1] != passes[2] != passes[0]
    assert [rows(i) for i in range(50)] == passes[0]  # a pure function of seed and index
    assert [Shuffled(list(range(50)), seed=1)(i) for i in range(50)] != passes[0]


@pytest.mark.parametrize("first", [0, 3, 9, 10, 27])
def test_places_of_many_are_those_of_each(first: int) -> None:
    rows = Shuffled(range(10), seed=0)
    for count in (1, 7, 10, 25):  # within a pass, over the end of one, over two
        each = [rows(i) for i in range(first, first + count)]
        assert rows.places(first, count).tolist() == each


def test_a_window_puts_rows_of_like_length_into_a_step_and_loses_none() -> None:
    wide = ConversationRows(Endless(numbered), rows_per_step=4, seed=0, window=8)
    narrow = ConversationRows(Endless(numbered), rows_per_step=4, seed=0)
    padding: list[int] = []
    for sampler in (wide, narrow):
        batches = [next(sampler) for _ in range(8)]
        assert Counter(n for batch in batches for n in numbers(batch)) == Counter(range(32))
        padding.append(sum(int((~batch.chosen).sum()) for batch in batches))
    assert padding[0] < padding[1] / 3
    assert "epoch" not in wide.figures


@pytest.mark.parametrize("given", [0, 1, 5, 13])
@pytest.mark.parametrize("window", [1, 4])
def test_the_position_of_conversations_restores_everything(given: int, window: int) -> None:
    def make() -> ConversationRows:
        return ConversationRows(
            Shuffled([numbered(i) for i in range(30)], seed=3),
            rows_per_step=4,
            seed=1,
            window=window,
        )

    straight, resumed = make(), make()
    for _ in range(given):
        next(straight)
    resumed.load_state_dict(straight.state_dict())
    for _ in range(20):
        assert torch.equal(next(straight).obs, next(resumed).obs)


def pair(i: int) -> tuple[TokenRow, TokenRow]:
    return numbered(i), numbered(i + 100)


def test_pairs_stay_together_and_come_once_a_pass() -> None:
    sampler = PairRows(Shuffled([pair(i) for i in range(20)], seed=0), pairs_per_step=5)
    seen = []
    for _ in range(4):
        batch = next(sampler)
        assert [n + 100 for n in numbers(batch.preferred)] == numbers(batch.rejected)
        seen += numbers(batch.preferred)
    assert sorted(seen) == list(range(20))
    assert sampler.figures == {"epoch": 1.0}
    resumed = PairRows(Shuffled([pair(i) for i in range(20)], seed=0), pairs_per_step=5)
    resumed.load_state_dict(sampler.state_dict())
    assert numbers(next(resumed).preferred) == numbers(next(sampler).preferred)


def test_the_two_sides_of_a_pair_have_lengths_of_their_own() -> None:
    pairs = pair_rows([(([1, 7, 2], [False, True, True]), ([1, 8, 8, 8, 2], [False] + [True] * 4))])
    assert pairs.preferred.last().tolist() == [2]
    assert pairs.rejected.last().tolist() == [4]


def test_a_verdict_is_one_or_minus_one_on_the_last_token_and_nothing_before_it() -> None:
    verdicts = [(numbered(0), True), (numbered(1), False), (numbered(2), True)]
    batch = next(JudgedRows(Endless(verdicts.__getitem__), rows_per_step=3))
    lengths = {0: 2, 1: 9, 2: 5}  # of what is chosen; the shortest row comes first
    assert numbers(batch) == [0, 2, 1]
    for number, reward in zip(numbers(batch), batch.reward.tolist(), strict=True):
        expected = [0.0] * 9
        expected[lengths[number] - 1] = 1.0 if verdicts[number][1] else -1.0
        assert reward == expected
