"""`fledge plan table`: plans of 1 B to 405 B parameters side by side, with the formula of each
cell, as Markdown.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from fledge.costs.communication import list_collectives
from fledge.costs.machine import CARDS, GIGA
from fledge.costs.prediction import Prediction
from fledge.costs.published import published_config
from fledge.costs.search import Wishes, predict_layouts
from fledge.costs.work import Work
from fledge.recipes.studies.plan import describe_prediction
from fledge.runs.show import Show

CASES = (
    ("1b", 1, "h100"), ("8b", 8, "h100"), ("70b", 64, "h100"), ("405b", 512, "h100"),
    ("405b", 512, "h200"),
)  # fmt: skip
TOKENS, CONTEXT = 2**22, 8192


class PlanTableConfig(BaseModel):
    """Write the plans of 1 B parameters on one GPU, 8 B on 8, 70 B on 64 and 405 B on 512 as a
    table in Markdown, with the formula of each cell. Nothing in it is measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


def plan_table(config: PlanTableConfig, show: Show) -> dict[str, Any]:
    """The best layout of each, or the nearest where none fits."""
    plans = []
    for model, gpus, card in CASES:
        work = Work(published_config(model), TOKENS // CONTEXT, CONTEXT)
        plans.append(predict_layouts(work, CARDS[card], gpus, Wishes())[0])
    for line in write_table(plans):
        show.line(line)
    return {"plans": [describe_prediction(each) for each in plans]}


def write_table(plans: list[Prediction]) -> list[str]:
    heads = [f"{model} on {gpus} × {card}" for model, gpus, card in CASES]
    lines = [_row("", *heads, "formula"), _row(*["---"] * (len(plans) + 2))]
    layouts = [each.work.layout for each in plans]
    again = ["yes" if layout.gradient_checkpointing else "no" for layout in layouts]
    lines += [
        _row("replicas × shards × tensor", *(
            f"{layout.replicas} × {layout.shards} × {layout.tensor}" for layout in layouts
        ), "all divisions of the GPUs are tried"),
        _row("gradient checkpointing", *again, "both are tried"),
        _row("rows at a time", *(str(layout.rows) for layout in layouts), "1, 2, 4 … are tried"),
    ]  # fmt: skip
    terms: dict[str, list[str]] = {}
    for each in plans:
        for term in each.peak.terms:
            formulas = terms.setdefault(term.name, [])
            formulas += [term.formula] * (term.formula not in formulas)
    for name, formulas in terms.items():
        sizes = [{term.name: term.size for term in each.peak.terms}.get(name) for each in plans]
        cells = ["" if size is None else f"{size / GIGA:.1f}" for size in sizes]
        lines.append(_row(f"{name}, GB", *cells, " or ".join(formulas)))
    return lines + [_row(*row) for row in _summaries(plans)]


def _summaries(plans: list[Prediction]) -> list[list[str]]:
    """What the terms come to."""
    lacking = ["" if x.fits else f" (has {x.machine.memory / GIGA:.0f})" for x in plans]
    needed = [f"{x.needed / GIGA:.1f}{y}" for x, y in zip(plans, lacking, strict=True)]
    sent = [sum(each.sent for each in list_collectives(x.work)) / GIGA for x in plans]
    computing = [f"{x.computing:.1f}" for x in plans]
    speed = [f"{x.tokens_per_second:,.0f}" for x in plans]
    share = [f"{x.utilisation:.0%}" for x in plans]
    return [
        ["**needed, GB**", *needed, "1.05 · sum + 1.5"],
        ["sent by a rank, GB a step", *(f"{x:,.0f}" for x in sent), "Σ (n−1)/n · size · times"],
        ["computing, s a step", *computing, "tokens · FLOPs / (0.6 · peak)"],
        ["sending, s a step", *(f"{x.sending:.1f}" for x in plans), "Σ sent / slowest link"],
        ["**tokens/s**", *speed, "tokens / s"],
        ["**MFU**", *share, "3 · (2N + attention) · tokens/s / peak"],
    ]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
