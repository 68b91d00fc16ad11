"""Baum–Welch: EM for hidden Markov models. What state each step was in, under the present
parameters, then the parameters that are likeliest under that. The likelihood rises at every step.

sample: all sequences.  score: log p(x, z).  weigh: p(z_t | x) and p(z_t, z_{t+1} | x), by forward
and backward messages (models/latent/messages.py).  fit: closed form, of expected counts. Baum,
Petrie, Soules & Weiss 1970; Rabiner 1989, eqs. 40 and 52–54.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from fledge.algorithms.latent.hidden_starts import begin_normals, begin_symbols
from fledge.algorithms.latent.probabilities import share_out
from fledge.algorithms.latent.sequence_settings import SequenceSettings
from fledge.algorithms.latent.settings import MixtureSettings
from fledge.algorithms.latent.state_fits import NormalFit, StateFit, SymbolFit
from fledge.errors import UserError
from fledge.models.latent.emissions import SymbolEmission
from fledge.models.latent.gaussian_mixture import Kind
from fledge.models.latent.hidden_markov import HiddenMarkov
from fledge.models.latent.messages import Messages, Posterior
from fledge.models.latent.step_order import choose_order
from fledge.rows.sequences import Sequences
from fledge.sample.points import Block
from fledge.seeds import generator_for
from fledge.stopwatch import Stopwatch

TRIAL_STEPS = 8  # of EM by which one start is compared with another


class BaumWelch:
    """`model`: as the last M-step left it. `elbo` of a step is taken before its M-step, where q is
    exact: it is the log-likelihood of the model before, in nats a step of the sequences.
    """

    class Settings(SequenceSettings, MixtureSettings):
        """Of a hidden Markov model. `k` is the number of its states."""

        covariance: Kind = Field(
            default="full", description="of a state's normals: tied is one for all of them"
        )
        unit: Literal["letters", "words"] | None = Field(
            default=None,
            description="of a text: what its paragraphs are sequences of; none: data is a table",
        )
        vocabulary: int = Field(
            default=1_000,
            ge=2,
            description="unit=words: how many of the most frequent are told apart",
        )
        emission: Literal["normal", "symbols"] = Field(
            default="normal",
            description="of a table: its columns are numbers, or its one column is of symbols",
        )
        parts: int = Field(
            default=1, ge=1, le=1_000, description="normals of a state: more are a mixture"
        )
        floor: float = Field(
            default=1e-6,
            ge=1e-9,
            lt=1,
            description="the least variance along any direction, as a share of the data's there",
        )

        def check_points(self, points: Any) -> None:
            if self.every_k[-1] * self.parts > points.steps:
                raise UserError(
                    f"k={self.every_k[-1]} states of {self.parts} and {points.steps} steps to "
                    f"learn from in {points.source}: give fewer, or more data."
                )

    unfinished = None

    def __init__(
        self, settings: Settings | None = None, *, seed: int = 0, stopwatch: Stopwatch | None = None
    ) -> None:
        self.settings = settings or BaumWelch.Settings()
        self.k = self.settings.smallest_k
        self.seed, self.stopwatch = seed, stopwatch or Stopwatch()
        self.model: HiddenMarkov | None = None
        self.elbo, self.done = -torch.inf, False
        self._read: Sequences | None = None  # whose messages and fit stand ready
        self._messages: Messages | None = None
        self._fit: StateFit | None = None

    def begin(self, points: Sequences, model: HiddenMarkov | None = None) -> None:
        """A first model: the one given, else the best of several starts."""
        self.settings.check_points(points)
        self._prepare(points)
        if model is not None:
            self.model = model
            model.check(points.x)
            return
        generator = generator_for(self.seed, "weights", "start")
        trials: list[tuple[float, int, HiddenMarkov]] = []
        for start in range(self.settings.starts):
            trial, rose = self._start(points, generator), -torch.inf
            for _ in range(TRIAL_STEPS if self.settings.starts > 1 else 0):
                posterior = self.infer(trial)
                rose, trial = float(posterior.log_p.sum()), self._maximise(trial, posterior)
            trials.append((rose, -start, trial))
        self.model = max(trials, key=lambda trial: trial[:2])[2]

    def _prepare(self, points: Sequences) -> None:
        """Buffers for these sequences, and their observations in the order time by time."""
        if self._read is points:
            return
        steps = choose_order(points.lengths, self.k)
        self._messages = Messages(steps, self.k)
        ordered = points.x[torch.from_numpy(steps.order)]
        if points.x.ndim == 1:
            self._fit = SymbolFit(ordered, self.k)
        else:
            s = self.settings
            self._fit = NormalFit(ordered, self.k, s.parts, s.covariance, s.floor)
        self._read = points

    def _start(self, points: Sequences, generator: torch.Generator) -> HiddenMarkov:
        if isinstance(self._fit, SymbolFit):
            return begin_symbols(points, self.k, generator)
        assert isinstance(self._fit, NormalFit)
        return begin_normals(points, self.k, self._fit, generator)

    def infer(self, model: HiddenMarkov) -> Posterior:
        """The E-step, on the sequences that `begin` was given."""
        assert self._messages is not None
        assert self._fit is not None
        observed = self._fit.observe(model.emission)
        return self._messages.infer(model.start.numpy(), model.transition.numpy(), observed)

    def _maximise(self, model: HiddenMarkov, posterior: Posterior) -> HiddenMarkov:
        """Expected counts, made probabilities."""
        assert self._messages is not None
        assert self._fit is not None
        first = torch.from_numpy(posterior.state[self._messages.steps.first].sum(0))
        emission = self._fit.fit(model.emission, posterior.state)
        return HiddenMarkov(
            share_out(first[None], model.start[None])[0],
            share_out(torch.from_numpy(posterior.pairs), model.transition),
            emission,
        )

    def log_likelihood(self, points: Sequences) -> float:
        """Σ_s log p(x_s) of the model as it is, in nats."""
        assert self.model is not None
        return float(self.model.log_prob(points.x, points.lengths).sum())

    def update(
        self, batch: Block, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One E-step and one M-step."""
        with self.stopwatch.phase("fit"):
            points: Any = batch.points
            if self.model is None:
                self.begin(points)
            self._prepare(points)
            assert self.model is not None
            posterior = self.infer(self.model)
            self._check_explained(posterior, points)
            made = self._maximise(self.model, posterior)
            # As a file would give it back: numbers that lie in another order in memory are summed
            # in another, and a run that was killed would end with other bits.
            self.model = HiddenMarkov.restore(made.card(), made.tensors())
            elbo = float(posterior.log_p.sum()) / points.total
            self.done, self.elbo = elbo - self.elbo < self.settings.tolerance, elbo
            occupied = posterior.state.sum(0)
            return {"elbo": elbo, "smallest_weight": float(occupied.min()) / points.total}

    def _check_explained(self, posterior: Posterior, points: Sequences) -> None:
        """Raises UserError where a sequence has no probability: nothing could be learned of it."""
        none = np.flatnonzero(~np.isfinite(posterior.log_p))
        if len(none):
            raise UserError(
                f"{points.source}, sequence {none[0] + 1}: no path of states could have made it "
                "under the model to begin from (a probability is 0 where it must not be). Give "
                "start, transition and emission probabilities above 0 there."
            )

    def state_dict(self) -> dict[str, Any]:
        model = self.model
        return {
            "model": None if model is None else [model.card(), model.tensors()],
            "counts": [self.elbo, self.done],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model = state["model"] and HiddenMarkov.restore(*state["model"])
        self.elbo, self.done = state["counts"]


def list_classes(model: HiddenMarkov, frequency: Tensor, most: int = 15) -> list[list[str]]:
    """Of every state the symbols that are likelier in it than in another, the most frequent
    first; none where it shows numbers.

    frequency: of every symbol in the data [V]. p(state | symbol) ∝ p(state) p(symbol | state), with
    the states as often as the chain is in them in the long run.
    """
    emission = model.emission
    if not isinstance(emission, SymbolEmission):
        return []
    often = torch.linalg.matrix_power(model.transition, 2**20).mean(0)
    likeliest = (often[:, None] * emission.probability).argmax(0)
    by_frequency = frequency.argsort(descending=True, stable=True).tolist()
    seen = [v for v in by_frequency if frequency[v] > 0]
    return [
        [emission.symbols[v] for v in seen if int(likeliest[v]) == state][:most]
        for state in range(model.states)
    ]
