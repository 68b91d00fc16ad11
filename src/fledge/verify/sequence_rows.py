"""Chains that are not seen beside the sum over every path, and the Kalman smoother beside one large
normal.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor

from fledge.algorithms.latent.baum_welch import BaumWelch
from fledge.algorithms.latent.kalman_em import KalmanEM
from fledge.exact.chain import Space, list_paths
from fledge.models.latent.emissions import SymbolEmission
from fledge.models.latent.hidden_markov import HiddenMarkov
from fledge.models.latent.state_space import NAMES, StateSpace
from fledge.rows.sequences import Sequences
from fledge.sample.points import Block
from fledge.verify.rows import TableRow

ROUNDING, STEPS, DRAWS = 1e-9, 6, 20_000
STATES, SYMBOLS = 2, 3
LENGTHS = (6, 1, 4)


def draw_rows(rows: int, width: int, seed: int) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.rand(rows, width, generator=random, dtype=torch.float64).softmax(1)


def draw_chain() -> HiddenMarkov:
    emission = SymbolEmission(draw_rows(STATES, SYMBOLS, 3), ("a", "b", "c"))
    return HiddenMarkov(draw_rows(1, STATES, 1)[0], draw_rows(STATES, STATES, 2), emission)


def draw_symbols() -> Sequences:
    random = torch.Generator().manual_seed(4)
    x = torch.randint(SYMBOLS, (sum(LENGTHS),), generator=random)
    return Sequences(x, LENGTHS, ("symbol",), ("a", "b", "c"))


def baum_welch_row() -> TableRow:
    """Six steps beside counting over all paths, of sequences of several lengths."""
    sequences, algorithm = draw_symbols(), BaumWelch(BaumWelch.Settings(k=str(STATES)))
    algorithm.begin(sequences, draw_chain())
    error, bounds = 0.0, []
    for _ in range(STEPS):
        model = algorithm.model
        assert model is not None
        counts, log_p = count_paths(model, sequences)
        bounds.append(fit_whole(algorithm, sequences)["elbo"])
        model = algorithm.model
        assert model is not None
        assert isinstance(model.emission, SymbolEmission)
        made = (model.start[None], model.transition, model.emission.probability)
        for ours, count in zip(made, counts, strict=True):
            wanted = count / count.sum(-1, keepdim=True)
            error = max(error, float((ours - wanted).abs().max()))
        error = max(error, abs(bounds[-1] - log_p / sequences.steps))
    if any(b < a - 1e-12 for a, b in itertools.pairwise(bounds)):
        error = math.inf
    return TableRow(
        "G17.5", "hidden Markov model by Baum–Welch",
        "every step is the count over all paths, and none falls", error, ROUNDING,
        f"{STEPS} steps to {error:.1e}, rising from {bounds[0]:.3f} to {bounds[-1]:.3f} nats a "
        "step",
    )  # fmt: skip


def fit_whole(algorithm: BaumWelch | KalmanEM, sequences: Sequences) -> dict[str, float]:
    batch: Any = Block(sequences, 0, 1)  # pyright: ignore[reportArgumentType]
    return algorithm.update(batch)


def count_paths(model: HiddenMarkov, sequences: Sequences) -> tuple[list[Tensor], float]:
    assert isinstance(model.emission, SymbolEmission)
    total, log_p = [torch.zeros(1, STATES).double(), 0, 0], 0.0
    for x in sequences.each():
        paths = list_paths(model.start, model.transition, model.emission.probability, x)
        first, pairs, shown = paths.count(STATES, x, SYMBOLS)
        total = [a + b for a, b in zip(total, (first[None], pairs, shown), strict=True)]
        log_p += paths.log_p
    return total, log_p


def path_row() -> TableRow:
    """Viterbi's path, and paths drawn from the posterior, in standard errors of their shares."""
    model, x = draw_chain(), draw_symbols().each()[0]
    assert isinstance(model.emission, SymbolEmission)
    paths = list_paths(model.start, model.transition, model.emission.probability, x)
    path, value = model.decode(x)[0]
    best = int(paths.joint.argmax())
    right = path.tolist() == paths.path[best].tolist()
    right = right and abs(value - float(paths.joint[best])) < ROUNDING
    drawn = model.draw_paths(x, DRAWS, torch.Generator().manual_seed(5))
    place = STATES ** torch.arange(len(x) - 1, -1, -1)
    often = torch.bincount(drawn @ place, minlength=len(paths.path)) / DRAWS
    share = paths.share
    error = float(((often - share).abs() / (share * (1 - share) / DRAWS).sqrt()).max())
    return TableRow(
        "G17.6", "paths of a hidden Markov model",
        "Viterbi's is the likeliest of all, and draws are as frequent as likely",
        error if right else math.inf, 5.0,
        f"the best of {len(paths.path)} paths; {DRAWS:,} draws within {error:.1f} standard errors",
    )  # fmt: skip


def kalman_row() -> TableRow:
    """Filter, smoother and likelihood along four steps of EM."""
    random = torch.Generator().manual_seed(6)
    x = torch.randn(sum(LENGTHS), 2, generator=random, dtype=torch.float64).cumsum(0)
    sequences = Sequences(x, LENGTHS, ("a", "b"))
    algorithm = KalmanEM(KalmanEM.Settings(state_size=2))
    algorithm.begin(sequences)
    error, bounds = 0.0, []
    for _ in range(4):
        model = algorithm.model
        assert model is not None
        error = max(error, compare_space(model, sequences))
        log_p = float(model.log_prob(x, LENGTHS).sum()) / len(x)
        bounds.append(fit_whole(algorithm, sequences)["elbo"])
        error = max(error, abs(log_p - bounds[-1]))
    if any(b < a - 1e-12 for a, b in itertools.pairwise(bounds)):
        error = math.inf
    return TableRow(
        "G17.7", "Kalman filter and smoother with EM",
        "one large normal, conditioned; the bound never falls", error, ROUNDING,
        f"means, covariances and likelihood to {error:.1e}, rising from {bounds[0]:.3f} to "
        f"{bounds[-1]:.3f} nats a step",
    )  # fmt: skip


def compare_space(model: StateSpace, sequences: Sequences) -> float:
    """The largest difference of a mean, a covariance or a log-likelihood."""
    exact, error, place = Space(*(getattr(model, name) for name in NAMES)), 0.0, 0
    mean, covariance = model.infer(sequences.x, sequences.lengths)
    log_p, n = model.log_prob(sequences.x, sequences.lengths), model.size
    for number, part in enumerate(sequences.each()):
        T = len(part)
        means, V, whole = exact.condition(part)
        own = V.view(T, n, T, n).diagonal(dim1=0, dim2=2).permute(2, 0, 1)  # [T, n, n]
        for ours, wanted in (
            (mean[place : place + T], means),
            (covariance[place : place + T], own),
            (log_p[number], torch.tensor(whole, dtype=torch.float64)),
        ):
            error = max(error, float((ours - wanted).abs().max()))
        past = exact.condition(part[: T - T // 2])[0][-1]  # the filter knows the past alone
        here = model.filter(sequences.x, sequences.lengths)[place + T - T // 2 - 1]
        error, place = max(error, float((here - past).abs().max())), place + T
    return error


def sequence_rows() -> list[TableRow]:
    return [baum_welch_row(), path_row(), kalman_row()]
