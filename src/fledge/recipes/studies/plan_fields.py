"""The fields of `fledge plan`, and what they describe: a model, a step, a machine, and what of a
layout is given.
"""

from __future__ import annotations

import dataclasses
import difflib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fledge.costs.machine import GIGA, TERA, Machine, find_card
from fledge.costs.prediction import EFFICIENCY
from fledge.costs.published import PUBLISHED, published_config
from fledge.costs.search import Wishes
from fledge.costs.work import Work
from fledge.errors import UserError
from fledge.hub.config_file import read_config
from fledge.models.language.presets import PRESETS, transformer_config
from fledge.models.language.transformer_config import TransformerConfig

OWN_VOCABULARY = 4096  # tokens, of a preset whose tokenizer is yet to be trained
ROW = 4096  # tokens


class PlanConfig(BaseModel):
    """Foretell a training step by formula: bytes on each GPU, bytes between them, seconds, and of
    all layouts of the ranks the fastest that fits. All figures are predicted, none is measured
    (`fledge plan check` holds them against what is).
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
    )

    model: str = Field(
        default="8b",
        description=f"published sizes ({', '.join(PUBLISHED)}), a preset of `fledge pretrain`, or "
        "a folder with a config.json, which needs no weights",
    )
    tokens_per_step: int = Field(default=2**20, ge=1, description="over all GPUs")
    context: int | None = Field(
        default=None,
        ge=1,
        description=f"tokens of a row; by default {ROW:,}, or the model's context if that is less",
    )
    gpus: int = Field(default=8, ge=1, description="how many there are")
    card: str = Field(
        default="h100",
        description="a10, rtx4090, l40s, a100, h100, h200, b200, mi300x, as their makers publish "
        "them; the next four fields take the place of single figures",
    )
    memory_gb: float | None = Field(default=None, gt=0, description="of each GPU")
    peak_tflops: float | None = Field(
        default=None, gt=0, description="of each GPU in this precision, without sparsity"
    )
    link_gb_s: float | None = Field(
        default=None, gt=0, description="between GPUs of a node, in one direction"
    )
    network_gb_s: float | None = Field(
        default=None, gt=0, description="of each GPU to other nodes, in one direction"
    )
    gpus_per_node: int = Field(default=8, ge=1, description="that are joined by the faster link")
    efficiency: float = Field(
        default=EFFICIENCY,
        gt=0,
        le=1,
        description="share of the peak that products reach while they compute: an assumption",
    )
    precision: Literal["bf16", "fp32"] = Field(default="bf16", description="of matrix products")
    optimizer: Literal["adamw", "muon"] = Field(default="adamw", description="of the weights")
    shard: Literal["none", "fsdp"] | None = Field(
        default=None, description="as in a training; none of these six given: the best is sought"
    )
    replicas: int | None = Field(default=None, ge=1, description="copies of divided weights")
    tensor_parallel: int | None = Field(
        default=None, ge=1, description="neighbours that divide a block's products"
    )
    gather_precision: Literal["fp32", "bf16"] = Field(
        default="bf16", description="of divided weights that travel, where products are in bf16"
    )
    gradient_checkpointing: bool | None = Field(
        default=None, description="whether activations are computed again"
    )
    rows_per_micro_batch: int | None = Field(
        default=None, ge=1, description="rows that a rank differentiates at a time"
    )
    slots: int = Field(
        default=0, ge=0, description="prompts that each rank answers side by side (align); 0: none"
    )


def read_work(config: PlanConfig) -> Work:
    """Raises UserError for a model that is not there, or whose context is shorter."""
    sizes = find_sizes(config.model)
    context = config.context or min(ROW, sizes.context)
    if context > sizes.context:
        raise UserError(
            f"context={context} is more than the {sizes.context} tokens that "
            f"model={config.model} reads: give at most those."
        )
    return Work(
        sizes, max(1, config.tokens_per_step // context), context, config.precision,
        config.optimizer, config.slots, context,
    )  # fmt: skip


def find_sizes(model: str) -> TransformerConfig:
    """Of published sizes, of a preset, or of a folder's config.json. Raises UserError."""
    if model in PUBLISHED:
        return published_config(model)
    if model in PRESETS:
        return transformer_config(model, OWN_VOCABULARY)
    for folder in (Path(model) / "model", Path(model)):
        if (folder / "config.json").is_file():
            family, config, raw = read_config(folder)
            sizes = family.read_config(config, folder)
            if isinstance(sizes, TransformerConfig):
                return sizes
            raise UserError(
                f"{folder} is a {raw['model_type']}, and plans are for decoder-only transformers: "
                "give one."
            )
    names = [*PUBLISHED, *PRESETS]
    near = difflib.get_close_matches(model.lower(), names, n=1)
    hint = f" Perhaps you meant {near[0]}." if near else ""
    raise UserError(
        f"model={model} is neither a folder with a config.json nor one of {', '.join(names)}.{hint}"
    )


def read_machine(config: PlanConfig) -> Machine:
    """The card, with what is given in its place."""
    card = find_card(config.card)
    given = {
        "memory": (config.memory_gb, GIGA),
        "link": (config.link_gb_s, GIGA),
        "network": (config.network_gb_s, GIGA),
    }
    changed: dict[str, Any] = {
        name: value * unit for name, (value, unit) in given.items() if value is not None
    }
    if config.peak_tflops is not None:
        changed["peak"] = {**card.peak, config.precision: config.peak_tflops * TERA}
    return dataclasses.replace(card, per_node=config.gpus_per_node, **changed)


def read_wishes(config: PlanConfig) -> Wishes:
    """Raises UserError for ranks that do not divide the GPUs."""
    together = (config.replicas or 1) * (config.tensor_parallel or 1)
    if config.gpus % together:
        raise UserError(
            f"replicas={config.replicas or 1} × tensor_parallel={config.tensor_parallel or 1} do "
            f"not divide gpus={config.gpus}: give numbers whose product does."
        )
    return Wishes(
        None if config.shard is None else config.shard == "fsdp",
        config.replicas,
        config.tensor_parallel,
        config.gradient_checkpointing,
        config.rows_per_micro_batch,
        config.precision == "bf16" and config.gather_precision == "bf16",
    )
