"""What is said of some held-out sentences is said of ones from all over them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fledge.recipes.texts.data import Part
from fledge.recipes.texts.judging import AGAIN, CODES, look_at_codes, measure_reconstruction
from fledge.text.sentences import SentenceRows, SentenceSet, encode_sentences
from fledge.text.tokenizer import train_tokenizer

NUMBER = 4 * CODES  # as a file that is sorted: what begins with a, then what begins with b
TEXTS = tuple(f"{'ab'[place >= NUMBER // 2]} {place}" for place in range(NUMBER))
TOKENIZER = train_tokenizer("characters", iter(TEXTS))
PART = Part(SentenceSet(TEXTS, "a sorted file"), encode_sentences(TEXTS, TOKENIZER, 32, "it"))


class KnowsHalf:
    """A model of sentences that says those with an a again, and of which a vector is one number:
    whether there is one.
    """

    tokenizer, device = TOKENIZER, torch.device("cpu")

    def encode(self, rows: SentenceRows) -> Tensor:
        return rows.tokens

    def say(self, z: Tensor) -> list[str]:
        said = [self.tokenizer.decode(ids) for ids in z.tolist()]
        return [text if "a" in text else "" for text in said]

    def posterior(self, rows: SentenceRows) -> tuple[Tensor, Tensor]:
        begins = [self.tokenizer.decode(ids)[:1] == "a" for ids in rows.tokens.tolist()]
        mean = 8.0 * torch.tensor(begins)[:, None]
        return mean, torch.zeros_like(mean)


def test_sentences_that_are_said_again_are_from_all_over_a_sorted_file() -> None:
    model: Any = KnowsHalf()
    assert measure_reconstruction(model, PART) == 0.5  # of the first AGAIN it would be 1
    assert AGAIN < NUMBER // 2


def test_codes_are_looked_at_from_all_over_a_sorted_file() -> None:
    """Two kinds of code, far apart: z knows log 2 nats of its sentence; of the first CODES none."""
    model: Any = KnowsHalf()
    codes = look_at_codes(model, PART.rows, seed=0)
    assert codes is not None
    assert codes.active == 1
    assert abs(codes.information_low - 0.693) < 0.01
