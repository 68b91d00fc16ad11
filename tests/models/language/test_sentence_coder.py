"""The writer's probabilities sum to 1 over all sentences, padding counts for nothing, and what is
written is what is likely.
"""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from fledge.models.language.sentence_coder import Alphabet, SentenceCoder
from tests.models.language.sentences import SMALL, all_rows, chance_of_going_on, spread

ALPHABET = Alphabet(vocab_size=4, begin=1, end=2)


def make(cell: str = "gru", **changes: object) -> SentenceCoder:
    coder = SentenceCoder(ALPHABET, {**SMALL, "cell": cell, "latents": 2, **changes})
    spread(coder, seed=1)
    return coder.eval()


@pytest.mark.parametrize("cell", ["elman", "lstm", "gru", "mingru"])
def test_all_sentences_together_have_probability_one(cell: str) -> None:
    coder, rows = make(cell, layers=2), all_rows(4, 3)
    z = torch.tensor([[0.8, -1.1]])
    with torch.no_grad():
        p = coder.log_likelihood(rows, z.expand(len(rows), -1)).double().exp()
    assert len(rows) == 1 + 3 + 9 + 27
    assert math.isclose(float(p.sum()) + chance_of_going_on(coder, z, 3), 1.0, abs_tol=1e-5)


def test_what_stands_behind_the_end_counts_for_nothing() -> None:
    coder, rows = make(), all_rows(4, 3)
    z = torch.randn(len(rows), 2, generator=torch.Generator().manual_seed(0))
    behind = torch.arange(rows.tokens.shape[1]) >= rows.length[:, None]
    other = rows.replace(tokens=torch.where(behind, 3, rows.tokens))
    assert not torch.equal(other.tokens, rows.tokens)
    with torch.no_grad():
        assert torch.equal(coder.log_likelihood(rows, z), coder.log_likelihood(other, z))
        assert torch.equal(coder.read(rows), coder.read(other))


def test_a_hidden_word_is_foretold_and_not_shown() -> None:
    coder, rows = make(), all_rows(4, 2)[-3:]  # "3 0", "3 1", "3 3"
    z = torch.zeros(3, 2)
    nothing = torch.zeros_like(rows.tokens, dtype=torch.bool)
    hidden = nothing.clone()
    hidden[:, 2] = True  # the second word, in which they differ
    first = rows.replace(length=torch.full((3,), 3))  # without what follows that word
    with torch.no_grad():
        shown = coder.log_likelihood(rows, z)
        assert torch.equal(shown, coder.log_likelihood(rows, z, nothing))
        foretold = coder.log_likelihood(first, z)
        assert torch.equal(coder.log_likelihood(first, z, hidden), foretold)
        # The end is foretold of three sentences that differ, and of three that look alike.
        read = coder.writer.read(torch.tensor([[1, 3, coder.unknown]]), coder.begin_from(z[:1]))
        end = coder.foretell(read, z[:1])[0, -1].log_softmax(0)[ALPHABET.end]
        alike = coder.log_likelihood(rows, z, hidden) - foretold
        torch.testing.assert_close(alike, end.expand(3), rtol=1e-4, atol=1e-5)
        assert len({round(float(x), 4) for x in shown - foretold}) == 3


def test_what_is_drawn_is_as_frequent_as_it_is_likely() -> None:
    """By G over the 13 sentences of up to two tokens and the rest: a false alarm once in
    10,000.
    """
    coder, rows = make(longest=6), all_rows(4, 2)
    z = torch.tensor([[0.3, 0.9]])
    with torch.no_grad():
        p = coder.log_likelihood(rows, z.expand(len(rows), -1)).double().exp()
    names = [
        tuple(row[1 : n - 1])
        for row, n in zip(rows.tokens.tolist(), rows.length.tolist(), strict=True)
    ]
    draws = 8000
    every = torch.ones(4, dtype=torch.bool)
    generator = torch.Generator().manual_seed(5)
    said = coder.write(z.expand(draws, -1), every, 1.0, generator)
    seen = Counter(tuple(each) if len(each) <= 2 else None for each in said)
    wanted = {**dict(zip(names, p.tolist(), strict=True)), None: 1 - float(p.sum())}
    g = 2 * sum(n * math.log(n / (draws * wanted[name])) for name, n in seen.items())
    freedom = len(wanted) - 1
    assert g < freedom * (1 - 2 / (9 * freedom) + 3.72 * math.sqrt(2 / (9 * freedom))) ** 3


def test_greedy_writing_follows_the_likeliest_token() -> None:
    coder = make(longest=6)
    z = torch.randn(20, 2, generator=torch.Generator().manual_seed(2))
    every = torch.ones(4, dtype=torch.bool)
    said = coder.write(z, every, 0.0, torch.Generator())
    for one, words in zip(z, said, strict=True):
        ids = [ALPHABET.begin]
        while len(ids) < 8:
            with torch.no_grad():
                hidden = coder.writer.read(torch.tensor([ids]), coder.begin_from(one[None]))
                token = int(coder.foretell(hidden, one[None])[0, -1].argmax())
            if token == ALPHABET.end:
                break
            ids.append(token)
        assert ids[1:] == words
    no_three = torch.tensor([True, True, True, False])
    assert all(3 not in words for words in coder.write(z, no_three, 0.0, torch.Generator()))
