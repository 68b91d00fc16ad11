"""OpenRLHF's losses as peers: `openrlhf/models/loss.py` of the installed package, with the counts
that its trainers hand it for each optimizer step.

`openrlhf.models` itself imports flash-attn, which there is for CUDA alone, so that file is loaded
without the package's `__init__`; nothing stands in for what is missing. What computes advantages
(its experience maker) does import it: advantages come from the question, r − mean of the others.
"""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import version as read_version
from pathlib import Path
from types import ModuleType
from typing import Any

import openrlhf  # pyright: ignore[reportMissingImports]
import torch
from openrlhf.utils.loss_utils import iter_grad_accum_global_norm  # pyright: ignore
from torch import Tensor

from fledge.exact.problem import Problem
from fledge.verify.referee.loss_rows import LossPeer, Rows
from fledge.verify.referee.question import Answer, Step

version = read_version("openrlhf")


def load_file(name: str) -> Any:
    """openrlhf/models/{name}.py, which imports nothing but its neighbours and deepspeed."""
    package = ModuleType("openrlhf.models")
    package.__path__ = [str(Path(str(openrlhf.__file__)).parent / "models")]
    whole = sys.modules.get(package.__name__)
    sys.modules.setdefault(package.__name__, package)
    try:
        return importlib.import_module(f"openrlhf.models.{name}")
    finally:
        if whole is None:  # half a package is nobody's to find
            del sys.modules[package.__name__]


losses, estimators = load_file("loss"), load_file("utils")


class OpenRlhfPolicy(LossPeer):
    """PolicyLoss, and the penalty beside it as its trainer adds them. use_loss, estimator and
    unbiased_gradient are the fields of its `algo.kl`.
    """

    name, version = "openrlhf:policy", version

    def __init__(self, setting: dict[str, Any], problem: Problem) -> None:
        super().__init__(problem)
        own = dict(setting)
        self.penalised = own.pop("use_loss", False)
        self.estimator = own.pop("estimator", "k1")
        self.straight = own.pop("unbiased_gradient", False)
        self.loss = losses.PolicyLoss(**own)

    def lose(self, rows: Rows, step: Step) -> Tensor:
        reward = rows.reward.view(step.groups, -1)
        others = (reward.sum(1, keepdim=True) - reward) / (reward.shape[1] - 1)
        advantage = (reward - others).flatten()[:, None].expand_as(rows.mask)
        total = rows.logp.new_zeros(())
        for (part, worth), counts in _cut(rows, advantage, step):
            loss = self.loss(part.logp, part.old, worth, action_mask=part.mask, **counts)[0]
            if self.penalised:
                apart = estimators.compute_approx_kl(
                    part.logp,
                    part.reference,
                    log_probs_old=part.old,
                    kl_estimator=self.estimator,
                    unbiased_gradient=self.straight,
                )
                loss = loss + self.problem.beta * losses.aggregate_loss(apart, part.mask, **counts)
            total = total + loss / step.pieces  # which DeepSpeed divides by
        return total


class OpenRlhfSft(LossPeer):
    name, version = "openrlhf:sft", version

    def __init__(self, setting: dict[str, Any], problem: Problem) -> None:
        super().__init__(problem)
        self.loss = losses.SFTLoss(**setting)

    def lose(self, rows: Rows, step: Step) -> Tensor:
        total = rows.logp.new_zeros(())
        for (part, _), counts in _cut(rows, rows.mask, step):
            total = total + self.loss(part.logp, part.mask, **counts) / step.pieces
        return total


class OpenRlhfDpo(LossPeer):
    """DPOLoss of log-probabilities that are summed over tokens, as its trainer sums them."""

    name, version = "openrlhf:dpo", version

    def __init__(self, setting: dict[str, Any], problem: Problem) -> None:
        super().__init__(problem)
        self.loss = losses.DPOLoss(problem.beta, **setting)

    def lose(self, rows: Rows, step: Step) -> Tensor:
        half = len(step.words) // 2
        said = [(logp * rows.mask).sum(1) for logp in (rows.logp, rows.reference)]
        sides = [side for total in said for side in (total[:half], total[half:])]
        each = half // step.pieces
        parts = zip(*(side.split(each) for side in sides), strict=True)
        return torch.stack([self.loss(*part)[0] for part in parts]).mean()


class OpenRlhfReward:
    """A reward model that is a table of one score a sequence. loss: sigmoid or logexp."""

    name, version = "openrlhf:reward", version
    pads_left = False

    def __init__(self, setting: dict[str, Any], problem: Problem) -> None:
        self.problem = problem
        kinds = {"sigmoid": losses.PairWiseLoss, "logexp": losses.LogExpLoss}
        self.loss = kinds[setting.get("loss", "sigmoid")]()

    def answer(self, step: Step) -> Answer:
        table = self.problem.reward.clone().requires_grad_(True)
        return Answer(-torch.autograd.grad(self._lose(table, step), table)[0])

    def losses(self, step: Step, tables: Any) -> list[float]:
        return [float(self._lose(table, step)) for table in tables]

    def _lose(self, table: Tensor, step: Step) -> Tensor:
        chosen, rejected = table[torch.tensor(step.words)].chunk(2)
        each = len(chosen) // step.pieces
        parts = zip(chosen.split(each), rejected.split(each), strict=True)
        return torch.stack([self.loss(*part) for part in parts]).mean()


def _cut(rows: Rows, worth: Tensor, step: Step) -> Any:
    """Micro-batches and the counts that its own iterator gives each: of the whole step."""
    each = len(step.words) // step.pieces
    parts = [
        (rows.part(at, at + each), worth[at : at + each]) for at in range(0, len(step.words), each)
    ]
    return iter_grad_accum_global_norm(parts, None, step.pieces, lambda part: part[0].mask)


KINDS: dict[str, Any] = {
    each.name: each for each in (OpenRlhfPolicy, OpenRlhfSft, OpenRlhfDpo, OpenRlhfReward)
}


def build_peer(peer: str, setting: dict[str, Any], problem: Problem) -> Any:
    return KINDS[peer](setting, problem)
