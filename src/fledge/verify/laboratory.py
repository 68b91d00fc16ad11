"""What an algorithm's gradient is on average, and how noisy: summed over everything that could have
been sampled.

The algorithm runs as it is, through its own `update`, with a learner whose optimizer writes the
gradient down and does not move. What it is held to is computed by `exact.enumerable` alone, in
float64 on the CPU, whatever the device and dtype under test.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from fledge.exact.problem import Problem
from fledge.learner import Learner, Schedule
from fledge.log_prob import Decoding
from fledge.optimizers import Recorder
from fledge.policy import TokenPolicy
from fledge.score.kl_control import KLControl
from fledge.stopwatch import Stopwatch
from fledge.verify.table import TableNetwork, speak

# make(policy, learner, stopwatch) gives an algorithm: anything with update(batch). Where it takes
# the keywords `reference` and `kl`, as the package's own algorithms do, it is given the problem's.
Make = Callable[..., Any]

LARGEST_SPACE = 1000  # batches that are enumerated: about a second; more are sampled
RESAMPLES = 20_000  # draws of the sampling error by which a Monte Carlo figure is judged


@dataclass(frozen=True)
class Hardware:
    """Where the algorithm under test computes."""

    device: str = "cpu"
    dtype: torch.dtype = torch.float64

    @property
    def tolerance(self) -> float:
        """The relative error that rounding may make."""
        return 1e-10 if self.dtype == torch.float64 else 1e-4


@dataclass(frozen=True)
class Measured:
    """An estimator beside the truth. Gradients are of what is maximised, [P, V]."""

    true: Tensor
    expected: Tensor
    samples: int  # G, of a group
    variance: float  # total, of one update's estimate
    reinforce_variance: float  # of plain REINFORCE with as many samples
    effective: float
    radius: tuple[float, float] | None = (
        None  # 95% and 99.9% bounds on ‖mean − expectation‖; None: enumerated
    )
    groups: int = 1  # of one update

    @property
    def relative_error(self) -> float:
        """‖E ĝ − g‖ / ‖g‖"""
        return self.error_after(1.0)

    def error_after(self, scale: float) -> float:
        """‖E ĝ/scale − g‖ / ‖g‖, infinite where the scale is 0."""
        return (
            float((self.expected / scale - self.true).norm() / self.true.norm())
            if scale
            else math.inf
        )

    def error_from(self, formula: Tensor) -> float:
        """‖E ĝ − formula‖ / ‖formula‖.  [P, V]"""
        return float((self.expected - formula).norm() / formula.norm())

    @property
    def scale(self) -> float:
        """The c for which c·g is nearest to E ĝ."""
        return float((self.expected * self.true).sum() / self.true.square().sum())

    @property
    def cosine(self) -> float:
        size = float(self.expected.norm() * self.true.norm())
        return float((self.expected * self.true).sum()) / size if size else 0.0

    @property
    def relative_variance(self) -> float:
        """Total variance over plain REINFORCE's, once both point equally far along the true
        gradient.
        """
        return self.variance / self.scale**2 / self.reinforce_variance if self.scale else math.inf

    def noise(self, scale: float = 1.0) -> tuple[float, float] | None:
        """The 95% and 99.9% bounds on the relative error that sampling alone makes."""
        if self.radius is None:
            return None
        size = abs(scale) * float(self.true.norm())
        return self.radius[0] / size, self.radius[1] / size


class Bench:
    """An algorithm over a problem's policy, and the gradients of its updates.

    spare: steps that the policy can read past the longest sequence, where padding stands.
    """

    def __init__(
        self, problem: Problem, make: Make, hardware: Hardware = Hardware(), spare: int = 0
    ) -> None:
        self.problem, self.make = problem, make
        language = problem.language
        network = TableNetwork(language.vocabulary, language.length + spare)
        network.hold(language, problem.logits)
        rule = Decoding(problem.temperature)
        self.policy = TokenPolicy(network, rule=rule).to(hardware.device, hardware.dtype)
        self.recorder = Recorder(list(self.policy.parameters()), after=self._lead_on)
        self.learner = Learner(
            self.policy, Schedule(1.0, 1), optimizer=lambda named, rate: self.recorder, clip=0.0
        )
        self.learner.skip = self._skip
        self.columns = network.row_of(language)
        self.reference = None
        if problem.reference is not None:
            other = TableNetwork(language.vocabulary, language.length + spare)
            other.hold(language, problem.reference)
            self.reference = (
                TokenPolicy(other, rule=rule).to(hardware.device, hardware.dtype).frozen_copy()
            )
        acting = problem.logits if problem.behaviour is None else problem.behaviour
        self.step_logp = problem.step_log_prob(acting).to(hardware.device, hardware.dtype)
        self.reward = problem.reward.to(hardware.device, hardware.dtype)

    def _lead_on(self) -> None:
        """Where the problem says where the first step leads, the policy goes there."""
        if self.problem.after is not None:
            self.policy.network.hold(self.problem.language, self.problem.after)

    def _skip(self) -> dict[str, float]:
        """A step that is not made, for want of any gradient, adds nothing and counts in the
        mean.
        """
        self.recorder.step()
        return {"steps_skipped": 1.0}

    def build(self) -> Any:
        """The algorithm, new; where it takes a `reference` and a `kl`, with the problem's."""
        given = (
            {"reference": self.reference, "kl": KLControl(self.problem.beta)}
            if self.reference is not None
            else {}
        )
        taken = inspect.signature(self.make).parameters
        return self.make(
            self.policy,
            self.learner,
            Stopwatch(),
            **{name: each for name, each in given.items() if name in taken},
        )

    def ascent(self, words: Sequence[int], groups: int = 1) -> Tensor:
        """What one update of a fresh algorithm on these sequences, in equal groups, adds to the
        table: the mean of its steps.  [P, V]

        Where the problem says where the first step leads, it is the last step's. Raises ValueError
        where it makes no optimizer step.
        """
        group = torch.arange(groups).repeat_interleave(len(words) // groups)
        opening = self.problem.language.vocabulary
        return self.update(
            speak(self.problem.language, words, opening, self.reward, self.step_logp, group)
        )[0]

    def update(self, batch: Any) -> tuple[Tensor, dict[str, float]]:
        """The same on any batch, with the figures that the algorithm reports of it."""
        self.recorder.taken.clear()
        self.learner.steps = 0
        if self.problem.after is not None:
            self.policy.network.hold(self.problem.language, self.problem.logits)
        figures = self.build().update(batch)
        taken = [gradients[0] for gradients in self.recorder.taken]
        if not taken:
            raise ValueError(
                "update(batch) made no optimizer step: call learner.step(loss, batch) in it."
            )
        taken = taken if self.problem.after is None else taken[-1:]
        return -torch.stack(taken).mean(0)[:, self.columns].T.double().cpu(), figures


def expected_gradient(
    make: Make, problem: Problem, samples: int = 1, hardware: Hardware = Hardware()
) -> Tensor:
    """E ĝ by the sum over all groups of `samples` sequences.  [P, V]"""
    return _enumerate(Bench(problem, make, hardware), samples)[0]


def measure(
    make: Make,
    problem: Problem,
    samples: int = 2,
    *,
    groups: int = 1,
    updates: int = 2000,
    hardware: Hardware = Hardware(),
    seed: int = 0,
) -> Measured:
    """One update sees `groups` groups of `samples` sequences. Where there are too many batches to
    enumerate, `updates` of them are drawn.
    """
    bench = Bench(problem, make, hardware)
    radius = None
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if len(problem.reward) ** (samples * groups) <= LARGEST_SPACE:
            expected, variance = _enumerate(bench, samples, groups)
        else:
            expected, variance, radius = _sample(bench, samples, groups, updates, seed)
    plain = problem.reinforce_variance() / (samples * groups)
    return Measured(
        problem.gradient(),
        expected,
        samples,
        variance,
        plain,
        problem.effective_share(),
        radius,
        groups,
    )


def _enumerate(bench: Bench, samples: int, groups: int = 1) -> tuple[Tensor, float]:
    """Mean and total variance over all batches."""
    p = bench.problem.prob().tolist()
    first, second = torch.zeros_like(bench.problem.logits), 0.0
    for words in product(range(len(p)), repeat=samples * groups):
        mass = math.prod(p[word] for word in words)
        estimate = bench.ascent(words, groups)
        first += mass * estimate
        second += mass * float(estimate.square().sum())
    return first, max(0.0, second - float(first.square().sum()))


def _sample(
    bench: Bench, samples: int, groups: int, updates: int, seed: int
) -> tuple[Tensor, float, tuple[float, float]]:
    """Mean and total variance over batches drawn at random, and how far the mean may lie from the
    expectation.

    The bounds are quantiles of ‖x‖/√N, x normal with the estimates' covariance: the central limit
    theorem.
    """
    random = torch.Generator().manual_seed(seed)
    rows = samples * groups
    words = torch.multinomial(
        bench.problem.prob(), updates * rows, replacement=True, generator=random
    )
    # [N, P·V]
    ascents = torch.stack(
        [bench.ascent(row.tolist(), groups).flatten() for row in words.view(updates, rows)]
    )
    mean = ascents.mean(0)
    apart = ascents - mean
    # of the covariance, [P·V]
    spread = torch.linalg.eigvalsh(apart.T @ apart / (updates - 1)).clamp(min=0)
    draws = torch.randn(RESAMPLES, len(spread), dtype=torch.float64, generator=random)
    lengths = (draws.square() @ spread / updates).sqrt()
    usual, widest = (float(lengths.quantile(share)) for share in (0.95, 0.999))
    variance = float(apart.square().sum()) / (updates - 1)
    return mean.view_as(bench.problem.logits), variance, (usual, widest)
