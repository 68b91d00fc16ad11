"""What is known of an answer before anybody has judged it: how often it has each of the commonest
words, and how long it is. Frozen features for a linear reward; no model is asked.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

MOST = 128  # words: with 300, hh-rlhf's pairs are told apart no better

# Of Chinese and Japanese each character, since nothing stands between words there.
_SIGNS = r"\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_SIGNS}]|[^\W_{_SIGNS}]+|[^\w\s]")


@dataclass(frozen=True)
class CommonWords:
    """places: of each word its column. scale: by which features are divided, so that those of two
    answers differ by 1 in the root mean square.
    """

    places: Mapping[str, int]
    scale: float = 1.0

    @property
    def features(self) -> int:
        return len(self.places) + 1

    def count(self, answers: Sequence[str]) -> Tensor:
        """√ of each word's count, and ln(1 + all words).  -> [N, features] float64"""
        rows = torch.zeros(len(answers), self.features, dtype=torch.float64)
        for row, answer in zip(rows, answers, strict=True):
            counts = count_words(answer)
            for word, count in counts.items():
                if word in self.places:
                    row[self.places[word]] = math.sqrt(count)
            row[-1] = math.log1p(counts.total())
        return rows / self.scale

    def compare(self, pairs: Sequence[tuple[str, str]]) -> Tensor:
        """The first's less the second's.  -> [N, features]"""
        first, second = ([pair[side] for pair in pairs] for side in (0, 1))
        return self.count(first) - self.count(second)


def count_words(answer: str) -> Counter[str]:
    return Counter(_WORD.findall(answer.lower()))


def find_common_words(pairs: Sequence[tuple[str, str]], most: int = MOST) -> CommonWords:
    """Of the answers of these pairs, whatever their order: words by how many answers have them."""
    having = Counter(word for pair in pairs for answer in pair for word in count_words(answer))
    common = sorted(having, key=lambda word: (-having[word], word))[:most]
    plain = CommonWords({word: i for i, word in enumerate(common)})
    apart = plain.compare(pairs).square().sum(1)
    scale = float(apart.mean().sqrt()) if len(apart) else 0.0
    return CommonWords(plain.places, scale or 1.0)
