"""What moves the weights once a step's gradient is there: makers for the Learner, which gives them
the parameters and sets the rate of every step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from fledge.prepared_adamw import PreparedAdamW, suits_prepared
from fledge.sharded import is_part

# The parameters by name, and a learning rate that is never used: the Learner sets each step's.
NamedParameters = Sequence[tuple[str, nn.Parameter]]
OptimizerMaker = Callable[[NamedParameters, float], Optimizer]


# What a parameter's learning rate is multiplied by, from its name.
Rates = Callable[[str], float]
RATE = "rate_scale"  # of a group whose rate is not the Learner's own


def same(name: str) -> float:
    """One learning rate for all."""
    return 1.0


def adamw(
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
    weight_decay: float = 0.1,
    rates: Rates = same,
) -> OptimizerMaker:
    """AdamW (Loshchilov & Hutter 2019). weight_decay: of matrices; vectors and scales have none."""

    def make(named: NamedParameters, rate: float) -> Optimizer:
        groups = _form_groups(named, weight_decay, rates)
        return _make_adamw(groups, rate, betas, eps)

    return make


def muon(
    momentum: float = 0.95,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
    weight_decay: float = 0.1,
    rates: Rates = same,
) -> OptimizerMaker:
    """Muon (Jordan et al. 2024): the momentum of a matrix, made orthogonal, is its step.

    For matrices between hidden states only: what turns tokens into them and back (embeddings,
    heads) and all that is no matrix is AdamW's, with `betas` and `eps`. A step of a matrix is as
    large as AdamW's usually is (Liu et al. 2025, eq. 4), so that one `learning_rate` and one
    `weight_decay` serve both.
    """

    def make(named: NamedParameters, rate: float) -> Optimizer:
        matrices = [(name, p) for name, p in named if _is_hidden_matrix(name, p)]
        hidden = {id(p) for _, p in matrices}
        others = [(name, p) for name, p in named if id(p) not in hidden]
        parts: dict[str, Optimizer] = {}
        if matrices:
            parts["muon"] = torch.optim.Muon(
                _form_groups(matrices, weight_decay, rates),
                lr=rate,
                weight_decay=weight_decay,
                momentum=momentum,
                adjust_lr_fn="match_rms_adamw",
            )
        if others:
            groups = _form_groups(others, weight_decay, rates)
            parts["adamw"] = _make_adamw(groups, rate, betas, eps)
        return Together(parts)

    return make


def _make_adamw(
    groups: list[dict[str, Any]], rate: float, betas: tuple[float, float], eps: float
) -> AdamW:
    parameters = [p for group in groups for p in group["params"]]
    # Tensors that are parts and tensors that are whole are no one list for a fused kernel.
    fused = not any(map(is_part, parameters))
    kind = PreparedAdamW if suits_prepared(parameters) else AdamW
    return kind(groups, lr=rate, betas=betas, eps=eps, fused=fused, foreach=False)


def _form_groups(named: NamedParameters, decay: float, rates: Rates) -> list[dict[str, Any]]:
    """Parameters that decay alike and learn at one rate together, matrices first."""
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, p in named:
        groups.setdefault((bool(decay) and p.ndim >= 2, rates(name)), []).append(p)
    formed: list[dict[str, Any]] = []
    for decays, scale in sorted(groups, reverse=True):
        # A step takes rate · decay of a weight away. That does not hang on how fast it learns: a
        # weight that is c times another and learns c times as fast stays so (Wortsman et al. 2023,
        # arXiv:2309.14322, "independent weight decay").
        group = {"params": groups[decays, scale], "weight_decay": decay / scale if decays else 0.0}
        formed.append(group if scale == 1 else {**group, RATE: scale})
    return formed


def _is_hidden_matrix(name: str, parameter: nn.Parameter) -> bool:
    outer = any(part in ("embedding", "head") for part in name.split("."))
    return parameter.ndim == 2 and not outer


class Together(Optimizer):
    """Several optimizers that step as one, each on parameters of its own; their groups are the
    groups of this one.
    """

    def __init__(self, parts: Mapping[str, Optimizer]) -> None:
        self.parts = dict(parts)
        super().__init__(self._groups(), {})

    def _groups(self) -> list[dict[str, Any]]:
        return [group for part in self.parts.values() for group in part.param_groups]

    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for part in self.parts.values():
            part.step()

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        for name, part in self.parts.items():
            part.load_state_dict(state_dict[name])
        self.param_groups = self._groups()  # a part that has loaded its state has new ones


@torch.no_grad()
def lay_out_moments(optimizer: Optimizer) -> None:
    """Moments that were read from a file lie row by row; here they are laid as their weights lie.
    torch's fused AdamW takes both as they lie, one number after the other, and a weight of a
    convolution whose channels come last would be moved by another number's moments.
    """
    parts = optimizer.parts.values() if isinstance(optimizer, Together) else (optimizer,)
    for part in parts:
        for weight, moments in part.state.items():
            for name, x in moments.items():
                if not isinstance(x, Tensor) or is_part(x) or x.shape != weight.shape:
                    continue
                if x.stride() != weight.stride():
                    moments[name] = torch.empty_like(weight, dtype=x.dtype).copy_(x)


class Recorder(Optimizer):
    """Writes the gradient of each step down, 0 where there is none, and moves nothing.

    after: is called when a gradient has been written down.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], after: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(parameters, {"lr": 0.0})
        self.taken: list[list[Tensor]] = []
        self.after = after

    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        own = [p for group in self.param_groups for p in group["params"]]
        self.taken.append([torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in own])
        self.after()
