"""Skip-gram and CBOW, a centre of a window at a time, in NumPy: what `csrc/words.c` does, draw for
draw, where there is no compiler, and what it is checked by.

Of a centre word with E inputs h (skip-gram: each context word; CBOW: their mean) and O outputs u
with labels y (negative sampling: the word itself, 1, and noise words, 0, drawn once for all inputs
as in Ji et al. 2016; hierarchical softmax: the inner nodes of its code):

    loss = −Σ_e Σ_o y_o log σ(h_e·u_o) + (1 − y_o) log σ(−h_e·u_o)
    g = y − σ(h u'),   u += rate · g' h,   h += rate · g u

both of the weights as they were before the step. An input of several rows (a word and its n-grams)
is their sum by the root of their number; the mean of CBOW passes each word its share of the
gradient, which word2vec does not (İrsoy et al. 2021).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fledge.algorithms.likelihood.huffman import Codes
from fledge.text.words import WordText

Floats = NDArray[np.float32]
Drawn = NDArray[np.uint64]
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)


@dataclass(frozen=True)
class Noise:
    """Words by count^exponent, as an alias table (Walker 1977): a cell is drawn, and of it one of
    two words.  words, alias: int32 [N]; accept: how often it is the first, uint32 [N], in 2⁻³²
    """

    words: NDArray[np.int32]
    accept: NDArray[np.uint32]
    alias: NDArray[np.int32]

    @classmethod
    def of(
        cls, counts: NDArray[np.int64], exponent: float = 0.75,
        words: NDArray[np.int32] | None = None,
    ) -> Noise:  # fmt: skip
        """words: those of all that are in it.  0.75: Mikolov et al. 2013, §2.2."""
        words = np.arange(len(counts), dtype=np.int32) if words is None else words
        share = counts[words].astype(float) ** exponent
        full = share / share.sum() * len(words)
        alias = np.arange(len(words))
        small = [int(i) for i in np.flatnonzero(full < 1)]
        large = [int(i) for i in np.flatnonzero(full >= 1)]
        while small and large:
            low, high = small.pop(), large[-1]
            alias[low] = high
            full[high] -= 1 - full[low]
            if full[high] < 1:
                small.append(large.pop())
        for rest in (*small, *large):  # 1 but for rounding
            full[rest] = 1
        return cls(words, to_bits(full), words[alias])


def divide_noise(counts: NDArray[np.int64], parts: int) -> tuple[Noise, ...]:
    """Every word in one of the parts, which weigh as near the same as can be: threads that draw
    from different ones do not write each other's noise.
    """
    if parts == 1 or len(counts) < 2 * parts:
        return (Noise.of(counts),) * parts
    waiting = [(0.0, part) for part in range(parts)]
    members: list[list[int]] = [[] for _ in range(parts)]
    for word, weight in enumerate((counts**0.75).tolist()):  # the most frequent first
        lightest, part = heapq.heappop(waiting)
        members[part].append(word)
        heapq.heappush(waiting, (lightest + weight, part))
    return tuple(Noise.of(counts, words=np.array(each, np.int32)) for each in members)


def to_bits(chance: NDArray[np.float64]) -> NDArray[np.uint32]:
    """The largest of 2³² numbers that is taken, at these chances above 0."""
    return (np.clip(chance, 0, 1) * 2.0**32 - 1).clip(0, 2**32 - 1).astype(np.uint32)


def choose_kept(counts: NDArray[np.int64], sample: float) -> NDArray[np.uint32]:
    """At which chance each word is kept: √(t/f) + t/f of a word of frequency f, as word2vec has it
    in place of the paper's √(t/f).  sample: t; 0 keeps all.
    """
    if not sample:
        return np.full(len(counts), 2**32 - 1, np.uint32)
    ratio = sample / (counts / counts.sum())
    return to_bits(np.sqrt(ratio) + ratio)


@dataclass(frozen=True)
class Setup:
    """What stays as it is from step to step, but for the numbers in `input` [R, P] and `output`
    [O, P], which are learned. Columns beyond the vector's are 0.

    keep: uint32 [V]. rows: of each word its rows of `input`, where they begin and all of them; None
    is the row of its number. outputs: noise, or codes of a tree. shares: the same noise in as many
    parts as there are threads, if there are several.
    """

    input: Floats
    output: Floats
    keep: NDArray[np.uint32]
    outputs: Noise | Codes
    window: int
    negatives: int
    cbow: bool
    seed: int
    rows: tuple[NDArray[np.int64], NDArray[np.int32]] | None = None
    shares: tuple[Noise, ...] = ()


@dataclass(frozen=True)
class Piece:
    """Chunks `first` to `end` of a text, with the rate of each. place: of the text's first word
    among all draws of the run. every: the loss of each so many-th word is counted.
    """

    text: WordText
    first: int
    end: int
    rates: Floats
    place: int = 0
    every: int = 1


@dataclass
class Sums:
    """Of a piece: the loss of those inputs for which it was counted, and how many those are."""

    loss: float = 0.0
    examples: int = 0
    words: int = 0

    @property
    def mean(self) -> float:
        return self.loss / max(1, self.examples)


def mix(x: Drawn) -> Drawn:
    """splitmix64 (Steele et al. 2014).  [N] -> [N]"""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def make_keys(seed: int, places: NDArray[np.int64]) -> Drawn:
    """From which all is drawn that is drawn for a place of the text, whoever comes there first."""
    return mix(np.uint64(seed) + places.astype(np.uint64) * _GOLDEN)


def draw(keys: Drawn, number: int) -> Drawn:
    return mix(keys + np.array([number], np.uint64) * _GOLDEN)


def draw_noise(noise: Noise, keys: Drawn, number: int) -> NDArray[np.int32]:
    """-> [N]"""
    drawn = draw(keys, number)
    cell = ((drawn >> _HALF) * np.uint64(len(noise.words)) >> _HALF).astype(np.int64)
    taken = (drawn & np.uint64(2**32 - 1)) <= noise.accept[cell]
    return np.where(taken, noise.words[cell], noise.alias[cell])


def fit_plain(setup: Setup, piece: Piece) -> Sums:
    """In order, chunk by chunk."""
    sums = Sums()
    for chunk in range(piece.first, piece.end):
        begin, end = piece.text.begins[chunk : chunk + 2]
        places = np.arange(begin, end)
        keys = make_keys(setup.seed, piece.place + places)
        kept = (draw(keys, 0) >> _HALF) <= setup.keep[piece.text.ids[begin:end]]
        _fit_chunk(
            setup, piece, piece.text.ids[begin:end][kept], piece.place + places[kept], keys[kept],
            float(piece.rates[chunk - piece.first]), sums,
        )  # fmt: skip
        sums.words += int(end - begin)
    return sums


def _fit_chunk(
    setup: Setup, piece: Piece, ids: NDArray[np.int32], places: NDArray[np.int64], keys: Drawn,
    rate: float, sums: Sums,
) -> None:  # fmt: skip
    reach = 1 + ((draw(keys, 1) >> _HALF) * np.uint64(setup.window) >> _HALF).astype(np.int64)
    drawn = np.empty((len(ids), 0), np.int32)
    if isinstance(setup.outputs, Noise) and setup.negatives:
        numbers = range(2, 2 + setup.negatives)
        drawn = np.stack([draw_noise(setup.outputs, keys, n) for n in numbers], 1)
    for i in range(len(ids)):
        low = max(0, i - reach[i])
        contexts = np.concatenate([ids[low:i], ids[i + 1 : i + 1 + reach[i]]])
        if not len(contexts):
            continue
        outputs, labels = _choose_outputs(setup.outputs, ids[i], drawn[i])
        h = np.stack([_gather(setup, word) for word in contexts])  # [E, P]
        if setup.cbow:
            h = h.mean(0, keepdims=True)
        u = setup.output[outputs]  # [O, P]
        score = h @ u.T
        if places[i] % piece.every == 0:
            sums.loss += float(np.logaddexp(0, np.where(labels > 0, -score, score)).sum())
            sums.examples += len(h)
        g = rate * (labels - (0.5 + 0.5 * np.tanh(score / 2)))  # σ, without overflow
        np.add.at(setup.output, outputs, g.T @ h)
        slope = g @ u
        if setup.cbow:
            slope = np.repeat(slope / len(contexts), len(contexts), 0)
        for word, change in zip(contexts, slope, strict=True):
            _scatter(setup, word, change)


def _choose_outputs(
    outputs: Noise | Codes, word: np.int32, drawn: NDArray[np.int32]
) -> tuple[NDArray[np.int32], Floats]:
    """Rows of `output`, and what each should say. A noise word that is the word itself is none."""
    if isinstance(outputs, Codes):
        way = slice(*outputs.begins[word : word + 2])
        return outputs.nodes[way], outputs.labels[way].astype(np.float32)
    others = drawn[drawn != word]
    labels = np.zeros(1 + len(others), np.float32)
    labels[0] = 1
    return np.concatenate([[word], others]), labels


def _rows_of(setup: Setup, word: np.int32) -> NDArray[np.int32]:
    if setup.rows is None:
        return np.array([word])
    begins, rows = setup.rows
    return rows[begins[word] : begins[word + 1]]


def _gather(setup: Setup, word: np.int32) -> Floats:
    """What a word is as an input.  -> [P]"""
    rows = _rows_of(setup, word)
    return setup.input[rows].sum(0) / np.float32(len(rows) ** 0.5)


def _scatter(setup: Setup, word: np.int32, change: Floats) -> None:
    rows = _rows_of(setup, word)
    np.add.at(setup.input, rows, change / np.float32(len(rows) ** 0.5))
