"""GloVe, a cell of the co-occurrence matrix at a time, in NumPy: what `csrc/glove.c` does, where
there is no compiler, and what it is checked by (Pennington et al. 2014, eq. 8, by AdaGrad).

    loss = ½ Σ_ij f(X_ij) (w_i·c_j + b_i + d_j − log X_ij)²,   f(x) = min(1, (x / x_max)^¾)
    x −= rate · ∂ / √s,   s += ∂²   from s = 1
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Cells:
    """N cells of the matrix.  rows, columns: int32 [N]. logs: log X. weights: f(X)."""

    rows: NDArray[np.int32]
    columns: NDArray[np.int32]
    logs: Floats
    weights: Floats

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def of(
        cls, rows: NDArray[np.int32], columns: NDArray[np.int32], x: NDArray[np.float64],
        x_max: float, exponent: float = 0.75,
    ) -> Cells:  # fmt: skip
        """x: co-occurrences, above 0."""
        weights = np.minimum(1, (x / x_max) ** exponent)
        return cls(rows, columns, np.log(x).astype(np.float32), weights.astype(np.float32))


@dataclass(frozen=True)
class GloveWeights:
    """What is learned, and the sums of squares of each gradient.  [V, P] and [V]"""

    words: Floats
    contexts: Floats
    word_squares: Floats
    context_squares: Floats
    word_bias: Floats
    context_bias: Floats
    word_bias_squares: Floats
    context_bias_squares: Floats

    def arrays(self) -> list[Floats]:
        """In the order of the fields."""
        return list(vars(self).values())

    def measure(self, cells: Cells) -> float:
        """The mean loss of a cell."""
        total = 0.0
        for begin in range(0, len(cells), 2**16):
            part = slice(begin, begin + 2**16)
            rows, columns = cells.rows[part], cells.columns[part]
            score = np.einsum("np,np->n", self.words[rows], self.contexts[columns])
            error = score + self.word_bias[rows] + self.context_bias[columns] - cells.logs[part]
            total += float((0.5 * cells.weights[part] * error**2).sum())
        return total / max(1, len(cells))


def fit_cells_plain(
    weights: GloveWeights, cells: Cells, order: NDArray[np.int64], rate: float
) -> float:
    """Steps on the cells of an order, one after the other.  -> the sum of their losses, each before
    its step
    """
    w, total = weights, 0.0
    for cell in order:
        i, j = cells.rows[cell], cells.columns[cell]
        error = w.words[i] @ w.contexts[j] + w.word_bias[i] + w.context_bias[j] - cells.logs[cell]
        slope = cells.weights[cell] * error
        total += float(0.5 * slope * error)
        of_word, of_context = slope * w.contexts[j], slope * w.words[i]
        for x, square, at, gradient in (
            (w.words, w.word_squares, i, of_word),
            (w.contexts, w.context_squares, j, of_context),
            (w.word_bias, w.word_bias_squares, i, slope),
            (w.context_bias, w.context_bias_squares, j, slope),
        ):
            x[at] -= rate * gradient / np.sqrt(square[at])
            square[at] += gradient**2
    return total
