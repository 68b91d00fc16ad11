"""torch's fused AdamW, number for number, whose lists of tensors are made once and not anew at each
step: of a small network that is four fifths of a step's time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW

from fledge.sharded import is_part

KINDS = ("cpu", "cuda")  # of device, on which torch's kernel takes such lists


@dataclass(frozen=True)
class _Group:
    """What the kernel takes of the parameters of a group that have a gradient; steps: [P], of which
    `each` are the views.
    """

    parameters: list[Tensor]
    means: list[Tensor]
    squares: list[Tensor]
    steps: Tensor
    each: list[Tensor]


def suits_prepared(parameters: Sequence[Tensor]) -> bool:
    """Whether they are whole, of one type and on one device."""
    kinds = {(p.dtype, p.device) for p in parameters}
    whole = not any(is_part(p) for p in parameters)
    return whole and len(kinds) == 1 and parameters[0].device.type in KINDS


class PreparedAdamW(AdamW):
    """Its state is as torch has it, by the same names."""

    # Which parameters had a gradient, and the lists of those; None: to be made.
    _prepared: tuple[list[bool], list[_Group]] | None = None

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        taught = [p.grad is not None for group in self.param_groups for p in group["params"]]
        if self._prepared is None or self._prepared[0] != taught:
            self._prepared = taught, [self._prepare(group) for group in self.param_groups]
        for group, lists in zip(self.param_groups, self._prepared[1], strict=True):
            if not lists.parameters:
                continue
            lists.steps.add_(1)
            beta1, beta2 = group["betas"]
            slopes = [p.grad for p in lists.parameters if p.grad is not None]
            torch._fused_adamw_(  # pyright: ignore[reportPrivateImportUsage]
                lists.parameters, slopes, lists.means, lists.squares,
                [], lists.each, lr=group["lr"], beta1=beta1, beta2=beta2,
                weight_decay=group["weight_decay"], eps=group["eps"], amsgrad=False,
                maximize=False, grad_scale=None, found_inf=None,
            )  # fmt: skip

    def _prepare(self, group: Mapping[str, Any]) -> _Group:
        """A parameter has moments from its first gradient on."""
        own = [p for p in group["params"] if p.grad is not None]
        for p in own:
            if not self.state[p]:
                self.state[p] = {
                    "step": torch.zeros((), dtype=torch.float32, device=p.device),
                    "exp_avg": torch.zeros_like(p),
                    "exp_avg_sq": torch.zeros_like(p),
                }
        states = [self.state[p] for p in own]
        steps = torch.stack([state["step"] for state in states]) if own else torch.zeros(0)
        each = list(steps.unbind())
        for state, step in zip(states, each, strict=True):
            state["step"] = step
        return _Group(
            own, [s["exp_avg"] for s in states], [s["exp_avg_sq"] for s in states], steps, each
        )

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict(dict(state_dict))
        self._prepared = None
