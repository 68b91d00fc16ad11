"""A peer is heard: its expected gradient by enumeration, the equation that it follows on drawn
batches, and what micro-batches, padding and masked tokens change.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fledge.exact.problem import Problem
from fledge.next_command import write_command
from fledge.verify.referee.candidates import list_equations
from fledge.verify.referee.equations import Equation, Scores, distance
from fledge.verify.referee.faults import name_faults
from fledge.verify.referee.question import Answer, Hearing, Peer, Step, data_law
from fledge.verify.referee.second_way import Resumes, SecondWay, check_again
from fledge.verify.referee.steps import draw_steps, enumerate_steps
from fledge.verify.referee.two_processes import compare_ranks

SAME = 2e-6  # relative: two gradients are one, computed in float32 or better


@dataclass(frozen=True)
class Ruling:
    """One row. Differences are relative to the gradient of one micro-batch without padding."""

    peer: str
    version: str
    setting: str
    claim: str
    equation: str  # the one that fits, or ""
    claimed: str
    residual: float  # of the equation that fits best, the worst over the drawn batches
    cosine: float  # of the expected gradient, with the exact one
    scale: float  # the c for which c·g is nearest
    bias: float  # ‖E ĝ − c·g‖/‖c·g‖
    variance: float | None  # beside plain REINFORCE's with as many samples, once scaled
    pieces: float  # what micro-batches change at most
    padding: float  # after the end of rows
    left: float | None  # before their beginning; None where a peer never pads there
    garbage: float
    leak: float  # gradient at places after a sequence's end
    lost: float  # the probability of a batch whose gradient is no number
    batches: int  # that were enumerated
    second: SecondWay
    resumed: str | None  # a killed run beside one that went through; None where it is not tried
    ranks: float | None  # what two processes change; None where that is not tried
    faults: tuple[str, ...]  # where it differs from its claim
    command: str

    def as_json(self) -> dict[str, Any]:
        row = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }
        return row | {"second": self.second.as_json()}


def rule(hearing: Hearing) -> Ruling:
    peer = hearing.build(hearing.problem)
    problem = hearing.problem
    steps = list(draw_steps(hearing))
    plain = [peer.answer(step) for step in steps]
    said = find_equation(hearing, steps, plain)
    pieces, padding, left, garbage, leak = _disturb(peer, steps, plain)
    law = list(enumerate_steps(hearing))
    answers = [peer.answer(step).flat for step, _ in law]
    masses = [mass for _, mass in law]
    lost = sum(m for a, m in zip(answers, masses, strict=True) if not bool(a.isfinite().all()))
    true = _truth(hearing, law).flatten()
    finite = [a * m for a, m in zip(answers, masses, strict=True) if bool(a.isfinite().all())]
    expected = sum(finite, torch.zeros_like(true))
    scale = float(expected @ true / true.square().sum())
    size = float(expected.norm() * true.norm())
    ruling = Ruling(
        peer.name,
        peer.version,
        hearing.told,
        hearing.claim,
        said[0],
        hearing.equation,
        said[1],
        float(expected @ true) / size if size > 1e-12 else 0.0,
        scale,
        float((expected - scale * true).norm() / abs(scale) / true.norm())
        if abs(scale) > 1e-9
        else math.inf,
        _relative_variance(problem, hearing, answers, masses, expected, scale),
        pieces,
        padding,
        left,
        garbage,
        leak,
        lost,
        len(law),
        check_again(
            hearing,
            peer,
            steps,
            plain,
            scale,
            true,
            {step.words: answer for (step, _), answer in zip(law, answers, strict=True)},
        ),
        peer.resume() if hearing.resumes and isinstance(peer, Resumes) else None,
        compare_ranks(hearing, peer) if hearing.spreads else None,
        (),
        write_command("verify", peer=hearing.peer, **hearing.setting),
    )
    return replace(ruling, faults=tuple(name_faults(ruling, hearing)))


def _truth(hearing: Hearing, law: list[tuple[Step, float]]) -> Tensor:
    problem = hearing.problem
    if hearing.family == "policy":
        return problem.gradient()
    scores = Scores.of(problem)
    if hearing.family == "likelihood":
        return (data_law(problem)[:, None] * scores.score.sum(1)).sum(0)
    papers = dict(list_equations(hearing.family, problem))
    # Where nothing is claimed it is DPO's, the first of them.
    paper = papers[hearing.equation or next(iter(papers))]
    return torch.stack([mass * paper(scores, step) for step, mass in law]).sum(0)


def _relative_variance(
    problem: Problem,
    hearing: Hearing,
    answers: list[Tensor],
    masses: list[float],
    expected: Tensor,
    scale: float,
) -> float | None:
    """Total variance over plain REINFORCE's, both as far along the true gradient."""
    if hearing.family != "policy" or abs(scale) < 1e-9:
        return None
    second = sum(
        mass * float(answer.square().sum())
        for answer, mass in zip(answers, masses, strict=True)
        if bool(answer.isfinite().all())
    )
    variance = second - float(expected.square().sum())
    return variance / scale**2 / (problem.reinforce_variance() / hearing.group)


def find_equation(hearing: Hearing, steps: list[Step], answers: list[Answer]) -> tuple[str, float]:
    """The first of the candidates that every finite answer follows, and how far the best one lies
    from them. The name is "" where none does.
    """
    held = [
        (step, answer.flat)
        for step, answer in zip(steps, answers, strict=True)
        if bool(answer.flat.isfinite().all())
    ]
    if not held:
        return "", math.inf
    if not any(float(answer.norm()) for _, answer in held):
        return "nothing: the gradient is 0", 0.0
    best = math.inf
    for variant, scores in list_variants(hearing.problem):
        for name, equation in _claimed_first(hearing):
            worst = 0.0
            for step, answer in held:
                worst = max(worst, distance(answer, equation(scores, step)))
                if worst > best:
                    break  # another equation is nearer
            best = min(best, worst)
            if worst < SAME:
                return name + variant, worst
    return find_multiple(hearing, held) or ("", best)


def _claimed_first(hearing: Hearing) -> list[tuple[str, Equation]]:
    """Two equations may agree on all that is asked: then it is the claimed one that is named."""
    every = list(list_equations(hearing.family, hearing.problem))
    return sorted(every, key=lambda each: each[0] != hearing.equation)


def find_multiple(
    hearing: Hearing, held: Sequence[tuple[Step, Tensor]]
) -> tuple[str, float] | None:
    """The equation of which every answer is the same multiple, and how far that lies."""
    answer = torch.cat([each for _, each in held])
    scores = Scores.of(hearing.problem)
    for name, equation in list_equations(hearing.family, hearing.problem):
        formula = torch.cat([equation(scores, step) for step, _ in held])
        factor = float(answer @ formula / formula.square().sum())
        apart = distance(answer, factor * formula)
        if apart < SAME:
            return f"{factor:.4g} × {name}", apart
    return None


def list_variants(problem: Problem) -> Iterator[tuple[str, Scores]]:
    """What may go wrong with steps, whatever the equation: "" is the right one."""
    scores = Scores.of(problem)
    yield "", scores
    if problem.temperature != 1:
        yield "; the temperature is ignored", Scores.of(problem, tempered=False)
    words = problem.language.sequences
    ends = torch.tensor([len(word) - 1 for word in words])
    last = torch.arange(scores.score.shape[1]) == ends[:, None]  # [S, T]
    first = torch.arange(scores.score.shape[1]).expand_as(last) == 0
    stops = torch.tensor([word[-1] == problem.language.stop for word in words])[:, None]
    dropped = {
        "the stop token is not trained": last & stops,
        "the mask is off by one: the last step is not trained": last,
        "the mask is off by one: the first step is not trained": first,
        "truncated sequences are left out": ~stops.expand_as(last),
    }
    for said, out in dropped.items():
        kept = replace(scores, score=scores.score.masked_fill(out[..., None], 0))
        yield f"; {said}", kept
        # The lengths too may be those of what is left.
        yield f"; {said}", replace(kept, length=_count(scores, words, out))


def _count(scores: Scores, words: Sequence[tuple[int, ...]], out: Tensor) -> Tensor:
    """How many steps each sequence has left.  [S, T] -> [S]"""
    gone = [int(row[: len(word)].sum()) for row, word in zip(out, words, strict=True)]
    return scores.length - torch.tensor(gone)


def _disturb(
    peer: Peer, steps: list[Step], plain: list[Answer]
) -> tuple[float, float, float | None, float, float]:
    """What micro-batches, padding on the right and left, and masked tokens change, and the largest
    leak.
    """
    pieces, padding, garbage = 0.0, 0.0, 0.0
    left = 0.0 if peer.pads_left else None
    leak = max(answer.leak for answer in plain)
    for step, answer in zip(steps, plain, strict=True):
        if not bool(answer.flat.isfinite().all()):
            continue
        cut = peer.answer(replace(step, pieces=2))
        wide = peer.answer(replace(step, padding=3))
        padded = peer.answer(replace(step, padding=1))
        filled = peer.answer(replace(step, padding=1, garbage=True))
        pieces = max(pieces, distance(cut.flat, answer.flat))
        padding = max(padding, distance(wide.flat, answer.flat))
        garbage = max(garbage, distance(filled.flat, padded.flat))
        if left is not None:
            left = max(left, distance(peer.answer(replace(step, left=3)).flat, answer.flat))
        leak = max(leak, wide.leak, filled.leak)
    return pieces, padding, left, garbage, leak
