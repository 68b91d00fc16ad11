"""A label that nobody has seen, and votes on it: how often each voter is right.

Dawid & Skene 1979, with one accuracy a voter: p(v_m = y | y) = a_m, every other label
(1 − a_m)/(C − 1). A voter that abstains says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class LabelModel:
    """balance: p(y) [C]. accuracy: a [M]. labels: C names. theta: where the posterior is given by
    constraints, what each vote adds to a label's log-odds [M]; else None.
    """

    balance: Tensor
    accuracy: Tensor
    labels: tuple[str, ...]
    theta: Tensor | None = None

    def log_joint(self, x: Tensor) -> Tensor:
        """log p(votes, y) of votes that were cast.  [N, M] -> [N, C]"""
        agrees = list_agreement(x, len(self.balance))
        right = self.accuracy.log()
        wrong = ((1 - self.accuracy) / (len(self.balance) - 1)).log()
        cast = (~x.isnan()).double()
        return self.balance.log() + agrees @ (right - wrong) + (cast @ wrong)[:, None]

    def posterior(self, x: Tensor) -> Tensor:
        """p(y | votes), or the regularised posterior.  [N, M] -> [N, C]"""
        if self.theta is None:
            return self.log_joint(x).softmax(1)
        agrees = list_agreement(x, len(self.balance))
        return (self.balance.log() + agrees @ self.theta).softmax(1)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(votes), given who votes.  [N, M] -> [N]"""
        return self.log_joint(x).logsumexp(1)

    def count_parameters(self) -> int:
        return len(self.accuracy) + len(self.balance) - 1

    def card(self) -> dict[str, Any]:
        return {"model": "weak", "labels": list(self.labels)}

    def tensors(self) -> dict[str, Tensor]:
        named = {"balance": self.balance, "accuracy": self.accuracy}
        named |= {} if self.theta is None else {"theta": self.theta}
        return {name: each.contiguous().clone() for name, each in named.items()}

    @classmethod
    def restore(cls, card: Mapping[str, Any], tensors: Mapping[str, Any]) -> LabelModel:
        labels = tuple(card["labels"])
        return cls(tensors["balance"], tensors["accuracy"], labels, tensors.get("theta"))


def list_agreement(x: Tensor, labels: int) -> Tensor:
    """1 where a vote is for that label.  [N, M] of label numbers -> [N, C, M]"""
    return (x[:, None, :] == torch.arange(labels, dtype=x.dtype)[:, None]).double()


def majority_vote(x: Tensor, labels: int) -> Tensor:
    """Shares of the labels with the most votes; of a row without a vote, even.  [N, M] -> [N, C]"""
    count = list_agreement(x, labels).sum(2)
    most = (count == count.amax(1, keepdim=True)).double()
    return most / most.sum(1, keepdim=True)
