"""GloVe's steps against autograd and AdaGrad written out; a matrix that has such vectors is fitted
to nothing left.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from fledge.algorithms.likelihood.glove import Glove, GloveSettings, split_cells
from fledge.algorithms.likelihood.glove_updates import Cells, fit_cells_plain
from fledge.algorithms.likelihood.word_kernel import fit_cells_native, load_kernel
from fledge.sample.word_chunks import CellBlocks
from fledge.stopwatch import Stopwatch
from fledge.text.words import Vocabulary

V, D, X_MAX = 7, 16, 10.0
VOCABULARY = Vocabulary(tuple("abcdefg"), np.arange(V, 0, -1))


def make_matrix() -> tuple[Cells, dict[str, torch.Tensor]]:
    """All cells of a matrix whose logarithms are products of vectors and biases."""
    draw = torch.Generator().manual_seed(3)
    parts = {name: 0.5 * torch.randn(V, 4, generator=draw) for name in ("words", "contexts")}
    parts |= {name: torch.randn(V, generator=draw) for name in ("word_bias", "context_bias")}
    log_x = parts["words"] @ parts["contexts"].T + parts["word_bias"][:, None]
    x = (log_x + parts["context_bias"]).exp().double().numpy()
    rows, columns = (a.reshape(-1).astype(np.int32) for a in np.indices((V, V)))
    return Cells.of(rows, columns, x.reshape(-1), X_MAX), parts


def make_glove(cells: Cells) -> Glove:
    return Glove(VOCABULARY, cells, GloveSettings(D, X_MAX), 1, Stopwatch())


def test_steps_are_those_of_autograd_and_adagrad() -> None:
    cells, _ = make_matrix()
    order = np.array([3, 41, 3, 17, 8, 3, 3, 41])
    ways: dict[str, Callable[..., float]] = {"NumPy": fit_cells_plain}
    if load_kernel() is not None:
        ways["C"] = lambda *given: fit_cells_native(load_kernel(), *given, threads=1)
    for name, fit in ways.items():
        glove = make_glove(cells)
        names = ("words", "contexts", "word_bias", "context_bias")
        x = {each: glove.tensors[each].double().requires_grad_() for each in names}
        squares = {each: torch.ones_like(x[each]) for each in names}
        total = 0.0
        for cell in order:
            i, j = cells.rows[cell], cells.columns[cell]
            count = np.exp(float(cells.logs[cell]))
            score = x["words"][i] @ x["contexts"][j] + x["word_bias"][i] + x["context_bias"][j]
            loss = 0.5 * min(1, (count / X_MAX) ** 0.75) * (score - np.log(count)) ** 2
            total += loss.item()
            for each, slope in zip(names, torch.autograd.grad(loss, list(x.values())), strict=True):
                x[each] = (x[each] - 0.5 * slope / squares[each].sqrt()).detach().requires_grad_()
                squares[each] = squares[each] + slope**2
        assert fit(glove.weights, cells, order, 0.5) == pytest.approx(total, rel=1e-5), name
        for each in names:
            torch.testing.assert_close(glove.tensors[each].double(), x[each].detach(),
                                       atol=5e-6, rtol=0)  # fmt: skip


def test_nothing_is_left_of_a_matrix_that_has_such_vectors() -> None:
    cells, parts = make_matrix()
    glove = make_glove(cells)
    for name, part in parts.items():
        room = D - 4 if part.ndim == 2 else 0
        glove.tensors[name].copy_(torch.nn.functional.pad(part, (0, room)))
    assert glove.weights.measure(cells) == pytest.approx(0, abs=1e-10)
    learned, blocks = make_glove(cells), CellBlocks(len(cells), 1)
    errors = [learned.update(next(blocks))["squared_error"] for _ in range(4000)]
    assert errors[-1] < 1e-3 * errors[0]
    assert learned.weights.measure(cells) == pytest.approx(errors[-1], rel=0.5)


def test_both_cells_of_a_pair_are_in_one_part() -> None:
    pairs = np.array([(a, b) for a in range(60) for b in range(a, 60)], np.int32)
    x = np.arange(1.0, len(pairs) + 1)
    parts = split_cells(pairs[:, 0].copy(), pairs[:, 1].copy(), x, X_MAX, 4)
    seen = {
        split: {(min(a, b), max(a, b)) for a, b in zip(cells.rows, cells.columns, strict=True)}
        for split, cells in parts.items()
    }
    assert sum(len(each) for each in seen.values()) == len(pairs)
    assert len(set.union(*seen.values())) == len(pairs)
    assert sum(len(cells) for cells in parts.values()) == 60 * 60
    assert all(10 < len(seen[part]) < 80 for part in ("validation", "test"))
