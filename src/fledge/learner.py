"""One optimizer step: micro-batches, precision, clipping, schedule, ranks. It never changes what is
being minimised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fledge import rank_sums, ranks
from fledge.dropout import drop_by_row
from fledge.errors import UserError
from fledge.flat_gradient import FlatGradient
from fledge.micro_batches import MicroBatches
from fledge.optimizers import RATE, OptimizerMaker, adamw, lay_out_moments
from fledge.overflow import check_gradient, check_norm, check_share
from fledge.primitive_cache import bound_primitive_cache
from fledge.read_rows import gather_by_row
from fledge.schedule import Clock, Schedule
from fledge.seeds import seed_for
from fledge.sharded import held_whole
from fledge.trained_state import load_trained_state
from fledge.weights_version import raise_versions

# A loss takes some rows of the batch and gives its share of the step's loss, divided by a count
# taken over the whole step, and figures that are shares in the same way: both add up over
# micro-batches and ranks. One that knows its gradient itself adds it to `Learner.gradient`.
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
    bfloat16 by autocast; weights, softmax and optimizer stay in float32). seed: of dropout, whose
    mask is a function of it, the step and the row alone. Under torch.distributed
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
        seed: int = 0,
    ) -> None:
        if tokens_per_micro_batch is not None:  # of a large model, in pieces of any length
            bound_primitive_cache()
        self.module = module
        self.schedule = schedule
        self.clip = clip
        self.micro_batches = MicroBatches(
            rows_per_micro_batch,
            tokens_per_micro_batch,
            shared=getattr(module, "shares_prompts", False),
            padded=getattr(module, "computes_padding", True),
        )
        self.precision, self.seed = precision, seed
        self.steps = self.skipped = 0
        self.clock = Clock()
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        self.parameters = [p for _, p in named]
        if not self.parameters:
            raise UserError(
                "nothing of this model learns by gradient: it was counted, or all of it is frozen. "
                "Give another base, or other patterns in freeze."
            )
        self.device = self.parameters[0].device
        self.optimizer = optimizer(named, schedule.peak)
        self.gradient = FlatGradient(self.parameters)
        self._parts = list(module.modules())  # to ask for them takes a tenth of a small step
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
        """This rank's rows in micro-batches: none where there are more ranks than rows."""
        yield from (piece for piece, _ in rank_sums.own_pieces(batch, self.micro_batches))

    def map(self, function: Callable[[Any], Sequence[Tensor]], batch: Any) -> list[Tensor]:
        """What `function` says of the rows, [b, t, …] or [b] each, asked a micro-batch at a time,
        each rank of its own rows; put together in the order of the batch.  -> [B, T, …] or [B]
        """
        if ranks.world() == 1:
            return self.micro_batches.map(function, batch)
        # A rank without rows asks about the first, for the shape of the answer.
        own = rank_sums.own_rows(batch)
        with held_whole(self.module):
            answers = self.micro_batches.map(function, own if len(own) else batch[:1])
        return [rank_sums.join_rows(x[: len(own)], batch) for x in answers]

    def join(self, parts: Sequence[Tensor], batch: Any) -> Tensor:
        """What a loss has said of each row of the pieces of `cut`, [b] each, in the order of the
        batch.  -> [B], the same on every rank
        """
        if ranks.world() == 1:
            return torch.cat(list(parts))[: len(batch)]
        own = len(rank_sums.own_rows(batch))
        # One type for all: a rank without rows cannot know what the others' numbers are.
        said = torch.zeros(0, device=self.device) if not own else torch.cat(list(parts))[:own]
        return rank_sums.join_rows(said.double(), batch).float()

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
        resting = [part for part in self._parts if not part.training]
        for part in resting:
            part.training = True
        with gather_by_row(getattr(self.module, "tables_read_by_row", ())):
            for number, (function, data) in enumerate(((loss, batch), *also)):
                key = seed_for(self.seed, "dropout", f"{self.steps + self.skipped} {number}") >> 1
                self._differentiate(function, data, key, figures)
        for part in resting:
            part.training = False
        figures = rank_sums.sum_over_ranks(self.parameters, figures)
        norm = self.gradient.gather()
        try:
            check(figures)
            check_gradient(float(figures["loss"]), float(norm), self.steps + 1)
        except UserError:
            self.gradient.clear()
            raise
        rate = self.schedule.rate(self.clock.place)
        said = {name: float(value) for name, value in figures.items()}
        said |= {"grad_norm": float(norm), "learning_rate": rate}
        if not float(norm):
            self.gradient.clear()
            return said | self.skip()
        if 0 < self.clip < float(norm):
            self.gradient.scale(self.clip / (norm + 1e-6))
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get(RATE, 1.0)
        self.optimizer.step()
        raise_versions(self._parts)
        self.gradient.clear()
        self.steps += 1
        self.clock.tick()
        if rate * max(1.0, self.heaviest_decay) > ABSURD_RATE:
            self._check_step(loss, batch, rate)
        return said

    def _differentiate(self, loss: Loss, batch: Any, key: int, figures: dict[str, Tensor]) -> None:
        """Add the gradient of a batch, piece by piece, and what is said of it. key: of dropout."""
        own = list(rank_sums.own_pieces(batch, self.micro_batches))
        count = partial(self.micro_batches.count, batch)
        for piece, rows, counts in rank_sums.level_pieces(own, batch, self.module, count):
            with drop_by_row(key, rows.to(self.device)):
                self.gradient.added = False
                with self.autocast():
                    share, marks = loss(piece.to(self.device))
                if not self.gradient.added:
                    (share if counts else 0.0 * share).backward()
            if counts:
                add_figures(figures, {"loss": share, **marks})

    def skip(self) -> dict[str, float]:
        """No step for this batch, and its time in the schedule passes.  -> figures that say so"""
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
        """Raises Diverged where a weight is no finite number, or its square overflows (1e19)."""
        check_norm(float(rank_sums.total_norm(self.parameters)), self.steps)

    @torch.no_grad()
    def _check_step(self, loss: Loss, batch: Any, rate: float) -> None:
        """That the weights of a step at such a rate can still be computed with."""
        self.check_weights()
        some = next(self.micro_batches.cut(batch))
        with self.autocast():
            share = loss(some.to(self.device))[0]
        check_share(float(share), rate, self.steps)

    def state_dict(self) -> dict[str, Any]:
        """Of what lies in parts this rank's. Raises Diverged rather than give away weights that are
        none: what is on disk stays the last good state.
        """
        self.check_weights()
        return {
            "module": rank_sums.state_of(self.module),
            "optimizer": rank_sums.moments_of(self.optimizer),
            "steps": self.steps,
            "skipped": self.skipped,
            "clock": self.clock.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        load_trained_state(self.module, rank_sums.cut_weights(state["module"], self.module))
        self.optimizer.load_state_dict(rank_sums.cut_moments(state["optimizer"], self.optimizer))
        lay_out_moments(self.optimizer)
        self.steps, self.skipped = state["steps"], state["skipped"]
        self.clock.load_state_dict(state["clock"])


def add_figures(total: dict[str, Tensor], share: Mapping[str, Tensor]) -> None:
    """A piece's shares, to what there is of others, in place."""
    for name, value in share.items():
        value = value.detach()
        total[name] = total[name] + value if name in total else value
