"""The equations that a step on preferences, on scores or on a teacher may follow: losses as their
papers write them, on exact log-probabilities, without a line of a trainer's.

Letters in the names: u = log π/π_ref of the chosen, v of the rejected, Δ = u − v, Δ₀ the same
without a reference; ε is the label smoothing, γ SimPO's margin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from fledge.exact.problem import Problem
from fledge.verify.referee.equations import SHARES, SMOOTHING, Equation, Scores
from fledge.verify.referee.question import Step

MARGIN, TAU = 0.5, 0.05  # γ of SimPO, τ of DiscoPOP, as the rows give them
CENTRE = 0.01  # of a reward model's centring
SUMMED, AVERAGED = "log-ratios summed over tokens", "log-ratios averaged over tokens"


@dataclass(frozen=True)
class Pairs:
    """n pairs: log-probabilities and their ratios to the reference, of chosen and rejected."""

    chosen: Tensor  # [n], log π(y)
    rejected: Tensor
    u: Tensor  # [n], log π/π_ref of the chosen
    v: Tensor
    nll: Tensor  # [], of the chosen, the mean over all their tokens
    beta: float

    @property
    def delta(self) -> Tensor:
        return self.u - self.v

    @property
    def plain(self) -> Tensor:
        return self.chosen - self.rejected

    @property
    def odds(self) -> Tensor:
        """log odds ratio, odds p/(1 − p) (Hong et al. 2024, eq. 4).  [n]"""
        return self.plain - (torch.log1p(-self.chosen.exp()) - torch.log1p(-self.rejected.exp()))


def _sorted_gap(p: Pairs) -> Tensor:
    return p.u.sort().values - p.v.sort().values


def _sorted_ratio(p: Pairs) -> Tensor:
    """Both sorted: log π ratios beside those of the reference (Melnyk et al. 2024, paired)."""
    reference = (p.chosen - p.u) - (p.rejected - p.v)
    return p.plain.sort().values - reference.sort().values


def _exo(p: Pairs) -> Tensor:
    """KL of the pair's softmax under the policy from (1 − ε, ε) (Ji et al. 2024, eq. 16)."""
    law = torch.stack([p.beta * p.delta, torch.zeros_like(p.delta)]).log_softmax(0)
    given = torch.tensor([1 - SMOOTHING, SMOOTHING], dtype=law.dtype).log()[:, None]
    return (law.exp() * (law - given)).sum(0)


def _robust(p: Pairs) -> Tensor:
    """Chowdhury et al. 2024, eq. 12."""
    kept, turned = -logsigmoid(p.beta * p.delta), -logsigmoid(-p.beta * p.delta)
    return ((1 - SMOOTHING) * kept - SMOOTHING * turned) / (1 - 2 * SMOOTHING)


def _discopop(p: Pairs) -> Tensor:
    """Lu et al. 2024, eq. 5."""
    x = p.beta * p.delta
    gate = torch.sigmoid(x / TAU)
    return -logsigmoid(x) * (1 - gate) + (-x).exp() * gate


SIGMOID, HINGE, SQUARE = "−log σ(βΔ)", "max(0, 1 − βΔ)", "(Δ − 1/2β)²"
CONSERVATIVE = "−(1−ε)·log σ(βΔ) − ε·log σ(−βΔ)"
LOSSES: dict[str, Callable[[Pairs], Tensor]] = {
    SIGMOID: lambda p: -logsigmoid(p.beta * p.delta),
    HINGE: lambda p: (1 - p.beta * p.delta).clamp(min=0),
    SQUARE: lambda p: (p.delta - 1 / (2 * p.beta)).square(),
    CONSERVATIVE: lambda p: (
        -(1 - SMOOTHING) * logsigmoid(p.beta * p.delta) - SMOOTHING * logsigmoid(-p.beta * p.delta)
    ),
    "((1−ε)·(−log σ(βΔ)) + ε·log σ(−βΔ))/(1−2ε)": _robust,
    "KL(softmax of β(u, v) ‖ (1−ε, ε))": _exo,
    "−log σ(βu) − ½·log σ(−βu) − ½·log σ(−βv)": lambda p: (
        -(
            logsigmoid(p.beta * p.u)
            + 0.5 * logsigmoid(-p.beta * p.u)
            + 0.5 * logsigmoid(-p.beta * p.v)
        )
    ),
    "−log σ(βu) − log σ(−βv)": lambda p: -logsigmoid(p.beta * p.u) - logsigmoid(-p.beta * p.v),
    "(u − 1/2β)² + (v + 1/2β)²": lambda p: (
        (p.u - 1 / (2 * p.beta)).square() + (p.v + 1 / (2 * p.beta)).square()
    ),
    "−log σ(βΔ) of sorted u and sorted v": lambda p: -logsigmoid(p.beta * _sorted_gap(p)),
    "−log σ(βΔ) of sorted ratios": lambda p: -logsigmoid(p.beta * _sorted_ratio(p)),
    "1 − σ(βu) + σ(βv)": lambda p: 1 - (p.beta * p.u).sigmoid() + (p.beta * p.v).sigmoid(),
    "σ(βu) + 1 − σ(βΔ)": lambda p: (p.beta * p.u).sigmoid() + 1 - (p.beta * p.delta).sigmoid(),
    "(1 − σ(βΔ/τ))·(−log σ(βΔ)) + σ(βΔ/τ)·e^−βΔ": _discopop,
    "NLL of the chosen": lambda p: p.nll,
    "−log σ(βΔ₀)": lambda p: -logsigmoid(p.beta * p.plain),
    "max(0, 1 − βΔ₀)": lambda p: (1 - p.beta * p.plain).clamp(min=0),
    "(Δ₀ − 1/2β)²": lambda p: (p.plain - 1 / (2 * p.beta)).square(),
    "−log σ(βΔ₀ − γ)": lambda p: -logsigmoid(p.beta * p.plain - MARGIN),
    "−β·log σ(log odds ratio)": lambda p: -p.beta * logsigmoid(p.odds),
}
BESIDE = "NLL of the chosen beside it"


def name_pair(loss: str, each_token: bool = False, beside: bool = False) -> str:
    words = f"{loss}, {AVERAGED if each_token else SUMMED}"
    return f"{words}; {BESIDE}" if beside else words


def _descend(scores: Scores, words: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """−∇ of a loss of the step log-probabilities, by the chain rule through exact scores.

    words [B]; loss: [B, T] -> [].  -> [P·V]
    """
    logp = scores.logp[words].clone().requires_grad_(True)
    return scores.add_up(words, -torch.autograd.grad(loss(logp), logp)[0])


def pair_equations(problem: Problem) -> Iterator[tuple[str, Equation]]:
    """The first half of the words is chosen, the second rejected."""
    for name, loss in LOSSES.items():
        for each_token in (False, True):
            for beside in (False, True):

                def equation(
                    scores: Scores,
                    step: Step,
                    given: tuple[Callable[[Pairs], Tensor], bool, bool] = (
                        loss, each_token, beside,
                    ),
                ) -> Tensor:  # fmt: skip
                    words = torch.tensor(step.words)
                    return _descend(
                        scores,
                        words,
                        lambda logp: _lose_pairs(scores, words, logp, problem.beta, *given),
                    )

                yield name_pair(name, each_token, beside), equation


def _lose_pairs(
    scores: Scores,
    words: Tensor,
    logp: Tensor,
    beta: float,
    loss: Callable[[Pairs], Tensor],
    each_token: bool,
    beside: bool,
) -> Tensor:
    half = len(words) // 2
    length = scores.length[words].to(logp)
    part = 1 / length if each_token else torch.ones_like(length)
    total = logp.sum(1)
    said, ratio = total * part, (total - scores.reference[words].sum(1)) * part
    nll = -total[:half].sum() / length[:half].sum()
    pairs = Pairs(said[:half], said[half:], ratio[:half], ratio[half:], nll, beta)
    return loss(pairs).mean() + (nll if beside else 0.0)


UNPAIRED: dict[str, Callable[[Tensor, Tensor, Tensor, float], Tensor]] = {
    # u of the desirable, v of the undesirable, z the estimate of the divergence
    "1 − σ(β(u − z)), 1 − σ(β(z − v)), z = max(0, mean log-ratio of the batch's other rows)": (
        lambda u, v, z, beta: torch.cat(
            [1 - (beta * (u - z)).sigmoid(), 1 - (beta * (z - v)).sigmoid()]
        )
    ),
    "1 − σ(βu), σ(βv)": lambda u, v, z, beta: torch.cat(
        [1 - (beta * u).sigmoid(), (beta * v).sigmoid()]
    ),
}


def unpaired_equations(problem: Problem) -> Iterator[tuple[str, Equation]]:
    """The first half of the words is desirable, the second undesirable; z is of the words turned by
    one, each under another's prompt, and is not differentiated (Ethayarajh et al. 2024, eq. 8).
    """
    for name, loss in UNPAIRED.items():

        def equation(scores: Scores, step: Step, loss: Callable[..., Tensor] = loss) -> Tensor:
            words = torch.tensor(step.words)
            half = len(words) // 2
            turned = (scores.logp - scores.reference)[words.roll(-1)].sum(1)

            def lose(logp: Tensor) -> Tensor:
                ratio = (logp - scores.reference[words]).sum(1)
                z = turned.mean().clamp(min=0)
                return loss(ratio[:half], ratio[half:], z, problem.beta).mean()

            return _descend(scores, words, lose)

        yield name, equation


def score_equations(problem: Problem) -> Iterator[tuple[str, Equation]]:
    """A reward model as a table of one score a sequence [S], here the problem's rewards: pairs as
    above (Bradley–Terry).
    """
    for name, centre in (
        ("−log σ(r_c − r_r)", 0.0),
        ("−log σ(r_c − r_r) + c·(r_c + r_r)²", CENTRE),
    ):

        def equation(scores: Scores, step: Step, centre: float = centre) -> Tensor:
            table = scores.problem.reward.clone().requires_grad_(True)
            chosen, rejected = table[torch.tensor(step.words)].chunk(2)
            loss = -logsigmoid(chosen - rejected)
            loss = (loss + centre * (chosen + rejected).square()).mean()
            return -torch.autograd.grad(loss, table)[0]

        yield name, equation


def _kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p‖q) of each place, from logs.  [P, V] twice -> [P]"""
    return (p.exp() * (p - q)).sum(-1)


DIVERGENCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "KL(teacher‖student)": lambda student, teacher: _kl(teacher, student),
    "KL(student‖teacher)": lambda student, teacher: _kl(student, teacher),
    "½·KL(teacher‖m) + ½·KL(student‖m), m their mean": lambda student, teacher: (
        0.5 * _kl(teacher, _middle(student, teacher))
        + 0.5 * _kl(student, _middle(student, teacher))
    ),
}


def _middle(student: Tensor, teacher: Tensor) -> Tensor:
    return torch.logaddexp(student, teacher) - torch.log(torch.tensor(2.0, dtype=student.dtype))


def name_divergence(divergence: str, share: str) -> str:
    return f"{divergence} of each token; {share}"


def distillation_equations(problem: Problem) -> Iterator[tuple[str, Equation]]:
    """The divergence of the teacher (the problem's reference) and the student over all symbols, at
    every step of the words (Agarwal et al. 2024, eq. 1).
    """
    assert problem.reference is not None
    other = problem.reference.log_softmax(-1)
    place = {prefix: at for at, prefix in enumerate(problem.language.prefixes)}
    for name, divergence in DIVERGENCES.items():
        for share, weigh in SHARES.items():

            def equation(
                scores: Scores,
                step: Step,
                divergence: Callable[[Tensor, Tensor], Tensor] = divergence,
                weigh: Callable[[Tensor, int, Tensor], Tensor] = weigh,
            ) -> Tensor:
                table = scores.problem.logits.clone().requires_grad_(True)
                apart = divergence(table.log_softmax(-1), other)  # [P]
                words = [scores.problem.language.sequences[word] for word in step.words]
                length = torch.tensor([len(word) for word in words], dtype=torch.float64)
                part = weigh(length, scores.problem.language.length, torch.ones_like(length))
                loss = torch.stack(
                    [
                        part[row] * apart[place[word[:t]]]
                        for row, word in enumerate(words)
                        for t in range(len(word))
                    ]
                ).sum()
                return -torch.autograd.grad(loss, table)[0].flatten()

            yield name_divergence(name, share), equation
