"""One optimizer step: micro-batches, precision, clipping, schedule, ranks. It never changes what is
being minimised.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from fledge import ranks
from fledge.errors import Diverged, UserError
from fledge.micro_batches import MicroBatches
from fledge.optimizers import OptimizerMaker, adamw
from fledge.schedule import Clock, Schedule
from fledge.sharded import cut_like, find_sharded, held_whole, is_part, put_together, square_sum
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
    every rank is given the same batch, computes its own rows of it, and gradients are summed. A
    parameter that no rank's loss contains is left alone, decay included, at any world size.

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

    def count(self, mask: Tensor) -> Tensor:
        """How many are True in the whole step: the denominator, taken before anything is cut.  ->
        [] float, at least 1
        """
        return mask.sum().to(self.device, torch.float64).clamp(min=1)

    def count_rows(self, batch: Any) -> Tensor:
        """How many rows.  -> [] float"""
        return self.count(torch.ones(len(batch), dtype=torch.bool))

    def cut(self, batch: Any) -> Iterator[Any]:
        """This rank's rows of a batch, in micro-batches: none where there are more ranks than
        rows.
        """
        own = self._own(batch)
        if len(own) or ranks.world() == 1:
            yield from self.micro_batches.cut(own)

    def _cut_evenly(self, batch: Any) -> Iterator[tuple[Any, bool]]:
        """The pieces of `cut`, and whether they count. Where ranks hold parts of the weights all
        compute equally often: one with fewer pieces computes the first row again, for nothing.
        """
        own = list(self.cut(batch))
        most = max(ranks.gather(len(own))) if find_sharded(self.module) else len(own)
        yield from ((piece, True) for piece in own)
        yield from ((batch[:1].trim(), False) for _ in range(most - len(own)))

    def map(self, function: Callable[[Any], Sequence[Tensor]], batch: Any) -> list[Tensor]:
        """What `function` says of the rows, [b, t, …] or [b] each, asked a micro-batch at a time,
        each rank of its own rows; put together in the order of the batch.  -> [B, T, …] or [B]
        """
        if ranks.world() == 1:
            return self.micro_batches.map(function, batch)
        # A rank without rows asks about the first, for the shape of the answer.
        own = self._own(batch)
        with held_whole(self.module):
            answers = self.micro_batches.map(function, own if len(own) else batch[:1])
        return [self._join(x[: len(own)], batch) for x in answers]

    def join(self, parts: Sequence[Tensor], batch: Any) -> Tensor:
        """What a loss has said of each row of the pieces of `cut`, [b] each, in the order of the
        batch.  -> [B], the same on every rank
        """
        if ranks.world() == 1:
            return torch.cat(list(parts))[: len(batch)]
        own = len(self._own(batch))
        # One type for all: a rank without rows cannot know what the others' numbers are.
        said = torch.zeros(0, device=self.device) if not own else torch.cat(list(parts))[:own]
        return self._join(said.double(), batch).float()

    def _own(self, batch: Any) -> Any:
        return batch if ranks.world() == 1 else batch[self._places(batch)]

    def _places(self, batch: Any) -> Tensor:
        return ranks.own_places(batch.lengths.cpu().sum(1))

    def _join(self, own: Tensor, batch: Any) -> Tensor:
        """[b, …] of this rank's rows -> [B, …], those of every rank."""
        whole = own.new_zeros(len(batch), *own.shape[1:])
        whole[self._places(batch).to(own.device)] = own
        ranks.add_up([whole])
        return whole

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
            for piece, counts in self._cut_evenly(rows):
                with self.autocast():
                    share, marks = function(piece.to(self.device))
                if not counts:
                    (0.0 * share).backward()
                    continue
                share.backward()
                for name, value in {"loss": share, **marks}.items():
                    value = value.detach()
                    figures[name] = figures[name] + value if name in figures else value
        for part, mode in modes:
            part.training = mode
        figures = self._reduce(figures)
        try:
            check(figures)
        except UserError:
            self.optimizer.zero_grad(set_to_none=True)
            raise
        norm = self._norm([p.grad for p in self.parameters if p.grad is not None])
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
            for kind in (False, True):  # whole tensors and parts are scaled apart
                some = [p for p in self.parameters if is_part(p) is kind]
                nn.utils.clip_grads_with_norm_(some, self.clip, norm)
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
        if not math.isfinite(float(self._norm(self.parameters))):
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
        if not math.isfinite(float(share)):
            raise Diverged(
                f"optimizer step {self.steps}, at a learning rate of {rate:.4g}, made weights "
                f"under which the loss is {float(share):.4g}: training cannot go on from here. The "
                "last checkpoint is intact; try a lower `learning_rate`."
            )

    def _norm(self, tensors: Sequence[Tensor]) -> Tensor:
        """Of all their numbers, wherever they are.  -> []"""
        if any(map(is_part, tensors)):
            return square_sum(tensors).sqrt()
        return nn.utils.get_total_norm(tensors)

    def _reduce(self, figures: dict[str, Tensor]) -> dict[str, Tensor]:
        """Gradients and figures summed over ranks, of which some may have had no rows at all."""
        if ranks.world() == 1:
            return figures
        own = {name: float(value) for name, value in figures.items()}
        each = ranks.gather((own, [p.grad is not None for p in self.parameters]))
        for parameter, *taught in zip(self.parameters, *(marks for _, marks in each), strict=True):
            # A rank without a part of the loss still takes part in the sum.
            if any(taught) and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        # Those of parts have been added up as they were made.
        whole = [p for p in self.parameters if p.grad is not None and not is_part(p)]
        ranks.add_up(p.grad for p in whole if p.grad is not None)
        summed: dict[str, float] = {}
        for said, _ in each:
            for name, value in said.items():
                summed[name] = summed.get(name, 0.0) + value
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in summed.items()}

    def state_dict(self) -> dict[str, Any]:
        """Raises Diverged rather than give away weights that are none: what is on disk stays the
        last good state.
        """
        self.check_weights()
        return {
            "module": put_together(trained_state(self.module)),
            "optimizer": put_together(self.optimizer.state_dict()),
            "steps": self.steps,
            "skipped": self.skipped,
            "clock": self.clock.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        now = trained_state(self.module)
        cut = {n: cut_like(x, now[n]) if n in now else x for n, x in state["module"].items()}
        load_trained_state(self.module, cut)
        self.optimizer.load_state_dict(self._cut_moments(state["optimizer"]))
        self.steps, self.skipped = state["steps"], state["skipped"]
        self.clock.load_state_dict(state["clock"])

    def _cut_moments(self, state: dict[str, Any]) -> dict[str, Any]:
        """The optimizer's state with this rank's part of what is as large as a divided weight."""
        if not any(map(is_part, self.parameters)):
            return state
        ordered = [p for group in self.optimizer.param_groups for p in group["params"]]
        moments = {
            number: {
                name: cut_like(x, ordered[number]) if x.shape == ordered[number].shape else x
                for name, x in each.items()
            }
            for number, each in state["state"].items()
        }
        return {**state, "state": moments}
