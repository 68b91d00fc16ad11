"""`fledge plan`: what a training step of a model takes of a machine, before there is one: memory
term by term, what ranks send each other, seconds, and the layout to choose.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from rich.table import Table

from fledge.costs.communication import Collective, list_collectives
from fledge.costs.machine import GIGA, Machine
from fledge.costs.memory import list_phases
from fledge.costs.prediction import Prediction
from fledge.costs.search import find_fewest, predict_layouts
from fledge.errors import UserError
from fledge.recipes.studies.plan_fields import (
    PlanConfig,
    read_machine,
    read_wishes,
    read_work,
)
from fledge.runs.show import Show

OTHERS = 4  # layouts that are shown beside the best


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
    divided = layout.shards > 1 or layout.half
    fields: dict[str, Any] = {"shard": "fsdp" if divided else "none"} if layout.ranks > 1 else {}
    if divided and layout.replicas > 1:
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
