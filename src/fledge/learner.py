"""One optimizer step: micro-batches, precision, clipping, schedule, ranks. It never changes what is
being minimised.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, distributed, nn

from fledge.errors import Diverged, UserError
from fledge.micro_batches import MicroBatches
from fledge.optimizers import OptimizerMaker, adamw
from fledge.schedule import Clock, Schedule
from fledge.trained_state import load_trained_state, trained_state
from fledge.weights_version import raise_version

# A loss takes some rows of the batch and gives its share of the step's loss, divided by a count
# taken over the whole step, and figures that are shares in the same way: both add up over
# micro-batches and ranks.
Loss = Callable[[Any], tuple[Tensor, Mapping[str, Tensor]]]

# AdamW moves no number by more than a few times the rate in one step (|m| ≤ 7.3·√v at its usual
# betas), nor does Muon, so that only above such a rate can finite gradients make weights that
# overflow.
ABSURD_RATE = 1.0
USUAL = adamw()


class Learner:
    """Optimizer steps on the parameters of `module` that require a gradient.

    optimizer: makes what moves them; AdamW unless given.
    rows_per_micro_batch: how many rows are differentiated at a time; memory only, never the
    numbers. tokens_per_micro_batch: in place of it, as many rows of like length as have so many
    steps, padding included, and at least one. precision: "fp32" or "bf16" (matrix products in
    bfloat16 by autocast; weights, softmax and optimizer stay in float32). Under torch.distributed
    each rank holds its own rows; counts and gradients are summed over ranks. A parameter that no
    rank's loss contains is left alone, decay included, at any world size.

    A batch that has nothing to teach (no gradient at all) makes no step: it would be momentum and
    decay alone. `skipped` counts them.
    """

    def __init__(
        self,
        module: nn.Module,
        schedule: Schedule,
        *,
        optimizer: OptimizerMaker = USUAL,
        clip: float = 1.0,
        rows_per_micro_batch: int | None = None,
        tokens_per_micro_batch: int | None = None,
        precision: str = "fp32",
    ) -> None:
        self.module = module
        self.schedule = schedule
        self.clip = clip
        self.micro_batches = MicroBatches(rows_per_micro_batch, tokens_per_micro_batch)
        self.precision = precision
        self.steps = self.skipped = 0
        self.clock = Clock()
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        self.parameters = [p for _, p in named]
        if not self.parameters:
            raise ValueError(
                "the module has no parameter that requires a gradient: there is nothing to learn."
            )
        self.device = self.parameters[0].device
        self.optimizer = optimizer(named, schedule.peak)
        self.begun = self.optimizer.state_dict()  # as it is before the first step
        self.heaviest_decay = max(
            float(group.get("weight_decay", 0.0)) for group in self.optimizer.param_groups
        )

    def sum(self, x: Tensor) -> Tensor:
        """x added up over all ranks, which hold one batch together."""
        everywhere = x.detach().clone().to(self.device)
        if distributed.is_initialized():
            distributed.all_reduce(everywhere)
        return everywhere

    @property
    def rank(self) -> int:
        return distributed.get_rank() if distributed.is_initialized() else 0

    def gather(self, x: Any) -> list[Any]:
        """Every rank's x, in the order of ranks: where a sum does not say enough."""
        if not distributed.is_initialized():
            return [x]
        gathered: list[Any] = [None] * distributed.get_world_size()
        distributed.all_gather_object(gathered, x)
        return gathered

    def count(self, mask: Tensor) -> Tensor:
        """How many are True, over all ranks: the denominator, taken before anything is cut.  -> []
        float, at least 1
        """
        return self.sum(mask.sum().to(torch.float64)).clamp(min=1)

    def any(self, mask: Tensor) -> bool:
        """Whether any is True, on any rank: if not, a mean over them is no number, and a loss of 0
        would be a perfect one.
        """
        return bool(self.sum(mask.any().float()) > 0)

    def count_rows(self, batch: Any) -> Tensor:
        """How many rows, over all ranks.  -> [] float"""
        return self.count(torch.ones(len(batch), dtype=torch.bool))

    def autocast(self) -> AbstractContextManager[Any]:
        if self.precision == "bf16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    def step(
        self,
        loss: Loss,
        batch: Any,
        also: Iterable[tuple[Loss, Any]] = (),
        check: Callable[[Mapping[str, Tensor]], None] = lambda figures: None,
    ) -> dict[str, float]:
        """Differentiate `loss` over the batch piece by piece, then one clipped optimizer step.

        batch: Rows of any kind. also: further (loss, batch) whose gradient is added.
        check: sees the figures before the weights change; what it raises leaves them as they were.
        Returns the figures summed over pieces and ranks, with grad_norm and learning_rate;
        steps_skipped=1 where there was nothing to learn. Raises Diverged if the loss or its
        gradient is not finite, and the weights are then as they were; or if the weights that the
        step made are such that the loss is not.
        """
        figures: dict[str, Tensor] = {}
        # Dropout is for what is differentiated, and for nothing else that a network is asked.
        modes = [(part, part.training) for part in self.module.modules()]
        self.module.train()
        for function, rows in ((loss, batch), *also):
            for piece in self.micro_batches.cut(rows):
                with self.autocast():
                    share, marks = function(piece.to(self.device))
                share.backward()
                for name, value in {"loss": share, **marks}.items():
                    value = value.detach()
                    figures[name] = figures[name] + value if name in figures else value
        for part, mode in modes:
            part.training = mode
        self._reduce(figures)
        try:
            check(figures)
        except UserError:
            self.optimizer.zero_grad(set_to_none=True)
            raise
        norm = nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        if not math.isfinite(float(norm)) or not math.isfinite(float(figures["loss"])):
            self.optimizer.zero_grad(set_to_none=True)
            raise Diverged(
                f"the loss is {float(figures['loss']):.4g} and its gradient {float(norm):.4g} at "
                f"optimizer step {self.steps + 1}: training cannot go on from here. The last "
                "checkpoint is intact; try a lower `learning_rate`."
            )
        rate = self.schedule.rate(self.clock.place)
        said = {name: float(value) for name, value in figures.items()}
        said |= {"grad_norm": float(norm), "learning_rate": rate}
        if not float(norm):
            self.optimizer.zero_grad(set_to_none=True)
            return said | self.skip()
        if 0 < self.clip < float(norm):
            nn.utils.clip_grads_with_norm_(self.parameters, self.clip, norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        raise_version(self.module)
        self.optimizer.zero_grad(set_to_none=True)
        self.steps += 1
        self.clock.tick()
        if rate * max(1.0, self.heaviest_decay) > ABSURD_RATE:
            self._check_step(loss, batch, rate)
        return said

    def skip(self) -> dict[str, float]:
        """Nothing is learned from this batch: no step, and its time in the schedule passes.  -> the
        figures that say so
        """
        rate = self.schedule.rate(self.clock.place)
        self.skipped += 1
        self.clock.tick()
        return {"steps_skipped": 1.0, "grad_norm": 0.0, "learning_rate": rate}

    def restart(self) -> None:
        """What follows is a training of its own, from weights that were put back: no momentum of
        another, the schedule from its start.
        """
        self.optimizer.load_state_dict(self.begun)
        self.clock.restart()

    @torch.no_grad()
    def check_weights(self) -> None:
        """Raises Diverged where the weights' norm is no finite number: a weight is none, or beyond
        1e19, whose square overflows.
        """
        if not math.isfinite(float(nn.utils.get_total_norm(self.parameters))):
            raise Diverged(
                f"the weights overflow after optimizer step {self.steps}: training cannot go on "
                "from here. The last checkpoint is intact; try a lower `learning_rate`."
            )

    @torch.no_grad()
    def _check_step(self, loss: Loss, batch: Any, rate: float) -> None:
        """That the weights of a step at such a rate can still be computed with."""
        self.check_weights()
        some = next(self.micro_batches.cut(batch))
        with self.autocast():
            share = loss(some.to(self.device))[0]
        if not math.isfinite(float(self.sum(share))):
            raise Diverged(
                f"optimizer step {self.steps}, at a learning rate of {rate:.4g}, made weights "
                f"under which the loss is {float(share):.4g}: training cannot go on from here. The "
                "last checkpoint is intact; try a lower `learning_rate`."
            )

    def _reduce(self, figures: dict[str, Tensor]) -> None:
        if not distributed.is_initialized():
            return
        taught = self.sum(torch.tensor([float(p.grad is not None) for p in self.parameters]))
        for parameter, anywhere in zip(self.parameters, taught.tolist(), strict=True):
            if not anywhere:
                continue
            # A rank without a part of the loss still takes part in the sum.
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            distributed.all_reduce(parameter.grad)
        for name in sorted(figures):
            distributed.all_reduce(figures[name])

    def state_dict(self) -> dict[str, Any]:
        """Raises Diverged rather than give away weights that are none: what is on disk stays the
        last good state.
        """
        self.check_weights()
        return {
            "module": trained_state(self.module),
            "optimizer": self.optimizer.state_dict(),
            "steps": self.steps,
            "skipped": self.skipped,
            "clock": self.clock.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        load_trained_state(self.module, state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps, self.skipped = state["steps"], state["skipped"]
        self.clock.load_state_dict(state["clock"])
