"""`fledge plan`: what a training step of a model takes of a machine, before there is one: memory
term by term, what ranks send each other, seconds, and the layout to choose.
"""

from __future__ import annotations

import dataclasses
import difflib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from rich.table import Table

from fledge.costs.communication import Collective, list_collectives
from fledge.costs.machine import GIGA, TERA, Machine, find_card
from fledge.costs.memory import list_phases
from fledge.costs.prediction import EFFICIENCY, Prediction
from fledge.costs.published import PUBLISHED, published_config
from fledge.costs.search import Wishes, find_fewest, predict_layouts
from fledge.costs.work import Work
from fledge.errors import UserError
from fledge.hub.config_file import read_config
from fledge.models.language.presets import PRESETS, transformer_config
from fledge.models.language.transformer_config import TransformerConfig
from fledge.runs.show import Show

OWN_VOCABULARY = 4096  # tokens, of a preset whose tokenizer is yet to be trained
OTHERS = 4  # layouts that are shown beside the best


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
    context: int = Field(default=4096, ge=1, description="tokens of a row")
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


def plan(config: PlanConfig, show: Show) -> dict[str, Any]:
    """Raises UserError for a model, card or layout that there is not, and where nothing fits."""
    work, machine = read_work(config), read_machine(config)
    wishes = read_wishes(config)
    predictions = predict_layouts(work, machine, config.gpus, wishes, config.efficiency)
    best = predictions[0]
    if not best.fits:
        raise UserError(explain_misfit(config, best))
    fewest = find_fewest(work, machine, config.gpus, wishes, config.efficiency)
    assert fewest is not None
    count = work.sizes.parameters
    show.line(
        f"{config.model}: {say_number(count)} parameters, {work.rows:,} rows of {work.tokens:,} "
        f"tokens a step, {config.gpus} × {machine.name} of {machine.memory / GIGA:,.0f} GB. All "
        "figures are predicted."
    )
    show.line(f"layout: {best.work.layout.describe()}   ({write_fields(best)})")
    show.line(say_speed(best) + "\n")
    show.print(draw_memory(best))
    if collectives := list_collectives(best.work):
        show.line("")
        show.print(draw_collectives(collectives, machine))
    show.line("")
    show.print(draw_layouts(choose_others(predictions)))
    show.line(
        f"fewest GPUs that hold it: {fewest.work.layout.ranks} ({fewest.work.layout.describe()}; "
        f"{fewest.tokens_per_second:,.0f} tokens/s)"
    )
    return {
        "model": config.model,
        "parameters": count,
        **describe_prediction(best),
        "fewest_gpus": fewest.work.layout.ranks,
    }


def read_work(config: PlanConfig) -> Work:
    """Raises UserError for a model that is not there, or whose context is shorter."""
    sizes = find_sizes(config.model)
    if config.context > sizes.context:
        raise UserError(
            f"context={config.context} is more than the {sizes.context} tokens that "
            f"model={config.model} reads: give at most those."
        )
    return Work(
        sizes, max(1, config.tokens_per_step // config.context), config.context, config.precision,
        config.optimizer, config.slots, config.context,
    )  # fmt: skip


def find_sizes(model: str) -> TransformerConfig:
    """Of published sizes, of a preset, or of a folder's config.json. Raises UserError."""
    if model in PUBLISHED:
        return published_config(model)
    if model in PRESETS:
        return transformer_config(model, OWN_VOCABULARY)
    for folder in (Path(model), Path(model) / "model"):
        if (folder / "config.json").is_file() and folder.name != "checkpoints":
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


def explain_misfit(config: PlanConfig, nearest: Prediction) -> str:
    """Of the layout that lacks least, what is largest in it."""
    largest = max(nearest.peak.terms, key=lambda term: term.size)
    return (
        f"no layout of gpus={config.gpus} fits model={config.model} into "
        f"{nearest.machine.memory / GIGA:,.0f} GB each: the nearest "
        f"({nearest.work.layout.describe()}) needs {nearest.needed / GIGA:,.1f}, "
        f"{largest.size / GIGA:,.1f} of them {largest.name}. "
        "Give more gpus, more memory_gb, a smaller context or a smaller model."
    )


def write_fields(best: Prediction) -> str:
    """The layout as the fields of a training."""
    layout = best.work.layout
    shards = "fsdp" if layout.shards > 1 else "none"
    fields: dict[str, Any] = {"shard": shards} if layout.ranks > 1 else {}
    if layout.shards > 1 and layout.replicas > 1:
        fields["replicas"] = layout.replicas
    if layout.tensor > 1:
        fields["tensor_parallel"] = layout.tensor
    if layout.half:
        fields["gather_precision"] = "bf16"
    if layout.gradient_checkpointing:
        fields["gradient_checkpointing"] = "true"
    fields["rows_per_micro_batch"] = layout.rows
    return " ".join(f"{name}={value}" for name, value in fields.items())


def say_speed(best: Prediction) -> str:
    return (
        f"{best.needed / GIGA:,.1f} GB of each GPU; {best.seconds:,.3g} s a step "
        f"({best.computing:,.3g} computing, {best.sending:,.3g} sending, {best.stepping:,.3g} in "
        f"the optimizer): {1 / best.seconds:,.3g} steps/s, {best.tokens_per_second:,.0f} tokens/s, "
        f"MFU {best.utilisation:.0%}"
    )


def say_number(count: float) -> str:
    """8,030,261,248 -> 8.03 B"""
    size, unit = next(
        (each for each in ((1e12, "T"), (1e9, "B"), (1e6, "M")) if count >= each[0]), (1e3, "K")
    )
    return f"{count / size:,.3g} {unit}"


def draw_memory(best: Prediction) -> Table:
    """A column a phase, a row a term; what is not there in a phase stays empty."""
    table = start_table("GB")
    phases = list_phases(best.work)
    for phase in phases:
        table.add_column(phase.name, justify="right")
    table.add_column("formula", overflow="fold")
    terms = {term.name: term for phase in reversed(phases) for term in phase.terms}
    for name, term in terms.items():
        sizes = [{each.name: each.size for each in phase.terms}.get(name) for phase in phases]
        cells = ["" if size is None else f"{size / GIGA:,.2f}" for size in sizes]
        table.add_row(name, *cells, term.formula)
    table.add_row("together", *(f"{phase.size / GIGA:,.2f}" for phase in phases))
    return table


def draw_collectives(collectives: list[Collective], machine: Machine) -> Table:
    table = start_table("sent", "of")
    for column in ("ranks", "times", "MB", "GB a rank", "s"):
        table.add_column(column, justify="right")
    for each in collectives:
        table.add_row(
            each.kind, each.of, f"{each.group}", f"{each.times:,}", f"{each.size / 1e6:,.1f}",
            f"{each.sent / GIGA:,.2f}", f"{each.seconds(machine):,.3g}",
        )  # fmt: skip
    return table


def choose_others(predictions: list[Prediction]) -> list[Prediction]:
    """The fastest, and of those that do not fit the nearest: one a division of the ranks."""
    kinds: dict[tuple[bool, int, int, int], Prediction] = {}
    for each in predictions:
        layout = each.work.layout
        kinds.setdefault((each.fits, layout.replicas, layout.shards, layout.tensor), each)
    fitting = [each for each in kinds.values() if each.fits]
    return fitting[:OTHERS] + [each for each in kinds.values() if not each.fits][:OTHERS]


def draw_layouts(predictions: list[Prediction]) -> Table:
    table = start_table("layout", "fits")
    for column in ("GB", "tokens/s", "MFU"):
        table.add_column(column, justify="right")
    table.add_column("most of it")
    for each in predictions:
        largest = max(each.peak.terms, key=lambda term: term.size)
        table.add_row(
            each.work.layout.describe(), "yes" if each.fits else "no",
            f"{each.needed / GIGA:,.1f}", f"{each.tokens_per_second:,.0f}",
            f"{each.utilisation:.0%}", f"{largest.name}, {largest.size / GIGA:,.1f} GB",
        )  # fmt: skip
    return table


def start_table(*columns: str) -> Table:
    table = Table(header_style="bold", pad_edge=False, box=None, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def describe_prediction(best: Prediction) -> dict[str, Any]:
    """For JSON; sizes in bytes."""
    return {
        "layout": dataclasses.asdict(best.work.layout),
        "bytes": best.needed,
        "phases": {
            phase.name: {term.name: term.size for term in phase.terms}
            for phase in list_phases(best.work)
        },
        "collectives": [
            {**dataclasses.asdict(each), "sent": each.sent} for each in list_collectives(best.work)
        ],
        "seconds": best.seconds,
        "tokens_per_second": best.tokens_per_second,
        "utilisation": best.utilisation,
    }
