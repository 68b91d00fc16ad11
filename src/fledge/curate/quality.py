"""Whether a text is rather of one kind or of another: logistic regression over hashed words and
pairs of words, as fastText's classifier has it (Joulin et al. 2017, "Bag of Tricks for Efficient
Text Classification", without its hidden layer), which Li et al. 2024 (DCLM) filter the web with.

logit(x) = b + mean over the text's n-grams of w[hash(n-gram)]. It is learned online, a few texts at
a time, by AdaGrad (Duchi et al. 2011): a rare word takes steps as large as a common one's. What it
says is sharper than true, and Platt's line (1999), fitted on texts that were held out, mends that.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from fledge.curate.word_hashes import hash_runs, hash_words
from fledge.errors import UserError
from fledge.tensor_file import write_tensors

BITS = 20
"""2^20 weights, 4 MB: of a million different n-grams some 600,000 have a weight of their own."""
RATE = 1.0  # AdaGrad's: a step moves a weight by as much at the most
FILE = "quality.safetensors"

Floats = NDArray[np.float64]


class QualityModel:
    """weights: [2^BITS] float32. bias: of the logit. slope, shift: Platt's line over it."""

    def __init__(self) -> None:
        self.weights = np.zeros(1 << BITS, dtype=np.float32)
        self.bias, self.slope, self.shift = 0.0, 1.0, 0.0
        self._squares = np.zeros(1 << BITS, dtype=np.float32)  # of gradients, summed
        self._bias_squares = 0.0

    def measure(self, texts: Sequence[str]) -> Floats:
        """The logit of each text before it is mended; of one without a word, the bias.  [texts]"""
        buckets, borders = find_buckets(texts)
        sums = np.add.reduceat(np.append(self.weights[buckets], 0.0), borders[:-1])
        counts = np.diff(borders)
        return self.bias + np.where(counts > 0, sums, 0.0) / np.maximum(counts, 1)

    def score(self, text: str) -> float:
        """The probability that a text is good, where good and plain ones are as frequent."""
        return float(squash(self.slope * self.measure([text]) + self.shift)[0])

    def learn(self, texts: Sequence[str], good: Sequence[bool], weights: Sequence[float]) -> None:
        """One step of AdaGrad on these texts. weights: how much each counts.  [texts]"""
        buckets, borders = find_buckets(texts)
        counts = np.maximum(np.diff(borders), 1)
        gap = (squash(self.measure(texts)) - np.asarray(good)) * np.asarray(weights) / len(texts)
        which, place = np.unique(buckets, return_inverse=True)
        each = np.repeat(gap / counts, np.diff(borders))
        gradient = np.bincount(place, weights=each, minlength=len(which))
        self._squares[which] += gradient**2
        # Gradients of nothing but zeros leave a weight where it is.
        root = np.sqrt(np.maximum(self._squares[which], np.finfo(np.float32).tiny))
        self.weights[which] -= RATE * gradient / root
        self._bias_squares += float(gap.sum()) ** 2
        if self._bias_squares:
            self.bias -= RATE * float(gap.sum()) / self._bias_squares**0.5

    def mend(self, logits: Floats, good: NDArray[np.bool_]) -> None:
        """Fit Platt's line on the logits of texts that were not learned.  [texts], [texts]"""
        self.slope, self.shift = fit_line(logits, good)

    def save(self, folder: Path) -> None:
        line = torch.tensor([self.bias, self.slope, self.shift], dtype=torch.float64)
        tensors = {"weights": torch.from_numpy(self.weights), "line": line}
        write_tensors(folder / FILE, tensors)

    @classmethod
    def load(cls, folder: Path) -> QualityModel:
        """Raises UserError for a folder without one, or a damaged one."""
        path = folder / FILE
        if not path.is_file():
            raise UserError(
                f"{folder} has no {FILE}: give the folder of a finished `fledge data quality`."
            )
        try:
            tensors = load_file(path)
            weights, line = tensors["weights"], tensors["line"]
            if weights.shape != (1 << BITS,) or line.shape != (3,):
                raise KeyError("weights")
        except (SafetensorError, KeyError) as error:
            raise UserError(
                f"{path} is damaged ({error}): copy it again, or train it again by "
                "`fledge data quality`."
            ) from None
        model = cls()
        model.weights = weights
        model.bias, model.slope, model.shift = map(float, line)
        return model


def find_buckets(texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The weights of all words and pairs of words, and where those of each text begin.
    [F], [texts + 1]
    """
    hashed = hash_words(texts)
    parts, borders = [], [0]
    for begin, end in zip(hashed.first[:-1], hashed.first[1:], strict=True):
        words = hashed.words[begin:end]
        parts += [words, hash_runs(words, 2)]
        borders.append(borders[-1] + len(words) + max(len(words) - 1, 0))
    every = np.concatenate([np.zeros(0, dtype=np.uint64), *parts])
    return (every >> np.uint64(64 - BITS)).astype(np.int64), np.array(borders)


def fit_line(logits: Floats, good: NDArray[np.bool_], steps: int = 50) -> tuple[float, float]:
    """Slope and shift of the likeliest line over the logits, by Newton's method; each side counts
    as much as the other. The targets are Platt's, (n + 1) / (n + 2) and its mirror: two sides
    which no logit confuses have a line, too.
    """
    numbers = np.array([np.sum(~good), np.sum(good)], dtype=float)
    ends = np.array([1 / (numbers[0] + 2), (numbers[1] + 1) / (numbers[1] + 2)])
    target, weight = ends[good.astype(int)], (1 / numbers)[good.astype(int)]
    spread = max(float(logits.std()), 1e-12)
    rows = np.stack([logits / spread, np.ones_like(logits)], axis=1)
    line = np.zeros(2)
    loss = lambda line: np.sum(  # noqa: E731
        weight * (np.logaddexp(0, rows @ line) - target * (rows @ line))
    )
    for _ in range(steps):
        p = squash(rows @ line)
        gradient = rows.T @ (weight * (p - target))
        curve = (rows * (weight * p * (1 - p))[:, None]).T @ rows + 1e-12 * np.eye(2)
        step, size = np.linalg.solve(curve, gradient), 1.0
        while size > 1e-6 and loss(line - size * step) > loss(line):
            size /= 2
        line = line - size * step
        if np.abs(gradient).max() < 1e-12:
            break
    return float(line[0] / spread), float(line[1])


def squash(logit: Floats) -> Floats:
    return 0.5 * (1 + np.tanh(0.5 * logit))
