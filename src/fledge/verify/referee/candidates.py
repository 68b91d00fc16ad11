"""Which equations a family of trainers is held against."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fledge.exact.problem import Problem
from fledge.verify.referee.equations import Equation, likelihood_equations, policy_equations
from fledge.verify.referee.pair_equations import (
    distillation_equations,
    pair_equations,
    score_equations,
    unpaired_equations,
)

FAMILIES: dict[str, Callable[[Problem], Iterator[tuple[str, Equation]]]] = {
    "policy": policy_equations,
    "likelihood": likelihood_equations,
    "pairs": pair_equations,
    "unpaired": unpaired_equations,
    "scores": score_equations,
    "distillation": distillation_equations,
}


def list_equations(family: str, problem: Problem) -> Iterator[tuple[str, Equation]]:
    return FAMILIES[family](problem)
