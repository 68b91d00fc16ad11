"""What a peer is asked: words of an enumerable language, as one optimizer step would see them, and
what the step adds to a table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from fledge.exact.enumerable import Language
from fledge.exact.problem import Problem

# Three symbols of which the last ends a sequence, two steps: 7 sequences, of one step and of two.
VOCABULARY, LENGTH, STOP = 3, 2, 2
PAIRED = ("pairs", "unpaired", "scores")  # families of whose words the first half is chosen
GROUP = 3  # samples a prompt: enough that the two standard deviations differ by more than a factor


def referee_problem(beta: float = 0.0, temperature: float = 1.0) -> Problem:
    """The policy, the reference and the rewards that every peer is asked about."""
    language = Language(VOCABULARY, LENGTH, STOP)
    random = torch.Generator().manual_seed(5)
    size = (len(language.prefixes), language.vocabulary)
    logits = 0.7 * torch.randn(size, dtype=torch.float64, generator=random)
    reference = logits + 0.5 * torch.randn(size, dtype=torch.float64, generator=random)
    reward = 1 + torch.randn(len(language.sequences), dtype=torch.float64, generator=random)
    # A peer may keep rewards in float32: these are numbers that it holds exactly.
    reward = (reward * 64).round() / 64
    return Problem(language, logits, reward, reference, beta, temperature=temperature)


def data_law(problem: Problem) -> Tensor:
    """Where the data of likelihoods comes from: the reference's law.  [S]"""
    table = problem.logits if problem.reference is None else problem.reference
    return problem.language.log_prob(table).exp()


@dataclass(frozen=True)
class Step:
    """One optimizer step: `words` are numbers of sequences, in groups of equal size."""

    words: tuple[int, ...]
    groups: int = 1
    pieces: int = 1  # micro-batches of equally many rows
    padding: int = 0  # tokens of padding more than the longest row needs, after its end
    left: int = 0  # the same before its beginning
    garbage: bool = False  # whether other tokens stand where the mask says that nothing does


@dataclass(frozen=True)
class Answer:
    """What the step adds: the direction in which the peer's optimizer is sent, with its sign
    turned where the peer descends.
    """

    gradient: Tensor  # [P, V]
    leak: float = 0.0  # size of the gradient at places after a sequence's end

    @property
    def flat(self) -> Tensor:
        return self.gradient.flatten()


class Peer(Protocol):
    """A trainer whose own code answers. `name` is `package:trainer`."""

    name: str
    version: str
    pads_left: bool  # whether rows, or their prompts, can be padded on the left

    def answer(self, step: Step) -> Answer: ...


@dataclass(frozen=True)
class Hearing:
    """One row to be measured: a peer at one setting, and what its documents say of it."""

    peer: str  # package:trainer
    setting: dict[str, Any]
    claim: str  # in the words of its documents
    equation: str  # of the candidates, the one that the claim says; "" where none is claimed
    family: str  # which candidates: "policy", "likelihood" or "pairs"
    problem: Problem
    build: Callable[[Problem], Peer]
    group: int = GROUP
    unbiased: bool = False  # whether it claims the gradient itself
    resumes: bool = False  # whether a killed run is compared with one that went through
    spreads: bool = False  # whether a step of two processes is compared with that of one
    detached: bool = False  # whether its loss has, by design, another gradient than it takes

    @property
    def told(self) -> str:
        """The setting as it is given on the command line."""
        return " ".join(f"{name}={value}" for name, value in self.setting.items()) or "default"
