"""A label that nobody has seen, and votes on it: how often each voter says what of which label.

Dawid & Skene 1979: p(votes, y) = p(y) Π_m p(v_m | y), where to abstain is something said too: a
voter that knows one label alone tells by its silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

RARE, MOST = 1e-4, 1 - 1e-4  # nothing is said never, or always


@dataclass(frozen=True)
class LabelModel:
    """balance: p(y) [C]. table: p(v_m = v | y) [M, C, C + 1], its last column to abstain. labels: C
    names. theta: where the posterior is given by constraints, what each vote adds to a label's
    log-odds [M]; else None.
    """

    balance: Tensor
    table: Tensor
    labels: tuple[str, ...]
    theta: Tensor | None = None

    @property
    def accuracy(self) -> Tensor:
        """The share of a voter's votes that are right.  [M]"""
        joint = self.balance[:, None] * self.table[:, :, :-1]
        return joint.diagonal(dim1=1, dim2=2).sum(1) / joint.sum((1, 2))

    def log_joint(self, x: Tensor) -> Tensor:
        """log p(votes, y).  [N, M] -> [N, C]"""
        C = len(self.balance)
        said = list_said(x, C).flatten(1)  # [N, M (C + 1)]
        return self.balance.log() + said @ self.table.log().transpose(1, 2).flatten(0, 1)

    def posterior(self, x: Tensor) -> Tensor:
        """p(y | votes), or the regularised posterior.  [N, M] -> [N, C]"""
        if self.theta is None:
            return self.log_joint(x).softmax(1)
        agrees = list_agreement(x, len(self.balance))
        return (self.balance.log() + agrees @ self.theta).softmax(1)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(votes).  [N, M] -> [N]"""
        return self.log_joint(x).logsumexp(1)

    def count_parameters(self) -> int:
        M, C, _ = self.table.shape
        return M * C * C + C - 1

    def card(self) -> dict[str, Any]:
        return {"model": "weak", "labels": list(self.labels)}

    def tensors(self) -> dict[str, Tensor]:
        named = {"balance": self.balance, "table": self.table}
        named |= {} if self.theta is None else {"theta": self.theta}
        return {name: each.contiguous().clone() for name, each in named.items()}

    @classmethod
    def restore(cls, card: Mapping[str, Any], tensors: Mapping[str, Any]) -> LabelModel:
        labels = tuple(card["labels"])
        return cls(tensors["balance"], tensors["table"], labels, tensors.get("theta"))


def list_agreement(x: Tensor, labels: int) -> Tensor:
    """1 where a vote is for that label.  [N, M] of label numbers -> [N, C, M]"""
    return (x[:, None, :] == torch.arange(labels, dtype=x.dtype)[:, None]).double()


def list_said(x: Tensor, labels: int) -> Tensor:
    """1 where a voter said it, or, in the last column, nothing.  [N, M] -> [N, M, C + 1]"""
    said = torch.where(x.isnan(), labels, x).long()
    return torch.nn.functional.one_hot(said, labels + 1).double()


def expect_table(x: Tensor, balance: Tensor, accuracy: Tensor) -> Tensor:
    """Of voters who are right so often, whichever label they vote for, and vote as often as they
    do.  [N, M], [C], [M] -> [M, C, C + 1]
    """
    C = len(balance)
    cast = list_said(x, C)[:, :, :C].mean(0)  # [M, C]
    right = torch.eye(C, dtype=x.dtype) * accuracy[:, None, None]
    wrong = (1 - torch.eye(C, dtype=x.dtype)) * ((1 - accuracy) / (C - 1))[:, None, None]
    votes = (right + wrong) * cast[:, None, :] / balance[:, None] + RARE
    votes = votes * (MOST / votes.sum(2, keepdim=True)).clamp_max(1)
    return torch.cat([votes, 1 - votes.sum(2, keepdim=True)], 2)


def majority_vote(x: Tensor, labels: int) -> Tensor:
    """Shares of the labels with the most votes; of a row without a vote, even.  [N, M] -> [N, C]"""
    count = list_agreement(x, labels).sum(2)
    most = (count == count.amax(1, keepdim=True)).double()
    return most / most.sum(1, keepdim=True)
