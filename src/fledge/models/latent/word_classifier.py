"""What weak supervision ends with: a classifier of texts by their words, as it is written, read and
asked.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fledge.errors import UserError
from fledge.json_file import read_json
from fledge.models.latent.hashed_words import fit_logistic, hash_words
from fledge.runs.atomic import write_text
from fledge.tensor_file import write_tensors


@dataclass(frozen=True)
class WordClassifier:
    """log p(label | text) = softmax(words · weight + bias).  weight: [F, C]. bias: [C]. labels: C
    names.
    """

    weight: Tensor
    bias: Tensor
    labels: tuple[str, ...]

    @classmethod
    def fit(cls, words: Tensor, target: Tensor, labels: Sequence[str]) -> WordClassifier:
        """words: of `hash_words` [N, F]. target: shares of labels [N, C]."""
        return cls(*fit_logistic(words, target), tuple(labels))

    def score(self, words: Tensor) -> Tensor:
        """[N, F] -> [N, C], logits"""
        return words @ self.weight + self.bias

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """p(label | text).  -> [N, C], in the order of `labels`"""
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise UserError("texts of another kind were given: give a list of texts.")
        if not texts:
            return np.zeros((0, len(self.labels)))
        return self.score(hash_words(list(texts), len(self.weight))).softmax(1).numpy()

    def predict(self, texts: Sequence[str]) -> list[str]:
        """The likeliest label of each."""
        return [self.labels[best] for best in self.predict_proba(texts).argmax(1)]

    def save(self, folder: Path) -> None:
        """config.json and model.safetensors, into a folder that is made."""
        folder.mkdir(exist_ok=True)
        card = {"model": "words", "labels": list(self.labels)}
        write_text(folder / "config.json", json.dumps(card, indent=2, ensure_ascii=False) + "\n")
        tensors = {"weight": self.weight.contiguous(), "bias": self.bias.contiguous()}
        write_tensors(folder / "model.safetensors", tensors)

    @classmethod
    def load(cls, folder: Path) -> WordClassifier:
        """Raises UserError for a folder that holds none."""
        if not folder.is_dir():
            raise UserError(
                f"there is no {folder}: only a run of `fledge fit model=weak` has a classifier."
            )
        card = read_json(folder / "config.json", dict[str, Any], mend="fit the model again")
        try:
            tensors = load_file(folder / "model.safetensors")
            return cls(tensors["weight"], tensors["bias"], tuple(card["labels"]))
        except (KeyError, SafetensorError, OSError) as error:
            raise UserError(f"{folder} holds no classifier ({error}): fit it again.") from error
