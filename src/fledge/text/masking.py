"""Masked language modelling: which tokens of a row are foretold, and what an encoder reads in their
place.

Devlin et al. 2019, §3.1: 15 % of the tokens are chosen; of these 80 % are read as the mask, 10 % as
another token and 10 % as they are. Whole words: the authors' repository, 31 May 2019. Spans: Joshi
et al. 2020, §3.1. A row's choice is a function of the generator alone, which the caller makes of
the row's number: so it is the same however rows are divided.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fledge.errors import UserError
from fledge.text.frames import read_frame
from fledge.text.interface import Tokenizer

Ints, Bools = NDArray[np.int64], NDArray[np.bool_]
Unit = Literal["tokens", "words", "spans"]

RATE = 0.15
MASKED, REPLACED = 0.8, 0.1  # of the chosen; the rest is read as it is
SPAN_STOP, LONGEST_SPAN = 0.2, 10  # words of a span: Geometric(0.2), cut at 10, 3.8 on average


@dataclass(frozen=True)
class Masking:
    """unit: what is chosen whole. mask: the token that is read. ordinary: ids that text has, of
    which the replacing ones are drawn, [K]. opens, closes: of each token, whether a word may begin
    with it, or end behind it, whatever stands beside, [V].
    """

    unit: Unit
    rate: float
    mask: int
    ordinary: Ints
    opens: Bools
    closes: Bools
    special: Bools  # [V]

    def mask_row(self, tokens: Ints, random: np.random.Generator) -> tuple[Ints, Bools]:
        """What is read, and which tokens are foretold: round(rate · n) of the n that are not
        special, at least one where there is one; of words and spans as many as fit into that, and
        at least one.  [T] -> [T] twice
        """
        maskable = ~self.special[tokens]
        number = int(maskable.sum())
        if not number:
            return tokens.copy(), maskable
        wanted = max(1, round(self.rate * number))
        if self.unit == "tokens":
            pieces = [maskable.nonzero()[0][[i]] for i in random.permutation(number)[:wanted]]
        else:
            words = self.find_words(tokens)
            choose = _choose_spans if self.unit == "spans" else _choose_words
            # One that is longer than all that is wanted is still whole.
            pieces = choose(words, wanted, random) or [min(words, key=len)]
        return self._corrupt(tokens, pieces, random)

    def find_words(self, tokens: Ints) -> list[Ints]:
        """The places of each word's tokens; special tokens are none."""
        inside = ~self.special[tokens]
        begins = self.opens[tokens] | self.special[tokens]
        begins[1:] |= self.closes[tokens[:-1]] | self.special[tokens[:-1]]
        begins[:1] = True
        number = begins.cumsum()
        places = inside.nonzero()[0]
        cuts = np.flatnonzero(np.diff(number[places])) + 1
        return np.split(places, cuts)

    def _corrupt(
        self, tokens: Ints, pieces: list[Ints], random: np.random.Generator
    ) -> tuple[Ints, Bools]:
        """One fate for all tokens of a span, and for each token of anything else its own."""
        read, chosen = tokens.copy(), np.zeros(len(tokens), dtype=bool)
        for places in pieces:
            chosen[places] = True
            fate = random.random(1 if self.unit == "spans" else len(places))
            fate = np.broadcast_to(fate, len(places))
            others = self.ordinary[random.integers(0, len(self.ordinary), len(places))]
            read[places] = np.where(
                fate < MASKED, self.mask, np.where(fate < MASKED + REPLACED, others, tokens[places])
            )
        return read, chosen

    def replace_row(self, tokens: Ints, random: np.random.Generator) -> Ints:
        """With another ordinary token in place of round(rate · n): what tells replaced tokens apart
        is measured by it.  [T] -> [T]
        """
        places = (~self.special[tokens]).nonzero()[0]
        some = random.permutation(places)[: max(1, round(self.rate * len(places)))]
        read = tokens.copy()
        read[some] = self.ordinary[random.integers(0, len(self.ordinary), len(some))]
        return read


def _choose_words(words: list[Ints], wanted: int, random: np.random.Generator) -> list[Ints]:
    """Those that fit into what is left, in the order in which they are drawn."""
    kept: list[Ints] = []
    for i in random.permutation(len(words)):
        if len(words[i]) <= wanted:
            kept.append(words[i])
            wanted -= len(words[i])
        if not wanted:
            break
    return kept


def _choose_spans(words: list[Ints], wanted: int, random: np.random.Generator) -> list[Ints]:
    """Runs of words, which do not overlap, each as long as is drawn for it and fits."""
    free = np.ones(len(words), dtype=bool)
    spans: list[Ints] = []
    for start in random.permutation(len(words)):
        length = min(int(random.geometric(SPAN_STOP)), LONGEST_SPAN)
        end = start
        while end < min(start + length, len(words)) and free[end] and len(words[end]) <= wanted:
            if end > start and words[end][0] != words[end - 1][-1] + 1:
                break  # a special token stands between
            wanted -= len(words[end])
            end += 1
        if end > start:
            free[start:end] = False
            spans.append(np.concatenate(words[start:end]))
        if not wanted:
            break
    return spans


def read_masking(tokenizer: Tokenizer, unit: Unit, rate: float = RATE) -> Masking:
    """Raises UserError for a tokenizer without a mask."""
    frame = read_frame(tokenizer)
    if frame.mask is None:
        raise UserError(
            "the tokenizer has no token that stands for a masked one: name a mask_token in its "
            "tokenizer_config.json, or use an encoder's tokenizer."
        )
    words = tokenizer.vocabulary
    special = np.zeros(len(words), dtype=bool)
    special[list(tokenizer.special)] = True
    opens = np.array([not _is_letter(word[:1]) for word in words])
    closes = np.array([not _is_letter(word[-1:]) for word in words])
    empty = np.array([not word for word in words])
    ordinary = np.flatnonzero(~special & ~empty)
    return Masking(unit, rate, frame.mask, ordinary, opens, closes, special)


def _is_letter(byte: bytes) -> bool:
    """Of a word: a letter, a digit, or a part of a character beyond ASCII."""
    return byte.isalnum() or byte >= b"\x80"
