"""The fields of every recipe that trains."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from fledge.errors import UserError
from fledge.learner import Learner, Schedule
from fledge.models.language.frozen_weights import FrozenMatrix
from fledge.optimizers import Rates, adamw, muon, same

OPTIMIZERS = {"adamw": adamw, "muon": muon}

# From so many parameters on a model is somebody's own, and a step of the usual size would not fit
# into the memory of a laptop: activations take some 3 MB a token at 135 million parameters.
LARGE = 30_000_000
# Tokens of a micro-batch: as many keep the products of two cores busy, and a GPU's.
MICRO_BATCH, MICRO_BATCH_ON_GPU = 512, 2048


class TrainingConfig(BaseModel):
    """The fields of every recipe that trains."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
    )

    # Of a CPU, and from how many parameters on.
    micro_batch_tokens: ClassVar[int] = MICRO_BATCH
    micro_batches_from: ClassVar[int] = LARGE

    out: Path | None = Field(
        default=None,
        description="run folder; by default the first free of runs/VERB, runs/VERB-2, …",
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="of every random number in the run")
    steps: int = Field(default=1000, ge=1, description="optimizer steps (updates, for align)")
    learning_rate: float = Field(default=1e-3, gt=0, description="at its peak")
    schedule: Literal["constant", "linear", "cosine", "wsd"] = Field(
        default="cosine",
        description="of the learning rate after its rise; wsd: constant up to the last fifth",
    )
    warmup_steps: int = Field(
        default=20, ge=0, description="optimizer steps over which the learning rate rises"
    )
    optimizer: Literal["adamw", "muon"] = Field(
        default="adamw",
        description="of the weights; muon: of the matrices between embeddings and heads, AdamW of "
        "the rest",
    )
    weight_decay: float = Field(default=0.0, ge=0, description="on matrices only")
    clip: float = Field(
        default=1.0, ge=0, description="the gradient is scaled down to this norm; 0 never"
    )
    rows_per_micro_batch: int | None = Field(
        default=None,
        ge=1,
        description=(
            "rows differentiated at a time, of like length: memory only, never the numbers; by "
            f"default a whole step, and {MICRO_BATCH:,} tokens with their padding "
            f"({MICRO_BATCH_ON_GPU:,} on a GPU) of a model of {LARGE // 10**6} million parameters "
            "or more"
        ),
    )
    gradient_checkpointing: bool = Field(
        default=False,
        description=(
            "the backward pass computes each block's activations again, in place of keeping them: "
            "memory for a third more time, never the numbers"
        ),
    )
    evaluate_every: int = Field(
        default=0, ge=0, description="steps between evaluations; 0: only before and after"
    )
    shard: Literal["none", "fsdp"] = Field(
        default="none",
        description="of several processes each holds a part of the weights, gradients and moments "
        "(fsdp), or all of them",
    )
    replicas: int = Field(
        default=1,
        ge=1,
        description="copies of the weights that the processes hold between them with shard=fsdp, "
        "each divided over as many processes",
    )
    tensor_parallel: int = Field(
        default=1,
        ge=1,
        description="neighbouring processes that compute the same rows, each a part of the heads "
        "and hidden units of every block",
    )
    reshard_after_forward: bool = Field(
        default=True,
        description="with shard=fsdp a block's weights are given up until its backward pass: "
        "memory for a second gathering",
    )
    gather_precision: Literal["fp32", "bf16"] = Field(
        default="fp32",
        description="with shard=fsdp, of the weights that travel and that a block computes with; "
        "gradients are summed in fp32",
    )
    save_every_s: float = Field(default=30.0, ge=0, description="seconds between checkpoints")
    save: Literal["async", "sync"] = Field(
        default="async",
        description="async: training goes on while a checkpoint is written, from a copy in memory; "
        "sync: it waits, without a copy",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="of matrix products; auto measures this machine"
    )
    compile: Literal["auto", "yes", "no"] = Field(
        default="auto", description="torch.compile; auto: if the run is long and it is faster"
    )
    threads: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="of the CPU; by default as many as are measured to be fastest, again where "
        "steps take twice their usual time, or as many as OMP_NUM_THREADS says",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto: a GPU if there is one"
    )

    def learner(
        self,
        module: nn.Module,
        precision: str,
        steps: int | None = None,
        rates: Rates = same,
    ) -> Learner:
        """rates: of single weights, where they differ from `learning_rate`."""
        tokens = None
        if count_parameters(module) >= self.micro_batches_from:
            on_cpu = next(module.parameters()).device.type == "cpu"
            tokens = self.micro_batch_tokens if on_cpu else MICRO_BATCH_ON_GPU
        schedule = Schedule(
            self.learning_rate, steps or self.steps, self.warmup_steps, self.schedule
        )
        return Learner(
            module,
            schedule,
            optimizer=OPTIMIZERS[self.optimizer](weight_decay=self.weight_decay, rates=rates),
            clip=self.clip,
            rows_per_micro_batch=self.rows_per_micro_batch,
            tokens_per_micro_batch=tokens,
            precision=precision,
            seed=self.seed,
        )

    def set_checkpointing(self, network: Any) -> None:
        """Raises UserError for a network that cannot compute its activations again."""
        if not self.gradient_checkpointing:
            return
        if not hasattr(network, "gradient_checkpointing"):
            raise UserError(
                f"gradient_checkpointing=true was given, and a {type(network).__name__} has no "
                "blocks whose activations are computed again: leave it out, or give a smaller "
                "rows_per_micro_batch."
            )
        network.gradient_checkpointing = True

    def on(self) -> torch.device:
        return choose_device(self.device)


def count_parameters(module: nn.Module) -> int:
    """How many numbers a module has, however a frozen matrix packs them."""
    frozen = [part for part in module.modules() if isinstance(part, FrozenMatrix)]
    packed = {id(p) for matrix in frozen for p in matrix.parameters()}
    plain = sum(p.numel() for p in module.parameters() if id(p) not in packed)
    return plain + sum(math.prod(matrix.shape) for matrix in frozen)


def trains_every_weight(module: nn.Module) -> bool:
    """Whether a checkpoint takes the place of the weights that a module was loaded with: a frozen
    one is read from there again.
    """
    return all(weight.requires_grad for weight in module.parameters())


def choose_device(device: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """auto: a GPU if there is one."""
    uses_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if uses_gpu else "cpu")
