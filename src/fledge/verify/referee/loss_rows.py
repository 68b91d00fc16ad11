"""Sequences as padded rows of log-probabilities of a table: what a function that is only a loss is
given, where a package's losses can be called and its trainers, bound to GPUs, cannot be built.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fledge.exact.problem import Problem
from fledge.verify.referee.question import Answer, Step


@dataclass(frozen=True)
class Rows:
    """B rows of W steps. Where `mask` is 0 the log-probabilities are numbers of nobody's."""

    logp: Tensor  # [B, W], of the table that is asked
    old: Tensor  # [B, W], of the problem's own, not differentiated
    reference: Tensor  # [B, W]
    mask: Tensor  # [B, W], float
    reward: Tensor  # [B]
    group: Tensor  # [B], the number of each row's group

    @property
    def length(self) -> Tensor:
        return self.mask.sum(1).long()

    def part(self, start: int, end: int) -> Rows:
        names = self.__dataclass_fields__
        return Rows(*(getattr(self, name)[start:end] for name in names))


class LossPeer:
    """A subclass says what its package's loss of a step is; the model is the table."""

    name, version = "", ""
    pads_left = False

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def lose(self, rows: Rows, step: Step) -> Tensor:
        """The loss of all micro-batches of a step.  -> []"""
        raise NotImplementedError

    def answer(self, step: Step) -> Answer:
        table = self.problem.logits.clone().requires_grad_(True)
        beyond = self._fill(step).requires_grad_(True)
        self.lose(self._lay_out(step, table, beyond), step).backward()
        taken = torch.zeros_like(table) if table.grad is None else -table.grad
        return Answer(taken, 0.0 if beyond.grad is None else float(beyond.grad.norm()))

    @torch.no_grad()
    def losses(self, step: Step, tables: Sequence[Tensor]) -> list[float]:
        """Advantages and old log-probabilities are those of the problem's own table."""
        beyond = self._fill(step)
        return [float(self.lose(self._lay_out(step, table, beyond), step)) for table in tables]

    def _fill(self, step: Step) -> Tensor:
        """What stands under the mask: log-probabilities that no table has.  [B, W]"""
        width = self.problem.language.length + step.padding
        filled = torch.arange(len(step.words) * width, dtype=torch.float64)
        return -0.1 - (filled.view(-1, width) % (7 if step.garbage else 3)) / 10

    def _lay_out(self, step: Step, table: Tensor, beyond: Tensor) -> Rows:
        problem = self.problem
        words = torch.tensor(step.words)
        length = torch.tensor([len(problem.language.sequences[word]) for word in step.words])
        mask = torch.arange(beyond.shape[1]) < length[:, None]
        other = problem.logits if problem.reference is None else problem.reference

        def read(of: Tensor, rest: Tensor) -> Tensor:
            said = problem.step_log_prob(of)[words]
            said = torch.nn.functional.pad(said, (0, beyond.shape[1] - said.shape[1]))
            return torch.where(mask, said, rest)

        return Rows(
            read(table, beyond),
            read(problem.logits, beyond.detach()),
            read(other, 2 * beyond.detach()),
            mask.double(),
            problem.reward[words],
            torch.arange(step.groups).repeat_interleave(len(words) // step.groups),
        )
