"""Our own algorithms through the referee: what `fledge verify` says of them."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch

from fledge.errors import UserError
from fledge.verify.laboratory import measure
from fledge.verify.referee.candidates import list_equations
from fledge.verify.referee.equations import Scores, distance
from fledge.verify.referee.peers import OWN_ROWS, select_hearings
from fledge.verify.referee.question import Hearing, Step, referee_problem
from fledge.verify.referee.ruling import rule
from fledge.verify.referee.steps import enumerate_steps


@pytest.mark.parametrize("name", ["grpo", "rloo"])
def test_the_figures_are_those_of_the_laboratory(name: str) -> None:
    (hearing,) = select_hearings(f"fledge:{name}", {})
    assert isinstance(hearing, Hearing)
    ruling = rule(hearing)
    measured = measure(OWN_ROWS[name][0], hearing.problem, samples=3)
    assert ruling.faults == ()
    assert ruling.scale == pytest.approx(measured.scale, rel=1e-9)
    assert ruling.cosine == pytest.approx(measured.cosine, rel=1e-9)
    assert ruling.bias == pytest.approx(measured.error_after(measured.scale), rel=1e-6, abs=1e-12)
    assert ruling.variance == pytest.approx(measured.relative_variance, rel=1e-9)


def test_every_batch_is_enumerated_with_its_probability() -> None:
    (hearing,) = select_hearings("fledge:rloo", {})
    assert isinstance(hearing, Hearing)
    masses = [mass for _, mass in enumerate_steps(hearing)]
    assert len(masses) == 84  # multisets of 3 out of 7
    assert sum(masses) == pytest.approx(1)


@pytest.mark.parametrize("beta", [0.1, 2.0])
def test_the_equations_of_pairs_are_the_slopes_of_their_losses(beta: float) -> None:
    problem = referee_problem(beta)
    reference = problem.reference
    assert reference is not None
    step = Step((0, 3, 5, 1))
    language = problem.language
    length = torch.tensor([len(language.sequences[word]) for word in step.words])

    def margins(table: torch.Tensor, each_token: bool) -> torch.Tensor:
        ratio = problem.log_prob(table) - problem.log_prob(reference)
        ratio = ratio[list(step.words)] / (length if each_token else 1)
        return ratio[:2] - ratio[2:]

    losses = {
        "−log σ(βΔ)": lambda d: -torch.nn.functional.logsigmoid(beta * d),
        "max(0, 1 − βΔ)": lambda d: (1 - beta * d).clamp(min=0),
        "(Δ − 1/2β)²": lambda d: (d - 1 / (2 * beta)).square(),
    }
    log = torch.nn.functional.logsigmoid
    both = {
        "−log σ(βu) − ½·log σ(−βu) − ½·log σ(−βv)": lambda u, v: (
            -log(beta * u) - (log(-beta * u) + log(-beta * v)) / 2
        ),
        "−log σ(βu) − log σ(−βv)": lambda u, v: -log(beta * u) - log(-beta * v),
        "(u − 1/2β)² + (v + 1/2β)²": lambda u, v: (
            (u - 1 / (2 * beta)).square() + (v + 1 / (2 * beta)).square()
        ),
        "1 − σ(βu) + σ(βv)": lambda u, v: 1 - (beta * u).sigmoid() + (beta * v).sigmoid(),
        "σ(βu) + 1 − σ(βΔ)": lambda u, v: (beta * u).sigmoid() + 1 - (beta * (u - v)).sigmoid(),
        "−log σ(βΔ) of sorted u and sorted v": lambda u, v: (
            -log(beta * (u.sort().values - v.sort().values))
        ),
    }

    def sides(table: torch.Tensor, each_token: bool) -> tuple[torch.Tensor, torch.Tensor]:
        ratio = problem.log_prob(table) - problem.log_prob(reference)
        ratio = ratio[list(step.words)] / (length if each_token else 1)
        return ratio[:2], ratio[2:]

    scores = Scores.of(problem)
    every = dict(list_equations("pairs", problem))
    for loss, each_token in product(both, (False, True)):
        name = f"{loss}, log-ratios {'averaged over' if each_token else 'summed over'} tokens"
        table = problem.logits.clone().requires_grad_(True)
        value = both[loss](*sides(table, each_token)).mean()
        slope = -torch.autograd.grad(value, table)[0].flatten()
        assert distance(every[name](scores, step), slope) < 1e-12, name
    for loss, each_token in product(losses, (False, True)):
        name = f"{loss}, log-ratios {'averaged over' if each_token else 'summed over'} tokens"
        table = problem.logits.clone().requires_grad_(True)
        value = losses[loss](margins(table, each_token)).mean()
        slope = -torch.autograd.grad(value, table)[0].flatten()
        assert distance(every[name](scores, step), slope) < 1e-12, name


@pytest.mark.parametrize(
    ("loss", "slopes"),
    [
        # −∂loss/∂u and −∂loss/∂v of a pair, from the papers' own derivations.
        ("−log σ(βu) − log σ(−βv)", lambda u, v: ((-u).sigmoid(), -v.sigmoid())),
        ("1 − σ(βu) + σ(βv)", lambda u, v: (u.sigmoid() * (-u).sigmoid(),
                                            -v.sigmoid() * (-v).sigmoid())),
        ("(u − 1/2β)² + (v + 1/2β)²", lambda u, v: (1 - 2 * u, -1 - 2 * v)),
    ],
)  # fmt: skip
def test_losses_of_either_side_have_the_slopes_of_their_papers(loss: str, slopes: Any) -> None:
    """At β = 1, where the letters are the log-ratios themselves."""
    problem = referee_problem(1.0)
    assert problem.reference is not None
    scores, step = Scores.of(problem), Step((0, 3, 5, 1))
    words = torch.tensor(step.words)
    ratio = (problem.log_prob(problem.logits) - problem.log_prob(problem.reference))[words]
    weight = torch.cat(slopes(ratio[:2], ratio[2:])) / 2
    wanted = torch.einsum("b,bn->n", weight, scores.score[words].sum(1))
    equation = dict(list_equations("pairs", problem))[f"{loss}, log-ratios summed over tokens"]
    assert distance(equation(scores, step), wanted) < 1e-12


def test_a_peer_that_there_is_not_is_one_sentence() -> None:
    with pytest.raises(UserError, match="there is no peer trll: give one of trl:grpo"):
        select_hearings("trll", {})
    with pytest.raises(UserError, match="settings go to one trainer"):
        select_hearings("trl", {"beta": 0.1})
