"""The special cases of one equation, each beside the exact answer it must reach: rows U1 to U7 of
`fledge verify`.

min over q, θ of −α·H(q) + β·D(q, p_θ) − E_q[f]: maximum likelihood, EM, the policy gradient, RLHF,
reward-augmented likelihood, posterior regularisation and distillation differ in f, α and β only.
What is measured is the package's own losses and algorithms, but for U2.2, whose closed form is
measured alone; what they are measured against is enumeration.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fledge.algorithms.likelihood.distillation import Distillation
from fledge.algorithms.likelihood.expectation_maximisation import ExpectationMaximisation
from fledge.algorithms.likelihood.supervised import Supervised
from fledge.algorithms.policy.reinforce import Reinforce
from fledge.exact.constraint import project
from fledge.exact.enumerable import Language, em_step, kl, log_success, optimum
from fledge.exact.mixture import Mixture
from fledge.exact.problem import Problem, random_problem
from fledge.fit import nll, total
from fledge.learner import Learner, Schedule
from fledge.optimizers import adamw
from fledge.policy import TokenPolicy
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from fledge.verify.laboratory import Bench, Hardware, expected_gradient, measure
from fledge.verify.rows import RowCurves, TableRow
from fledge.verify.student import fit_weighted
from fledge.verify.table import TableNetwork, speak

LANGUAGE = Language(3, 3, stop=0)  # 15 sequences of 1 to 3 symbols
SMALL = Language(3, 2, stop=0)  # 7 sequences
FIT_BOUND = 1e-6  # nats between what was fitted and what it should be


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def u1_maximum_likelihood(hardware: Hardware) -> TableRow:
    """A data set in which every sequence stands up to four times: loss and gradient against H(data,
    p) by enumeration.
    """
    problem = random_problem(LANGUAGE, seed=1)
    times = torch.randint(0, 5, problem.reward.shape, generator=seeded(2))
    data = times.double() / times.sum()
    words = [word for word, n in enumerate(times.tolist()) for _ in range(n)]
    tokens = sum(len(LANGUAGE.sequences[word]) for word in words)
    table = problem.logits.clone().requires_grad_(True)
    # per token, as the loss is
    exact = -(data * LANGUAGE.log_prob(table)).sum() * len(words) / tokens
    slope = torch.autograd.grad(exact, table)[0]
    figures: list[float] = []

    def make(policy: TokenPolicy, learner: Learner, stopwatch: object) -> object:
        algorithm = Supervised(policy, learner, stopwatch)  # pyright: ignore[reportArgumentType]

        class Noting:
            def update(self, batch: Trajectories) -> None:
                figures.append(algorithm.update(batch)["loss"])

        return Noting()

    ascent = Bench(problem, make, hardware).ascent(words)
    loss_error = abs(figures[0] - exact.item()) / exact.item()
    error = max(loss_error, float((ascent + slope).norm() / slope.norm()))
    said = (
        f"loss {figures[0]:.6f}, cross entropy {exact.item():.6f} nats per token; largest relative "
        f"error of loss and gradient {error:.1e}"
    )
    return TableRow(
        "U1", "maximum likelihood", "equals the cross entropy to 1e-6", error, 1e-6, said
    )


def largest_fall(values: list[float]) -> float:
    """0 where the values never fall."""
    return max(0.0, max(a - b for a, b in pairwise(values)))


def u2_posterior(hardware: Hardware) -> TableRow:
    """EM towards sequences judged right, every M-step taken to its end: it must leave the policy at
    the posterior.

    Each sequence is sampled once and earns S·π(y)·p(o=1|y): as if it had come exactly as often as
    it is likely.
    """
    problem = random_problem(LANGUAGE, seed=3)
    success, sequences = problem.reward.sigmoid(), range(len(LANGUAGE.sequences))
    policy, read = _speaker(problem.logits, hardware)
    likelihoods, apart = [log_success(LANGUAGE.log_prob(read()), success).item()], 0.0
    for _ in range(5):
        before = read()
        learner = Learner(
            policy,
            Schedule(0.1, 200, shape="cosine", final=0.0),
            optimizer=adamw(weight_decay=0.0),
            clip=0.0,
        )
        algorithm = ExpectationMaximisation(
            policy,
            learner,
            Stopwatch(),
            settings=ExpectationMaximisation.Settings(
                keep="posterior", updates_per_step=200, epochs=200
            ),
        )
        earned = len(sequences) * LANGUAGE.log_prob(before).exp() * success
        rewards, steps = (
            x.to(hardware.device, hardware.dtype) for x in (earned, LANGUAGE.step_log_prob(before))
        )
        algorithm.update(speak(LANGUAGE, sequences, LANGUAGE.vocabulary, rewards, steps))
        posterior = LANGUAGE.log_prob(em_step(LANGUAGE, before, success))
        apart = max(apart, kl(posterior, LANGUAGE.log_prob(read())).item())
        likelihoods.append(log_success(LANGUAGE.log_prob(read()), success).item())
    curve, said = _em_curve("EM for answers judged right, log p(o=1)", likelihoods)
    return TableRow(
        "U2.1", curve.title, "each step ends at the posterior, and log p never falls",
        max(apart, largest_fall(likelihoods)), FIT_BOUND,
        f"{said}; KL from the posterior at most {apart:.1e} nats", curves=(curve,),
    )  # fmt: skip


def _speaker(logits: Tensor, hardware: Hardware) -> tuple[TokenPolicy, Callable[[], Tensor]]:
    """A policy that holds this table, and what reads it back in float64 on the CPU.  [P, V]"""
    network = TableNetwork(LANGUAGE.vocabulary, LANGUAGE.length).hold(LANGUAGE, logits)
    policy = TokenPolicy(network).to(hardware.device, hardware.dtype)
    return policy, lambda: network.logits(LANGUAGE).detach().double().cpu()


def u2_mixture(hardware: Hardware) -> TableRow:
    """Three normal distributions from a bad start, on 120 points drawn from three: the closed form
    alone, which no algorithm uses.
    """
    random = seeded(4)
    centres = torch.tensor([-2.0, 0.5, 3.0], dtype=torch.float64).repeat_interleave(40)
    x = centres + 0.7 * torch.randn(120, dtype=torch.float64, generator=random)
    third = torch.full((3,), 1 / 3, dtype=torch.float64)
    mixture = Mixture(
        third, torch.tensor([0.0, 0.1, 0.2], dtype=torch.float64), torch.ones_like(third)
    )
    likelihoods = []
    for _ in range(41):
        likelihoods.append(mixture.log_likelihood(x) / len(x))
        mixture = mixture.em_step(x)
    curve, said = _em_curve("EM of a mixture of three normals, log p(x) per point", likelihoods)
    claim = "the log-likelihood never falls (closed form)"
    return TableRow(
        "U2.2", curve.title, claim, largest_fall(likelihoods), 1e-12, said, curves=(curve,)
    )


def _em_curve(subject: str, likelihoods: list[float]) -> tuple[RowCurves, str]:
    """The log-likelihood after every step, and the same in words."""
    steps = [float(step) for step in range(len(likelihoods))]
    curve = RowCurves(
        subject, "nats", "EM step", {"log-likelihood": (steps, likelihoods)}, "EM: it never falls"
    )
    said = (
        f"from {likelihoods[0]:.4f} to {likelihoods[-1]:.4f} in {len(likelihoods) - 1} steps, "
        f"largest fall {largest_fall(likelihoods):.1e}"
    )
    return curve, said


def u3_policy_gradient(hardware: Hardware) -> TableRow:
    measured = measure(
        partial(Reinforce, settings=Reinforce.Settings(baseline="none")),
        random_problem(LANGUAGE, seed=5),
        1,
        hardware=hardware,
    )
    said = (
        f"relative error {measured.relative_error:.1e} over all {len(LANGUAGE.sequences)} samples, "
        f"cosine {measured.cosine:.6f}"
    )
    return TableRow(
        "U3", "policy gradient", "REINFORCE's expected gradient is the exact one",
        measured.relative_error, hardware.tolerance, said
    )  # fmt: skip


def u4_regularised_optimum(hardware: Hardware) -> TableRow:
    """Natural-gradient ascent along REINFORCE's expected gradient with the KL in its reward, each
    step by enumeration.

    θ ← θ + F⁻¹∇J/(2β): half the step that Cen et al. 2022 (eq. 18) show to be soft policy
    iteration, so that the way is seen.
    """
    beta = 0.5
    start = random_problem(SMALL, seed=6, beta=beta)
    assert start.reference is not None
    best = optimum(start.reward, SMALL.log_prob(start.reference), beta)
    table, distances = start.logits, []
    for _ in range(31):
        distances.append(kl(SMALL.log_prob(table), best).item())
        here = Problem(SMALL, table, start.reward, start.reference, beta)
        gradient = expected_gradient(
            partial(Reinforce, settings=Reinforce.Settings(baseline="none")), here, 1, hardware
        )
        score: Any = torch.autograd.functional.jacobian(SMALL.log_prob, table)  # [S, P, V]
        score = score.flatten(1)
        fisher = score.T @ (SMALL.log_prob(table).exp()[:, None] * score)  # E[∇log π ∇log πᵀ]
        step = torch.linalg.pinv(fisher, rtol=1e-9, hermitian=True) @ gradient.flatten()
        table = table + step.view_as(table) / (2 * beta)
    return _arrival(
        "U4",
        "KL-regularised RL (RLHF)",
        "reaches π* ∝ π_ref·exp(r/β)",
        distances,
        FIT_BOUND,
        "ascent step",
    )


def _arrival(
    id: str, subject: str, claim: str, distances: list[float], bound: float, unit: str
) -> TableRow:
    """KL to the closed form after every step, on its way to zero."""
    steps = [float(step) for step in range(len(distances))]
    heights = torch.tensor(distances, dtype=torch.float64).clamp(min=1e-16).log10().tolist()
    curve = RowCurves(
        subject, "log₁₀ nats", unit, {"KL": (steps, heights)}, "KL divergence from the closed form"
    )
    figure = max(0.0, distances[-1])  # rounding may leave a KL just below zero
    said = f"KL from {distances[0]:.2f} to {figure:.1e} nats in {len(distances) - 1} steps"
    return TableRow(id, subject, claim, figure, bound, said, curves=(curve,))


def u5_reward_augmented(hardware: Hardware) -> TableRow:
    """q ∝ exp(r/τ) (Norouzi et al. 2016, eq. 5), fitted by weighted nll."""
    reward = random_problem(LANGUAGE, seed=9).reward
    _, distances = fit_weighted(LANGUAGE, (reward / 0.8).softmax(0), hardware)
    return _arrival(
        "U5.1",
        "reward-augmented likelihood",
        "p = q ∝ exp(r/τ)",
        distances,
        FIT_BOUND,
        "optimizer step",
    )


def u5_label_smoothing(hardware: Hardware) -> TableRow:
    """r = 1 for the label and 0 elsewhere: exp(r/τ) over V labels is smoothing by ε = V/(exp(1/τ) +
    V − 1) (Szegedy et al. 2016, §7).
    """
    labels, tau = 5, 0.4
    q = (
        (F.one_hot(torch.tensor(2), labels).double() / tau)
        .softmax(0)
        .to(hardware.device, hardware.dtype)
    )
    epsilon = labels / (math.exp(1 / tau) + labels - 1)
    logits = torch.randn(1, labels, dtype=torch.float64, generator=seeded(10)).to(
        hardware.device, hardware.dtype
    )
    ours, theirs = (logits.clone().requires_grad_(True) for _ in range(2))
    weighted = total(nll(ours.log_softmax(-1), q), torch.ones_like(ours, dtype=torch.bool), 1.0)
    label = torch.tensor([2], device=hardware.device)
    smoothed = F.cross_entropy(theirs, label, label_smoothing=epsilon)
    slopes = torch.autograd.grad(weighted, ours)[0], torch.autograd.grad(smoothed, theirs)[0]
    loss_error = abs(weighted.item() - smoothed.item()) / smoothed.item()
    error = max(loss_error, float((slopes[0] - slopes[1]).norm() / slopes[1].norm()))
    said = (
        f"τ = {tau} is ε = {epsilon:.4f}: loss and gradient of torch's smoothed cross entropy to "
        f"{error:.1e}"
    )
    return TableRow("U5.2", "label smoothing", "nll under q ∝ exp(1{y=y*}/τ)", error, 1e-6, said)


def u5_reweighting(hardware: Hardware) -> TableRow:
    """Data weighted by w: the fitted model is data·w, normalised; what the data never says is
    unlearnt.
    """
    random = seeded(11)
    data = torch.randint(1, 6, (len(LANGUAGE.sequences),), generator=random).double()
    weight = torch.rand(len(data), dtype=torch.float64, generator=random)
    _, distances = fit_weighted(LANGUAGE, data * weight / (data * weight).sum(), hardware)
    return _arrival(
        "U5.3",
        "data re-weighting",
        "p = data·w, normalised",
        distances,
        FIT_BOUND,
        "optimizer step",
    )


def u6_posterior_regularisation(hardware: Hardware) -> TableRow:
    """At most 1.2 symbols on average, and the symbol 2 first in at most 3%: the projection, then a
    model fitted to it.
    """
    logp = LANGUAGE.log_prob(random_problem(LANGUAGE, seed=12).logits)
    length = [float(len(word)) for word in LANGUAGE.sequences]
    opens = [float(word[0] == 2) for word in LANGUAGE.sequences]
    feature = torch.tensor([length, opens], dtype=torch.float64)
    bound = torch.tensor([1.2, 0.03], dtype=torch.float64)
    projection = project(logp, feature, bound)
    fitted, distance = fit_weighted(LANGUAGE, projection.logq.exp(), hardware)
    before, after = feature @ logp.exp(), feature @ fitted.exp()
    slack = projection.multiplier * (projection.expectation(feature) - bound)
    figure = max(float((after - bound).max()), float(slack.abs().max()), distance[-1], 0.0)
    trace = [max(1e-16, abs(violation)) for violation in projection.trace]
    steps = [float(step) for step in range(len(trace))]
    heights = torch.tensor(trace, dtype=torch.float64).log10().tolist()
    curve = RowCurves(
        "posterior regularisation", "log₁₀", "dual step", {"violation": (steps, heights)},
        "largest |E_q[φ] − b| of the ascent"
    )  # fmt: skip
    said = (
        f"E[length] {before[0]:.3f} → {after[0]:.3f} (≤ {bound[0]:.1f}), p(2 first) "
        f"{before[1]:.3f} → {after[1]:.3f} (≤ {bound[1]:.2f}); λ = {projection.multiplier[0]:.2f}, "
        f"{projection.multiplier[1]:.2f}; violation, slackness and KL of the fitted model at most "
        f"{figure:.1e}"
    )
    return TableRow(
        "U6",
        "posterior regularisation",
        "q ∝ p·exp(−λφ) meets E[φ] ≤ b",
        figure,
        1e-5,
        said,
        curves=(curve,),
    )


def u7_distillation(hardware: Hardware) -> TableRow:
    """A student of the teacher's own capacity, taught on every sequence."""
    lesson = random_problem(LANGUAGE, seed=13)
    (teacher, _), (student, read) = (
        _speaker(table, hardware) for table in (lesson.logits, lesson.logits.flip(1))
    )
    learner = Learner(
        student,
        Schedule(0.1, 400, shape="cosine", final=0.0),
        optimizer=adamw(weight_decay=0.0),
        clip=0.0,
    )
    algorithm = Distillation(student, learner, Stopwatch(), teacher=teacher.frozen_copy())
    nothing = torch.zeros(len(LANGUAGE.sequences), device=hardware.device, dtype=hardware.dtype)
    every = speak(LANGUAGE, range(len(nothing)), LANGUAGE.vocabulary, nothing)
    distances = []
    for step in range(401):
        distances.append(kl(LANGUAGE.log_prob(lesson.logits), LANGUAGE.log_prob(read())).item())
        if step < 400:
            algorithm.update(every)
    return _arrival(
        "U7", "distillation", "KL(teacher‖student) < 1e-4", distances, 1e-4, "optimizer step"
    )


ONE_EQUATION: tuple[Callable[[Hardware], TableRow], ...] = (
    u1_maximum_likelihood,
    u2_posterior,
    u2_mixture,
    u3_policy_gradient,
    u4_regularised_optimum,
    u5_reward_augmented,
    u5_label_smoothing,
    u5_reweighting,
    u6_posterior_regularisation,
    u7_distillation,
)
