"""Models of text beside their formulas: Kneser and Ney's counts, the optimum of word vectors, and
what keeps a router's experts in use.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import Tensor

from fledge.algorithms.likelihood import routing_losses as losses
from fledge.algorithms.likelihood import smoothing, word_updates
from fledge.exact.ngram import KneserNey
from fledge.models.language import mixture
from fledge.text.ngram_passes import count_ngrams
from fledge.text.words import WordText
from fledge.verify.rows import TableRow

BORDER, WORDS, ORDER = 0, 6, 3
LETTERS, NEGATIVES, PASSES = 4, 3, 8
EXPERTS, USED, TOKENS = 6, 2, 240


def kneser_ney_row() -> TableRow:
    """After every context that a text of this vocabulary has, seen or not."""
    random = np.random.default_rng(3)
    shares = np.array([0.4, 0.3, 0.17, 0.1, 0.03])
    documents = [
        [BORDER, *(1 + random.choice(WORDS - 1, size=size, p=shares)).tolist()]
        for size in random.integers(1, 9, size=60)
    ]
    text = np.array(list(itertools.chain(*documents)), dtype=np.int64)
    sayable = np.arange(WORDS) != BORDER
    model = smoothing.kneser_ney(count_ngrams([text], ORDER, WORDS, BORDER), sayable)
    words = range(1, WORDS)
    exact, contexts = KneserNey(documents, ORDER, BORDER, words), list_contexts(words)
    logs = model.distribution([np.array(context) for context in contexts]).astype(np.float64)
    said = np.exp(logs[:, sayable])  # [N, words]
    wanted = np.array([[exact.p(word, context) for word in words] for context in contexts])
    worst = float(np.abs(said.sum(1) - 1).max())
    error = float(np.max([np.abs(said - wanted).max(), worst]))  # NaN stays NaN
    return TableRow(
        "L2.1", "interpolated modified Kneser–Ney",
        "p(w|h) is the formula's, and sums to one after every context", error, 1e-6,
        f"after {len(contexts)} contexts to {error:.1e} of each other, sums to {worst:.1e}",
    )  # fmt: skip


def list_contexts(words: range) -> list[tuple[int, ...]]:
    """Of one or two tokens, with and without the beginning of a document."""
    pairs = itertools.product([BORDER, *words], words)
    return [(BORDER,), *((word,) for word in words), *pairs]


def skip_gram_row() -> TableRow:
    """The weights stand where the formula has the optimum, and a pass over a text moves them by
    chance alone: the sum of all its steps in standard errors, output by output.

    Levy & Goldberg 2014, eq. 12, has log #(w,c) #  / (#(w) #(c)) − log k of noise by frequency;
    here noise is P, and a noise word that is the word itself is none: of each context c,
    log #(w,c) − log k P(w) (#(c) − #(w,c)).
    """
    random, rate, size = np.random.default_rng(5), 2e-4, 1500
    often = np.array([0.55, 0.25, 0.13, 0.07])
    follow = (often + random.dirichlet(np.ones(LETTERS), LETTERS)) / 2
    ids = [0]
    for _ in range(size - 1):
        ids.append(int(random.choice(LETTERS, p=follow[ids[-1]])))
    text = WordText(np.array(ids, np.int32), np.array([0, size]))
    pairs = np.zeros((LETTERS, LETTERS))  # of a word and a context beside it
    for one, other in itertools.pairwise(ids):
        pairs[one, other] += 1
        pairs[other, one] += 1
    counts = np.bincount(ids, minlength=LETTERS)
    noise = counts**0.75 / (counts**0.75).sum()
    against = NEGATIVES * noise[:, None] * (pairs.sum(0) - pairs)
    optimum = np.log(pairs / against)  # [word, context]
    chance = 1 / (1 + np.exp(-optimum))
    moved = np.zeros((LETTERS, LETTERS))
    for number in range(PASSES):
        setup = word_updates.Setup(
            np.eye(LETTERS, dtype=np.float32), optimum.astype(np.float32),
            word_updates.choose_kept(counts, 0.0), word_updates.Noise.of(counts), window=1,
            negatives=NEGATIVES, cbow=False, seed=11,
        )  # fmt: skip
        place, rates = number * size, np.full(1, rate, np.float32)
        word_updates.fit_plain(setup, word_updates.Piece(text, 0, 1, rates, place))
        # What an input has moved is no part of the output, and of second order.
        moved += (setup.output - optimum.astype(np.float32)) / rate
    # What is drawn are the noise words of each centre, the same for its neighbours.
    spread = np.sqrt(PASSES * against * (1 - noise[:, None]) * 2) * chance
    error = float(np.abs(moved / spread).max())
    return TableRow(
        "L8", "skip-gram with negative sampling",
        "no step on average where h·u = log #(w,c) − log k P(w)(#(c) − #(w,c))", error, 5.0,
        f"{PASSES * size:,} words move each of {LETTERS**2} products by at most {error:.1f} "
        "standard errors",
    )  # fmt: skip


def draw_layer(corrected: bool) -> tuple[mixture.MixtureOfExperts, Tensor]:
    """A router that likes some experts better, and what it reads."""
    random = torch.Generator().manual_seed(7)
    experts = mixture.Experts(EXPERTS, USED, 4, corrected=corrected)
    layer = mixture.MixtureOfExperts(5, experts, torch.nn.functional.silu).double()
    x = torch.randn(TOKENS, 5, generator=random, dtype=torch.float64)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.normal_(generator=random)
        x[:, 0] = 1.5
    return layer, x


def ask(layer: mixture.MixtureOfExperts, x: Tensor) -> mixture.Routing:
    said: list[mixture.Routing] = []
    layer.watch = said.append
    layer(x)
    return said[0]


def balance_row() -> TableRow:
    """Counted token by token; its gradient by central differences of scores, choices held."""
    layer, x = draw_layer(corrected=False)

    def score(weight: Tensor) -> Tensor:
        return (x @ weight.T).softmax(-1)

    weight = layer.router.weight
    said = ask(layer, x)
    chosen = torch.bincount(said.expert.flatten(), minlength=EXPERTS) / (USED * TOKENS)
    loss = losses.balance_loss(
        chosen.double(), mixture.compute_scores(said.logits, layer.experts).mean(0)
    )
    (gradient,) = torch.autograd.grad(loss, [weight])
    own = [0.0] * EXPERTS
    for row in score(weight.detach()):
        for expert in sorted(range(EXPERTS), key=lambda e, row=row: -float(row[e]))[:USED]:
            own[expert] += 1 / (USED * TOKENS)
    share = torch.tensor(own, dtype=torch.float64)

    def value(weight: Tensor) -> float:
        return EXPERTS * float((share * score(weight).mean(0)).sum())

    error = abs(float(loss.detach()) - value(weight.detach()))
    for place in range(weight.numel()):
        step = torch.zeros_like(weight).view(-1)
        step[place] = 1e-6
        sides = [value(weight.detach() + sign * step.view_as(weight)) for sign in (1, -1)]
        slope = (sides[0] - sides[1]) / 2e-6
        error = max(error, abs(slope - float(gradient.view(-1)[place])))
    even = torch.full((EXPERTS,), 1 / EXPERTS, dtype=torch.float64)
    error = max(error, abs(float(losses.balance_loss(even, even)) - 1))
    return TableRow(
        "L24.1", "balance loss of a router",
        "E Σ f P over all tokens, 1 where even; f has no gradient", error, 1e-7,
        f"{float(loss.detach()):.3f} of {TOKENS} tokens and its gradient to {error:.1e}",
    )  # fmt: skip


def bias_row() -> TableRow:
    """Steps of a rate on scores that stay as they are: the busiest expert's share falls to an even
    one, and a token's answer is weighed by its scores alone.
    """
    layer, x = draw_layer(corrected=True)
    weight, rate = layer.router.weight.detach(), 0.004
    score = (x @ weight.T).sigmoid()
    first = busiest = 0.0
    for step in range(500):
        expert = ask(layer, x).expert
        load = torch.bincount(expert.flatten(), minlength=EXPERTS).double()
        busiest = float(load.max()) / (USED * TOKENS / EXPERTS)
        first = first or busiest
        if step < 499:
            layer.bias.copy_(losses.correct_bias(layer.bias, load, rate))
    # What is said is the answers' mean by scores that know of no bias.
    said, wanted = layer(x).detach(), torch.zeros_like(x)
    ranked = (score + layer.bias).argsort(-1, descending=True)[:, :USED]
    for token in range(TOKENS):
        chosen = ranked[token].tolist()
        total = sum(float(score[token, e]) for e in chosen)
        for e in chosen:
            gate, up = (layer.gate_up[e].detach() @ x[token]).chunk(2)
            answer = layer.down[e].detach() @ (torch.nn.functional.silu(gate) * up)
            wanted[token] += float(score[token, e]) / total * answer
    error = float((said - wanted).abs().max())
    spread = busiest - 1 if error < 1e-9 else math.inf
    return TableRow(
        "L24.2", "bias-corrected routing",
        "loads become even without a gradient, and weights know of no bias", spread, 0.1,
        f"the busiest expert from {first:.2f} to {busiest:.2f} times an even share; answers to "
        f"{error:.1e}",
    )  # fmt: skip


def text_rows() -> list[TableRow]:
    return [kneser_ney_row(), skip_gram_row(), balance_row(), bias_row()]
