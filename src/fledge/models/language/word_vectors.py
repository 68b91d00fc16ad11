"""Word vectors: a row for each word, and what can be asked of them: neighbours, analogies,
similarity, the vector of a word that was never seen.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fledge.errors import UserError
from fledge.json_file import read_json
from fledge.models.language.subwords import Subwords
from fledge.runs.atomic import write_text
from fledge.tensor_file import write_tensors

KIND = "word_vectors"  # as config.json has it


@dataclass(frozen=True)
class WordVectors:
    """words: V of them, the most frequent first.  vectors: [V, D].  buckets: [B, D], the vectors of
    character n-grams, where the words have any.  counts: [V], None of a file that has none.
    """

    words: tuple[str, ...]
    vectors: Tensor
    counts: Tensor | None = None
    subwords: Subwords | None = None
    buckets: Tensor | None = None

    @cached_property
    def number(self) -> dict[str, int]:
        return {word: place for place, word in enumerate(self.words)}

    @property
    def dims(self) -> int:
        return self.vectors.shape[1]

    def knows(self, word: str) -> bool:
        """Whether it has a vector; with n-grams every word has that is long enough for one."""
        return word in self.number or bool(self.subwords and self.subwords.hash(word))

    def vector(self, word: str) -> Tensor:
        """Of a word never seen the sum of those of its n-grams, divided by the root of their
        number.  -> [D]; raises UserError where there is none.
        """
        if word in self.number:
            return self.vectors[self.number[word]]
        hashed = self.subwords.hash(word) if self.subwords else []
        if not hashed or self.buckets is None:
            near = difflib.get_close_matches(word, self.words, 3)
            hint = f" Near it in writing: {', '.join(near)}." if near else ""
            raise UserError(
                f"{word!r} is none of the {len(self.words):,} words: give another, or train with "
                f"subwords=true, which reads every word.{hint}"
            )
        return self.buckets[torch.tensor(hashed)].sum(0) / len(hashed) ** 0.5

    @cached_property
    def unit(self) -> Tensor:
        """Every row of length 1.  [V, D]"""
        return torch.nn.functional.normalize(self.vectors, dim=1)

    def near(
        self, wanted: Tensor, count: int, without: Sequence[str] = ()
    ) -> list[tuple[str, float]]:
        """The words of the largest cosine to a vector [D], those named left out."""
        cosine = self.unit @ torch.nn.functional.normalize(wanted, dim=0)
        for word in without:
            if word in self.number:
                cosine[self.number[word]] = -torch.inf
        best = cosine.topk(min(count, len(self.words)))
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [(self.words[i], value) for i, value in pairs if value > -torch.inf]

    def near_word(self, word: str, count: int = 10) -> list[tuple[str, float]]:
        return self.near(self.vector(word), count, [word])

    def complete(self, a: str, b: str, c: str, count: int = 10) -> list[tuple[str, float]]:
        """a is to b as c is to …: nearest to b − a + c, of unit vectors (Mikolov et al. 2013b)."""
        one, two, three = (
            torch.nn.functional.normalize(self.vector(word), dim=0) for word in (a, b, c)
        )
        return self.near(two - one + three, count, [a, b, c])

    def similarity(self, a: str, b: str) -> float:
        """The cosine of two words."""
        return float(torch.cosine_similarity(self.vector(a), self.vector(b), dim=0))

    def mean(self, texts: Sequence[Sequence[str]]) -> Tensor:
        """The mean vector of the words of each text, 0 where it knows none.  -> [N, D]"""
        rows = torch.zeros(len(texts), self.dims)
        for place, words in enumerate(texts):
            known = [self.vector(word) for word in words if self.knows(word)]
            if known:
                rows[place] = torch.stack(known).mean(0)
        return rows

    def save(self, folder: Path) -> None:
        """config.json and model.safetensors."""
        card: dict[str, Any] = {"model": KIND, "words": list(self.words)}
        tensors = {"vectors": self.vectors.contiguous()}
        if self.counts is not None:
            tensors["counts"] = self.counts
        if self.subwords is not None and self.buckets is not None:
            card["subwords"] = vars(self.subwords)
            tensors["buckets"] = self.buckets.contiguous()
        write_text(folder / "config.json", json.dumps(card, ensure_ascii=False) + "\n")
        write_tensors(folder / "model.safetensors", tensors)

    @classmethod
    def load(cls, folder: Path) -> WordVectors:
        """Raises UserError for a folder that holds none."""
        card = read_json(folder / "config.json", dict[str, Any], mend="train the vectors again")
        try:
            if card.get("model") != KIND:
                raise KeyError(f"model {card.get('model')!r}")
            return cls.restore(card, load_file(folder / "model.safetensors"))
        except (KeyError, SafetensorError, OSError, TypeError) as error:
            raise UserError(
                f"{folder} holds no word vectors ({error}): give a run of `fledge vectors`."
            ) from error

    @classmethod
    def restore(cls, card: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> WordVectors:
        subwords = Subwords(**card["subwords"]) if "subwords" in card else None
        return cls(
            tuple(card["words"]), tensors["vectors"], tensors.get("counts"), subwords,
            tensors.get("buckets"),
        )  # fmt: skip


def rank(values: Sequence[float]) -> NDArray[np.float64]:
    """From 0, the mean rank for those that are equal.  [N] -> [N]"""
    x = np.asarray(values, float)
    below = np.searchsorted(np.sort(x), x, "left")
    return (below + np.searchsorted(np.sort(x), x, "right") - 1) / 2


def correlate_ranks(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's ρ: Pearson's correlation of the ranks; NaN where either is the same throughout."""
    x, y = rank(a), rank(b)
    x, y = x - x.mean(), y - y.mean()
    size = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / size) if size else float("nan")
