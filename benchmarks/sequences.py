"""Baum–Welch on 100 sequences of 1,000 steps, 16 states: ours against hmmlearn (C) and dynamax
(JAX, compiled).

States show normals of 4 columns, with variances (`diagonal`) or covariances (`full`), or one of 32
symbols. All begin from the same parameters, and a round is one iteration of each: of hmmlearn its
E-step and M-step alone, scaled messages, which are its fastest, without its priors; of dynamax the
same, compiled whole, in double precision, `diagonal` alone. The likelihood of three iterations must
be the same: all take it before the M-step.

`kalman`: E[z | x] of one sequence of 10,000 steps of two columns, a state of two numbers, with a
fifth of the values missing and with none: ours beside ours.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import torch

from fledge.algorithms.latent.baum_welch import BaumWelch
from fledge.models.latent.hidden_markov import HiddenMarkov
from fledge.models.latent.kalman import Dynamics, smooth_points
from fledge.models.latent.kalman_missing import smooth_missing
from fledge.models.latent.step_order import order_steps
from fledge.rows.sequences import Sequences
from fledge.sample.points import Block
from side_by_side import alternate, finish, judge, options, say, speed_up, table

CASES = ("diagonal", "full", "symbols")
KALMAN_STEPS, QUICK_KALMAN_STEPS = 10_000, 500
SIZE, QUICK = (100, 1000, 16), (10, 100, 4)
WIDTH, SYMBOLS, STEPS = 4, 32, 3
AIMS = {"hmmlearn": 4.0, "dynamax": 2.0}


def draw(case: str, S: int, T: int, K: int) -> tuple[Sequences, HiddenMarkov]:
    """Sequences of a chain, and where a fit of them begins."""
    random = np.random.default_rng(0)
    transition = random.dirichlet(np.ones(K), K).cumsum(1)
    state = np.empty((S, T), dtype=np.int64)
    state[:, 0] = random.integers(0, K, S)
    for t in range(1, T):
        past = transition[state[:, t - 1]]
        state[:, t] = np.minimum((past < random.random((S, 1))).sum(1), K - 1)
    flat = state.ravel()
    names: tuple[str, ...] = ()
    if case == "symbols":
        shown = random.dirichlet(np.full(SYMBOLS, 0.3), K).cumsum(1)
        x = np.minimum((shown[flat] < random.random((len(flat), 1))).sum(1), SYMBOLS - 1)
        names = tuple(map(str, range(SYMBOLS)))
    else:
        centre = 3 * random.normal(size=(K, WIDTH))
        x = centre[flat] + random.normal(size=(len(flat), WIDTH))
    sequences = Sequences(torch.from_numpy(x), (T,) * S, tuple("abcd"[:WIDTH]), names)
    algorithm = BaumWelch(make_settings(case, K))
    algorithm.begin(sequences)
    assert algorithm.model is not None
    return sequences, algorithm.model


def make_settings(case: str, K: int) -> BaumWelch.Settings:
    kind: Any = "full" if case == "symbols" else case
    return BaumWelch.Settings(k=str(K), covariance=kind, starts=1, floor=1e-9, tolerance=0)


class Ours:
    def __init__(self, case: str, sequences: Sequences, model: HiddenMarkov) -> None:
        self.algorithm = BaumWelch(make_settings(case, model.states))
        self.batch: Any = Block(sequences, 0, 1)  # pyright: ignore[reportArgumentType]
        self.algorithm.begin(sequences, model)
        self.steps = sequences.total

    def step(self) -> float:
        return self.algorithm.update(self.batch)["elbo"] * self.steps


class Hmmlearn:
    def __init__(self, case: str, sequences: Sequences, model: HiddenMarkov) -> None:
        from hmmlearn import hmm

        K, emission = model.states, as_arrays(model)
        also: dict[str, Any] = {"implementation": "scaling", "init_params": ""}
        if case == "symbols":
            self.peer: Any = hmm.CategoricalHMM(K, n_features=SYMBOLS, **also)
            self.peer.emissionprob_ = emission["emission_probability"]
        else:
            kind = {"diagonal": "diag", "full": "full"}[case]
            none = -WIDTH - 1 if case == "full" else 1  # a prior of no weight
            self.peer = hmm.GaussianHMM(
                K, kind, covars_prior=0, covars_weight=none, min_covar=0, **also
            )
            self.peer.n_features = WIDTH
            self.peer.means_ = emission["emission_mean"]
            self.peer.covars_ = emission["emission_covariance"]
        self.peer.startprob_, self.peer.transmat_ = emission["start"], emission["transition"]
        x = sequences.x.numpy()
        self.x, self.lengths = x[:, None] if x.ndim == 1 else x, list(sequences.lengths)

    def step(self) -> float:
        sums, log_p = self.peer._do_estep(self.x, self.lengths)
        self.peer._do_mstep(sums)
        return float(log_p)


class Dynamax:
    def __init__(self, case: str, sequences: Sequences, model: HiddenMarkov) -> None:
        import jax

        jax.config.update("jax_enable_x64", True)
        from dynamax.hidden_markov_model import DiagonalGaussianHMM

        given: dict[str, Any] = dict(as_arrays(model))
        peer = DiagonalGaussianHMM(model.states, WIDTH)
        self.parameters, properties = peer.initialize(
            initial_probs=given["start"], transition_matrix=given["transition"],
            emission_means=given["emission_mean"],
            emission_scale_diags=np.sqrt(given["emission_covariance"]),
        )  # fmt: skip
        x = jax.numpy.asarray(sequences.x.numpy().reshape(len(sequences), -1, WIDTH))
        self.state = peer.initialize_m_step_state(self.parameters, properties)

        def step(parameters: Any, state: Any) -> Any:
            sums, log_p = jax.vmap(lambda each: peer.e_step(parameters, each))(x)
            return *peer.m_step(parameters, properties, sums, state), log_p.sum()

        self.compiled = jax.jit(step)

    def step(self) -> float:
        self.parameters, self.state, log_p = self.compiled(self.parameters, self.state)
        return float(log_p)


def as_arrays(model: HiddenMarkov) -> dict[str, np.ndarray]:
    return {name: each.numpy() for name, each in model.tensors().items()}


PEERS: dict[str, Any] = {"hmmlearn": Hmmlearn, "dynamax": Dynamax}


def choose_peers(case: str) -> list[str]:
    return ["hmmlearn"] if case != "diagonal" else list(PEERS)


def compare_missing(steps: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of the smoother with no value missing and with a fifth of them."""
    random = np.random.default_rng(0)
    model = Dynamics(
        start=np.zeros(2), spread=np.eye(2), transition=np.array([[1.0, 1.0], [0.0, 0.9]]),
        drift=0.1 * np.eye(2), loading=random.normal(size=(2, 2)), offset=np.zeros(2),
        noise=np.eye(2),
    )  # fmt: skip
    x = random.normal(size=(steps, 2))
    lacking = np.where(random.random(x.shape) < 0.2, np.nan, x)
    order = order_steps([steps])
    sides: dict[str, Any] = {
        "whole": lambda: smooth_points(model, x, order) and None,
        "missing": lambda: smooth_missing(model, lacking, order) and None,
    }
    return alternate(sides, rounds)


def main() -> None:
    given = options(
        __doc__,
        rounds="iterations of each, 7 unless given",
        case="one: diagonal, full, symbols, kalman",
    )
    rounds = int(given.rounds or (2 if given.quick else 7))
    ratios, figures, targets, rows, aims = {}, {}, {}, [], []
    for case in CASES:
        if given.case not in (None, case):
            continue
        sequences, model = draw(case, *(QUICK if given.quick else SIZE))
        sides: dict[str, Any] = {"ours": Ours(case, sequences, model)}
        for name in choose_peers(case):
            if importlib.util.find_spec(name) is None:
                aims.append(
                    {
                        "name": f"{case}: an iteration, ours / {name}, which is not installed",
                        "figure": 0.0, "aim": f"≥ {AIMS[name]:g}", "holds": False,
                    }
                )  # fmt: skip
                continue
            sides[name] = PEERS[name](case, sequences, model)
        log_p = {name: [side.step() for _ in range(STEPS)] for name, side in sides.items()}
        say(f"{case}: log-likelihoods {log_p}")
        times = alternate(
            {name: lambda s=side: s.step() and None for name, side in sides.items()}, rounds
        )
        figures[case] = {"seconds": times, "log_likelihoods": log_p}
        for name in sides:
            rows.append((f"{case}, {name}", f"{sorted(times[name])[rounds // 2]:.3f}"))
            if name == "ours":
                continue
            ratio = f"{case}: an iteration, ours / {name}"
            ratios[ratio], targets[ratio] = speed_up(times, "ours", name), f"≥ {AIMS[name]:g}"
            apart = max(
                abs(a - b) / abs(b) for a, b in zip(log_p["ours"], log_p[name], strict=True)
            )
            # dynamax has priors of a weight, if a small one
            bound = "≤ 0.000000001" if name == "hmmlearn" else "≤ 0.0001"
            aims.append(judge(f"{case}: likelihoods apart, ours and {name}", apart, bound))
    if given.case in (None, "kalman"):
        times = compare_missing(QUICK_KALMAN_STEPS if given.quick else KALMAN_STEPS, rounds)
        figures["kalman"] = {"seconds": times}
        for name, each in times.items():
            rows.append((f"kalman, {name}", f"{sorted(each)[rounds // 2]:.3f}"))
        ratio = "kalman: a sequence that lacks values / a whole one"
        ratios[ratio], targets[ratio] = speed_up(times, "whole", "missing"), "≤ 2"
    return finish(given.json, table(("", "seconds"), rows), ratios, figures, targets, aims)


if __name__ == "__main__":
    main()
