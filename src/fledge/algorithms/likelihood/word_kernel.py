"""The C of `csrc/`, where it can be compiled: the steps of word vectors and of GloVe, on several
threads that write the same vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ctypes import (
    Structure,
    byref,
    c_double,
    c_float,
    c_int64,
    c_uint64,
    c_void_p,
)
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fledge.algorithms.likelihood.glove_updates import Cells, GloveWeights
from fledge.algorithms.likelihood.huffman import Codes
from fledge.algorithms.likelihood.word_updates import Piece, Setup, Sums, make_keys
from fledge.c_library import load_sources

SOURCES = Path(__file__).with_name("csrc")


class _Work(Structure):
    """As `Work` of words.c."""

    _fields_ = [
        *((name, c_void_p) for name in ("ids", "begins", "next")),
        ("first", c_int64), ("end", c_int64),
        *((name, c_void_p) for name in (
            "rates", "keep", "row_begins", "rows", "node_begins", "nodes", "labels", "noise",
            "accept", "alias", "input", "output",
        )),
        *((name, c_int64) for name in ("P", "cells", "window", "negatives", "cbow")),
        ("seed", c_uint64), ("place", c_uint64), ("every", c_int64),
    ]  # fmt: skip


class _GloveWork(Structure):
    """As `GloveWork` of glove.c."""

    _fields_ = [
        *((name, c_void_p) for name in ("rows", "columns", "logs", "weights", "order", "next")),
        ("end", c_int64), ("P", c_int64),
        *((name, c_void_p) for name in (
            "words", "contexts", "word_squares", "context_squares", "word_bias", "context_bias",
            "word_bias_squares", "context_bias_squares",
        )),
        ("rate", c_float),
    ]  # fmt: skip


@cache
def load_kernel() -> Any:
    """The library, or None where it cannot be had."""
    library = load_sources(SOURCES, "the C of word vectors", "NumPy does its work")
    if library is not None:
        library.fit_words.argtypes = [c_void_p] * 4
        library.fit_cells.argtypes = [c_void_p] * 2
        library.fit_cells.restype = None
    return library


def _point(array: Any) -> Any:
    """Its first number, as C has it; NULL of None."""
    assert array is None or array.flags.c_contiguous
    return None if array is None else array.ctypes.data


def _run(job: Callable[[int], Any], threads: int) -> list[Any]:
    """As often as there are threads, at once: C lets the others run. job: given which one it is."""
    if threads == 1:
        return [job(0)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(job, range(threads)))


def fit_native(library: Any, setup: Setup, piece: Piece, threads: int) -> Sums:
    """`fit_plain`, by chunks that whichever thread is free takes next. Threads draw noise from
    parts of it that change from piece to piece: to take a row from another core's cache costs as
    much as a step. Raises MemoryError.
    """
    text, whole = piece.text, setup.outputs
    rates, following = np.ascontiguousarray(piece.rates), np.array([piece.first])
    assert rates.dtype == np.float32
    turn = int(make_keys(setup.seed, np.array([piece.place + text.begins[piece.first]]))[0])

    def job(thread: int) -> Sums:
        outputs = setup.shares[(turn + thread) % threads] if setup.shares else whole
        tree, noise, cells = (None, None, None), (None, None, None), 0
        if isinstance(outputs, Codes):
            tree = outputs.begins, outputs.nodes, outputs.labels
        else:
            noise, cells = (outputs.words, outputs.accept, outputs.alias), len(outputs.words)
        arrays = (*(setup.rows or (None, None)), *tree, *noise, setup.input, setup.output)
        work = _Work(
            _point(text.ids), _point(text.begins), _point(following), piece.first, piece.end,
            _point(rates), _point(setup.keep), *map(_point, arrays),
            setup.input.shape[1], cells, setup.window, setup.negatives,
            setup.cbow, setup.seed, piece.place, piece.every,
        )  # fmt: skip
        loss, examples, words = c_double(), c_int64(), c_int64()
        if library.fit_words(byref(work), byref(loss), byref(examples), byref(words)):
            raise MemoryError
        return Sums(loss.value, examples.value, words.value)

    parts = _run(job, threads)
    return Sums(
        sum(one.loss for one in parts), sum(one.examples for one in parts),
        sum(one.words for one in parts),
    )  # fmt: skip


def fit_cells_native(
    library: Any, weights: GloveWeights, cells: Cells, order: Any, rate: float, threads: int
) -> float:
    """`fit_cells_plain`, by blocks of cells."""
    order, following = np.ascontiguousarray(order, np.int64), np.zeros(1, np.int64)
    work = _GloveWork(
        *map(_point, (cells.rows, cells.columns, cells.logs, cells.weights, order, following)),
        len(order), weights.words.shape[1], *map(_point, weights.arrays()), rate,
    )  # fmt: skip

    def job(thread: int) -> float:
        loss = c_double()
        library.fit_cells(byref(work), byref(loss))
        return loss.value

    return sum(_run(job, threads))
