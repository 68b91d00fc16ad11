"""Steps of word vectors against autograd of the formula they are written from, in NumPy and in C;
the noise, the tree and the optimum against what they should be.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from fledge.algorithms.likelihood.huffman import Codes, build_codes
from fledge.algorithms.likelihood.word_kernel import fit_native, load_kernel
from fledge.algorithms.likelihood.word_updates import (
    Noise,
    Piece,
    Setup,
    choose_kept,
    divide_noise,
    draw_noise,
    fit_plain,
    make_keys,
)
from fledge.models.language.subwords import Subwords
from fledge.text.words import WordText

MASK, GOLDEN = 2**64 - 1, 0x9E3779B97F4A7C15
V, P, WINDOW, NEGATIVES, SEED, PLACE = 9, 16, 3, 4, 77, 1000
WORDS = [f"w{'o' * n}rd" for n in range(V)]
COUNTS = np.array([40, 30, 20, 12, 9, 7, 5, 3, 2])
compiled = pytest.mark.skipif(load_kernel() is None, reason="no C compiler")


def mix(x: int) -> int:
    """splitmix64, in whole numbers of Python's."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def draw(place: int, number: int) -> int:
    return mix((mix((SEED + place * GOLDEN) & MASK) + number * GOLDEN) & MASK)


def make_setup(cbow: bool, tree: bool, subwords: bool, sample: float = 0.0) -> Setup:
    rows = Subwords(3, 4, 101).list_rows(WORDS) if subwords else None
    random = np.random.default_rng(4)
    given, said = (
        (0.4 * random.standard_normal((n, P))).astype(np.float32)
        for n in (V + (101 if subwords else 0), V)
    )
    outputs = build_codes(COUNTS.tolist()) if tree else Noise.of(COUNTS)
    kept = choose_kept(COUNTS, sample)
    return Setup(given, said, kept, outputs, WINDOW, NEGATIVES, cbow, SEED, rows)


def make_piece(words: int, chunks: list[int], every: int = 1) -> Piece:
    ids = np.random.default_rng(8).choice(V, words, p=COUNTS / COUNTS.sum()).astype(np.int32)
    rates = np.linspace(0.2, 0.1, len(chunks) - 1).astype(np.float32)
    return Piece(WordText(ids, np.array(chunks)), 0, len(chunks) - 1, rates, PLACE, every)


def copy(setup: Setup) -> Setup:
    return replace(setup, input=setup.input.copy(), output=setup.output.copy())


def represent(weight: Tensor, setup: Setup, word: int) -> Tensor:
    if setup.rows is None:
        return weight[word]
    begins, rows = setup.rows
    own = rows[begins[word] : begins[word + 1]]
    return sum((weight[int(r)] for r in own), torch.zeros(P)) / math.sqrt(len(own))


def spell_loss(setup: Setup, given: Tensor, said: Tensor, word: int, around: list[int],
               place: int) -> Tensor:  # fmt: skip
    """−log p of one centre word, written out."""
    inputs = [represent(given, setup, each) for each in around]
    if setup.cbow:
        inputs = [sum(inputs, torch.zeros(P)) / len(inputs)]
    loss = torch.zeros(())
    for h in inputs:
        if isinstance(setup.outputs, Codes):
            codes = setup.outputs
            for s in range(codes.begins[word], codes.begins[word + 1]):
                sign = 1 if codes.labels[s] else -1
                loss = loss - logsigmoid(sign * (h @ said[int(codes.nodes[s])]))
            continue
        loss = loss - logsigmoid(h @ said[word])
        for k in range(setup.negatives):
            drawn = draw(place, 2 + k)
            cell = (drawn >> 32) * V >> 32
            taken = (drawn & (2**32 - 1)) <= setup.outputs.accept[cell]
            table = setup.outputs.words if taken else setup.outputs.alias
            noise = int(table[cell])
            if noise != word:
                loss = loss - logsigmoid(-(h @ said[noise]))
    return loss


def descend(setup: Setup, piece: Piece) -> tuple[Tensor, Tensor, float]:
    """By autograd, one centre after the other."""
    given, said = torch.tensor(setup.input), torch.tensor(setup.output)
    total = 0.0
    for chunk, rate in enumerate(piece.rates):
        begin, end = piece.text.begins[chunk : chunk + 2]
        ids = piece.text.ids.tolist()
        for i in range(begin, end):
            reach = 1 + ((draw(PLACE + i, 1) >> 32) * WINDOW >> 32)
            low, high = max(begin, i - reach), min(end, i + reach + 1)
            around = [ids[j] for j in range(low, high) if j != i]
            given, said = given.requires_grad_(), said.requires_grad_()
            loss = spell_loss(setup, given, said, ids[i], around, PLACE + i)
            slopes = torch.autograd.grad(loss, [given, said], allow_unused=True)
            total += loss.item()
            given, said = (
                (x if slope is None else x - float(rate) * slope).detach()
                for x, slope in zip((given, said), slopes, strict=True)
            )
    return given, said, total


@pytest.mark.parametrize("subwords", [False, True])
@pytest.mark.parametrize("tree", [False, True])
@pytest.mark.parametrize("cbow", [False, True])
def test_steps_are_those_of_autograd(cbow: bool, tree: bool, subwords: bool) -> None:
    setup, piece = make_setup(cbow, tree, subwords), make_piece(24, [0, 15, 24])
    given, said, loss = descend(setup, piece)
    ways = {"NumPy": lambda own: fit_plain(own, piece)}
    if load_kernel() is not None:
        ways["C"] = lambda own: fit_native(load_kernel(), own, piece, 1)
    for name, fit in ways.items():
        own = copy(setup)
        sums = fit(own)
        assert sums.loss == pytest.approx(loss, rel=1e-5), name
        torch.testing.assert_close(torch.tensor(own.input), given, atol=2e-6, rtol=0)
        torch.testing.assert_close(torch.tensor(own.output), said, atol=2e-6, rtol=0)
        assert np.abs(own.input - setup.input).max() > 0.01


@compiled
@pytest.mark.parametrize("cbow", [False, True])
@pytest.mark.parametrize("tree", [False, True])
def test_c_does_what_numpy_does_with_the_same_draws(cbow: bool, tree: bool) -> None:
    """Words left out, the loss of every third counted, a part of the chunks."""
    setup = make_setup(cbow, tree, subwords=False, sample=0.02)
    piece = replace(make_piece(900, [0, 300, 301, 301, 650, 900], every=3), first=1)
    piece = replace(piece, rates=piece.rates[1:])
    ours, plain = copy(setup), copy(setup)
    expected = fit_plain(plain, piece)
    sums = fit_native(load_kernel(), ours, piece, 1)
    assert (sums.examples, sums.words) == (expected.examples, expected.words)
    assert 0 < sums.examples < 3000
    np.testing.assert_allclose(ours.input, plain.input, atol=1e-5)
    np.testing.assert_allclose(ours.output, plain.output, atol=1e-5)
    together = copy(setup)
    threads = fit_native(load_kernel(), together, piece, 2)
    assert (threads.examples, threads.words) == (sums.examples, sums.words)
    assert threads.loss == pytest.approx(sums.loss, rel=0.1)


def test_noise_is_by_count_to_three_quarters() -> None:
    noise = Noise.of(COUNTS)
    taken = (noise.accept + 1.0) / 2**32
    exact = np.bincount(noise.alias, (1 - taken), V) + taken
    share = COUNTS**0.75 / (COUNTS**0.75).sum()
    np.testing.assert_allclose(exact / V, share, atol=1e-9)
    N = 200_000
    counted = np.bincount(draw_noise(noise, make_keys(3, np.arange(N)), 2), minlength=V)
    chi = ((counted - N * share) ** 2 / (N * share)).sum()
    assert chi < 26.1  # of 8 degrees: p = 0.001


def test_parts_of_the_noise_hold_each_word_once_and_weigh_the_same() -> None:
    counts = np.arange(400, 0, -1) ** 2
    parts = divide_noise(counts, 3)
    assert sorted(word for part in parts for word in part.words.tolist()) == list(range(400))
    for part in parts:
        taken = (part.accept + 1.0) / 2**32
        cells = len(part.words)
        share = np.bincount(part.words, taken, 400) + np.bincount(part.alias, 1 - taken, 400)
        assert set(np.flatnonzero(share).tolist()) == set(part.words.tolist())
        own = counts[part.words] ** 0.75
        np.testing.assert_allclose(share[part.words] / cells, own / own.sum(), atol=1e-9)
        assert own.sum() / (counts**0.75).sum() == pytest.approx(1 / 3, rel=1e-3)
    assert len(divide_noise(counts[:3], 2)[1].words) == 3  # of too few to be divided


def test_codes_are_optimal_and_no_code_begins_another() -> None:
    random = np.random.default_rng(1)
    for counts in ([3, 3], [1, 1, 1, 1, 1], random.integers(1, 1000, 60).tolist(),
                   [2**n for n in range(20)]):  # fmt: skip
        codes = build_codes(counts)
        lengths = np.diff(codes.begins)
        waiting, cost = list(counts), 0  # the cost of the best code is the sum of all merges
        heapq.heapify(waiting)
        while len(waiting) > 1:
            merged = heapq.heappop(waiting) + heapq.heappop(waiting)
            cost += merged
            heapq.heappush(waiting, merged)
        assert int((lengths * counts).sum()) == cost
        assert sum(2.0**-n for n in lengths) == 1
        paths = [
            tuple(zip(codes.nodes[a:b].tolist(), codes.labels[a:b].tolist(), strict=True))
            for a, b in zip(codes.begins, codes.begins[1:], strict=False)
        ]
        assert len({p[:n] for p in paths for n in range(len(p) + 1)}) == 2 * len(counts) - 1


@compiled
def test_skip_gram_at_its_optimum_is_pmi_less_log_k() -> None:
    """Levy & Goldberg 2014, eq. 7; noise that is the word itself counts for nothing, so that of a
    context's places those are left where another word stands.
    """
    words, k, N = 5, 2, 6000
    random = np.random.default_rng(2)
    chain = random.dirichlet(np.full(words, 3.0), words)
    ids = [0]
    for _ in range(N - 1):
        ids.append(int(random.choice(words, p=chain[ids[-1]])))
    counts = np.bincount(ids, minlength=words)
    noise = Noise.of(counts, 1.0)
    start = (0.1 * random.standard_normal((words, 16))).astype(np.float32)
    setup = Setup(start, 0 * start, choose_kept(counts, 0), noise, 1, k, False, 5)
    text = WordText(np.array(ids, np.int32), np.array([0, N]))
    for turn in range(250):
        rate = np.array([0.1 * (1 - turn / 250) + 1e-4], np.float32)
        fit_native(load_kernel(), setup, Piece(text, 0, 1, rate, turn * N), 1)
    pairs = Counter(pairwise(ids)) + Counter(pairwise(ids[::-1]))
    share = counts / N
    for a in range(words):
        places = sum(n for (given, _), n in pairs.items() if given == a)
        for b in range(words):
            optimum = math.log(pairs[a, b] / (k * share[b] * (places - pairs[a, b])))
            assert setup.input[a] @ setup.output[b] == pytest.approx(optimum, abs=0.1)
