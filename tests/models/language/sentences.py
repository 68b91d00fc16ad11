"""A language of few short sentences, and models of it that are small enough to be enumerated."""

from __future__ import annotations

import itertools
from typing import Any

import torch

from fledge.models.language.sentence_coder import SentenceCoder
from fledge.text.sentences import SentenceRows, encode_sentences
from fledge.text.tokenizer import OwnTokenizer, train_tokenizer

SMALL: dict[str, Any] = {
    "latents": 1, "width": 6, "layers": 1, "cell": "gru", "longest": 4, "draws": 4,
}  # fmt: skip


def tokenizer() -> OwnTokenizer:
    """Two letters, and six special tokens."""
    return train_tokenizer("characters", ["ab"])


def rows_of(*texts: str) -> SentenceRows:
    return encode_sentences(texts, tokenizer(), 8, "the test")


def all_rows(vocabulary: int, most: int, begin: int = 1, end: int = 2) -> SentenceRows:
    """Every sentence of up to so many tokens, of whatever ids but the end's."""
    others = [token for token in range(vocabulary) if token != end]
    listed = [
        [begin, *tokens, end]
        for n in range(most + 1)
        for tokens in itertools.product(others, repeat=n)
    ]
    tokens = torch.zeros(len(listed), most + 2, dtype=torch.long)
    for place, row in enumerate(listed):
        tokens[place, : len(row)] = torch.tensor(row)
    return SentenceRows(tokens, torch.tensor(list(map(len, listed))))


def spread(module: torch.nn.Module, seed: int, scale: float = 0.7) -> None:
    """Weights at random, so large that z and what was read both matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            weight.normal_(0.0, scale, generator=generator)


def chance_of_going_on(coder: SentenceCoder, z: torch.Tensor, most: int) -> float:
    """That a sentence has more than `most` tokens, token by token, over all that it may be."""
    alphabet = coder.alphabet
    others = [token for token in range(alphabet.vocab_size) if token != alphabet.end]

    def follow(token: int, state: torch.Tensor, left: int) -> float:
        hidden, state = coder.writer.run(torch.tensor([[token]]), state)
        p = coder.foretell(hidden, z)[0, 0].softmax(0)
        if left == 0:
            return float(1 - p[alphabet.end])
        return sum(float(p[each]) * follow(each, state, left - 1) for each in others)

    with torch.no_grad():
        return follow(alphabet.begin, coder.begin_from(z), most)
