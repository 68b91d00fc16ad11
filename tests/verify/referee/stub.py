"""A trainer written for the test, right or with one fault: its loss stands here in full, by
autograd on a table, and shares nothing with the referee's equations.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fledge.exact.problem import Problem
from fledge.verify.referee.question import Answer, Step

END = 4  # rows of the stub's table: (), (a,), (b,), past the end, and never


@dataclass
class StubPeer:
    problem: Problem
    fault: str = ""
    average: str = "token"  # token, row or sum
    kl: str = "k3"
    pads_left: bool = True
    name: str = "stub:policy"
    version: str = "1"

    def answer(self, step: Step) -> Answer:
        p = self.problem
        table = torch.zeros(5, 3, dtype=torch.float64)
        table[:3] = p.logits
        table[3:] = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64)
        table.requires_grad_(True)
        advantage = self.advantage(p.reward[list(step.words)], step.groups)
        size = len(step.words) // step.pieces
        every = torch.stack([self.trained(word).sum() for word in step.words]).sum()
        loss = torch.zeros((), dtype=torch.float64)
        for at in range(0, len(step.words), size):
            words = step.words[at : at + size]
            part = advantage[at : at + size]
            if self.fault == "whitened":
                raw = p.reward[list(words)]
                part = (raw - raw.mean()) / (raw.std() + 1e-4)
            loss = loss + self.loss(table, step, words, part, every)
        loss.backward()
        gradient = torch.zeros_like(table) if table.grad is None else -table.grad
        return Answer(gradient[:3], float(gradient[3:].norm()))

    def advantage(self, reward: Tensor, groups: int) -> Tensor:
        grouped = reward.view(groups, -1)
        apart = grouped - grouped.mean(1, keepdim=True)
        if self.average == "sum" and self.fault != "own baseline":
            size = grouped.shape[1]
            apart = apart * size / (size - 1)
        if self.average != "sum":
            if self.fault == "no epsilon":
                apart = apart / grouped.std(1, keepdim=True)
            elif self.fault == "ddof":
                apart = apart / (grouped.std(1, correction=0, keepdim=True) + 1e-4)
            else:
                apart = apart / (grouped.std(1, keepdim=True) + 1e-4)
        return apart.flatten()

    def trained(self, word: int) -> Tensor:
        """Which of the positions count: [T + 1], the last is past the end."""
        symbols = self.problem.language.sequences[word]
        mask = torch.tensor([1.0] * len(symbols) + [0.0] * (3 - len(symbols)))
        if self.fault == "mask off by one":
            mask = mask.roll(1)
        if self.fault == "stop token":
            mask = mask * torch.tensor(
                [float(s != 2) for s in symbols] + [1.0] * (3 - len(symbols))
            )
        if self.fault == "truncated" and symbols[-1] != 2:
            mask = torch.zeros(3)
        return mask.double()

    def loss(
        self, table: Tensor, step: Step, words: tuple[int, ...], advantage: Tensor, every: Tensor
    ) -> Tensor:
        language = self.problem.language
        temperature = 1.0 if self.fault == "temperature" else self.problem.temperature
        logp = (table / temperature).log_softmax(-1)
        other = self.problem.reference
        assert other is not None
        reference = torch.cat([other, table.detach()[3:]]) / temperature
        reference = reference.log_softmax(-1)
        rows, masks, gaps = [], [], []
        for word in words:
            symbols = [*language.sequences[word], 0, 0, 0]
            if step.garbage and self.fault == "garbage":
                symbols[len(language.sequences[word])] = 1
            length = len(language.sequences[word])
            places = [0, *(1 + s if s < 2 else 3 for s in symbols[:1]), 3]
            places = [place if t < length else 3 for t, place in enumerate(places)]
            rows.append(torch.stack([logp[places[t], symbols[t]] for t in range(3)]))
            gaps.append(
                torch.stack([reference[places[t], symbols[t]] for t in range(3)]) - rows[-1]
            )
            masks.append(self.trained(word))
        said, mask, gap = torch.stack(rows), torch.stack(masks), torch.stack(gaps)
        if self.fault == "garbage":
            mask = torch.where(torch.arange(3) == 2, 0.01, mask) if step.garbage else mask
        old = said if self.fault == "old not detached" else said.detach()
        per_token = -(said - old).exp() * advantage[:, None]
        if self.problem.beta:
            gap = torch.where(mask > 0, gap, 0.0)
            penalty = gap.exp() - gap - 1 if self.kl == "k3" else -gap
            per_token = per_token + self.problem.beta * penalty
        summed = (per_token * mask).sum()
        pieces = step.pieces
        if self.average == "sum":
            return summed / len(step.words)
        if self.average == "row" or self.fault == "row mean":
            return ((per_token * mask).sum(1) / mask.sum(1).clamp(min=1)).sum() / len(step.words)
        if self.fault == "micro-batch mean":
            return summed / mask.sum() / pieces
        if self.fault == "padding":
            return summed / (len(step.words) * (2 + step.padding))
        return summed / every
