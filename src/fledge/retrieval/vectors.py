"""Which memories have a vector near that of a question: the signs of all are compared in memory,
and the best of these by the vectors themselves, from the file.

One bit a dimension and a second look at a few hundred: 48 bytes a memory in place of 1,536 for the
384 dimensions of MiniLM. Signs of vectors keep their angles in expectation: Charikar 2002, §3.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Protocol

import numpy as np

LOOKED_AT = 400  # by their vectors, after the signs
BLOCK = 16_384  # memories compared at a time: what is made of them stays in the cache
ROUNDING = 127.0
_BITS = np.array([bin(byte).count("1") for byte in range(256)], dtype=np.uint8)


class TextEncoder(Protocol):
    """Texts to vectors. name: tells one encoder's vectors from another's."""

    name: str
    dims: int

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """[N] -> [N, D]"""
        ...


def write_signs(vectors: np.ndarray) -> np.ndarray:
    """[N, D] -> [N, W] words of 64 bits; the last is filled up with zeros."""
    packed = np.packbits(vectors > 0, axis=1)
    wide = np.zeros((len(vectors), -(-packed.shape[1] // 8) * 8), dtype=np.uint8)
    wide[:, : packed.shape[1]] = packed
    return wide.view(np.uint64)


def round_vectors(vectors: np.ndarray) -> np.ndarray:
    """[N, D] of length 1 -> int8, in 127ths of each one's largest entry: a cosine keeps two
    digits.
    """
    largest = np.abs(vectors).max(1, keepdims=True)
    return np.rint(vectors / np.maximum(largest, 1e-30) * ROUNDING).astype(np.int8)


def normalise(vectors: np.ndarray) -> np.ndarray:
    """[N, D] -> length 1; a vector of zeros stays."""
    vectors = np.asarray(vectors, dtype=np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)


class SignIndex:
    """The signs of all memories, [W, N] so that a comparison goes along memory; brought up to date
    before each search, since other processes write too.
    """

    def __init__(self, dims: int) -> None:
        self.words = -(-dims // 64)
        self.count = 0
        self._ids = np.zeros(0, dtype=np.int64)
        self._signs = np.zeros((self.words, 0), dtype=np.uint64)

    def update(self, database: sqlite3.Connection) -> None:
        """Takes in what has come since. What was forgotten stays until the file is opened again,
        and is passed over.
        """
        last = int(self._ids[self.count - 1]) if self.count else 0
        rows = database.execute("SELECT id, bits FROM signs WHERE id > ? ORDER BY id", (last,))
        while some := rows.fetchmany(20_000):
            self._grow(self.count + len(some))
            place = slice(self.count, self.count + len(some))
            self._ids[place] = [number for number, _ in some]
            bits = np.frombuffer(b"".join(bits for _, bits in some), dtype=np.uint64)
            self._signs[:, place] = bits.reshape(len(some), self.words).T
            self.count += len(some)

    def nearest(self, signs: np.ndarray, count: int) -> np.ndarray:
        """Numbers of the memories whose signs [W] differ in the fewest places: `count` or, where
        some are equally far, more.
        """
        places, apart = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint16)
        bound = 64 * self.words  # no farther than this are those that may be among the nearest
        size = (self.words, min(BLOCK, self.count))
        other, bits = np.empty(size, dtype=np.uint64), np.empty(size, dtype=np.uint8)
        for begin in range(0, self.count, BLOCK):
            block = self._signs[:, begin : min(begin + BLOCK, self.count)]
            some = slice(0, block.shape[1])
            # What is made goes to the same place each time: a fresh one costs as much as the rest.
            np.bitwise_xor(block, signs[:, None], out=other[:, some])
            far = count_bits(other[:, some], bits[:, some]).sum(0, dtype=np.uint16)
            near = np.flatnonzero(far <= bound)
            if len(near) == 0:
                continue
            places = np.concatenate([places, begin + near])
            apart = np.concatenate([apart, far[near]])
            if len(apart) > count:
                bound = np.partition(apart, count - 1)[count - 1]
                places, apart = places[apart <= bound], apart[apart <= bound]
        return self._ids[places]

    def list_near(self, vector: np.ndarray) -> list[int]:
        """Numbers of the memories to be looked at by their vectors. vector: [D]"""
        return self.nearest(write_signs(vector[None])[0], LOOKED_AT)[: 4 * LOOKED_AT].tolist()

    def _grow(self, needed: int) -> None:
        if needed <= len(self._ids):
            return
        size = max(needed, len(self._ids) + len(self._ids) // 4, 1024)
        ids, signs = np.zeros(size, dtype=np.int64), np.zeros((self.words, size), dtype=np.uint64)
        ids[: self.count] = self._ids[: self.count]
        signs[:, : self.count] = self._signs[:, : self.count]
        self._ids, self._signs = ids, signs


def count_bits(words: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """How many bits of each are set.  uint64 [..., N] -> uint8 [..., N], which `out` may be."""
    if hasattr(np, "bitwise_count"):  # from NumPy 2 on
        return np.bitwise_count(words, out=out)
    bytes_of = np.ascontiguousarray(words).view(np.uint8).reshape(*words.shape, 8)
    return _BITS[bytes_of].sum(-1, dtype=np.uint8)


def rank_by_vector(
    database: sqlite3.Connection, index: SignIndex, vector: np.ndarray, count: int
) -> list[int]:
    """Numbers of the memories that are near by their signs, the largest cosine first, at most
    `count`. vector: [D], of length 1.
    """
    numbers = index.list_near(vector)
    marks = ",".join("?" * len(numbers))
    rows = database.execute(
        f"SELECT id, rounded FROM vectors WHERE id IN ({marks})", numbers
    ).fetchall()
    if not rows:
        return []
    stored = np.frombuffer(b"".join(rounded for _, rounded in rows), dtype=np.int8)
    stored = normalise(stored.reshape(len(rows), -1).astype(np.float32))  # [n, D]
    order = np.argsort(-(stored @ vector), kind="stable")[:count]
    return [rows[place][0] for place in order]
