"""`fledge compare`: language models of several kinds on the same text, on one scale. Every model
is a run of its own, by the recipe that trains it alone.
"""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path
from typing import Any

from pydantic import Field
from rich.table import Table

from fledge import __version__
from fledge.errors import UserError
from fledge.loop import Interrupted
from fledge.recipes.carry_on import run_inside
from fledge.recipes.course import Summary
from fledge.recipes.language.count import MEANT, NgramFields
from fledge.recipes.language.expert_fields import ExpertFields
from fledge.recipes.language.pretrain import PretrainConfig, pretrain
from fledge.report.charts import Series, draw_line_chart
from fledge.report.figures import format_duration
from fledge.report.own_page import check_page, write_page
from fledge.report.page import render_page
from fledge.runs.folder import Allowed, Run
from fledge.runs.show import Show

NETWORKS = ("transformer", "elman", "lstm", "gru", "mingru")
OF_EXPERTS = frozenset(ExpertFields.model_fields)
EXPERTS = 8  # of a mixture, where no number is given
JUDGEMENTS = 8  # of each model that learns by steps, on its way


class CompareConfig(PretrainConfig):
    """Train language models of several kinds on the same text: bits per byte, size and seconds in
    one table and one picture.
    """

    models: str = Field(
        default="ngram5,lstm",
        description="ngram1 to ngram7, transformer (decoder), moe (the same with experts), elman, "
        "lstm, gru, mingru; each with the other fields as they are given",
    )


def compare(config: CompareConfig, show: Show, run: Run | None = None) -> Summary:
    """A comparison that is continued skips what is finished. Raises UserError, before anything is
    trained, for a model that is none.
    """
    names = list(map(str.strip, config.models.split(",")))
    if run is None:
        check_models(config, names)
        with Run.create(
            config.out, "compare", config.model_dump(mode="json"), seed=config.seed
        ) as made:
            return compare_in(made, names, config, show)
    return compare_in(run, names, config, show)


def check_models(config: CompareConfig, names: list[str]) -> None:
    """Raises UserError."""
    for name in names:
        if name not in (*NETWORKS, "decoder", "moe") and not re.fullmatch(r"ngram[1-7]", name):
            raise UserError(
                f"models={config.models} names {name!r}: give some of ngram1 to ngram7, "
                f"decoder, moe, {', '.join(NETWORKS)}, with commas between."
            )
    if len(set(names)) < len(names):
        raise UserError(f"models={config.models} names a model twice.")
    idle = sorted({"architecture", "base", *NgramFields.model_fields} & config.model_fields_set)
    if idle:
        raise UserError(
            f"{', '.join(idle)}: models= says which models are trained, and all are fresh: leave "
            "it out."
        )
    if "moe" in names:
        choose(config, "moe", config.tokenizer, Path()).check_experts("transformer")
    elif given := sorted(OF_EXPERTS & config.model_fields_set):
        raise UserError(f"{', '.join(given)}: of moe, which models={config.models} does not name.")


def compare_in(run: Run, names: list[str], config: CompareConfig, show: Show) -> Summary:
    """Every model as a run inside of `run`, and what they came to."""
    page = run.folder / "report.html"
    check_page(page, "compare")
    compared: dict[str, dict[str, Any]] = {}
    tokenizer = config.tokenizer
    for name in names:
        folder = run.folder / name
        alone = choose(config, name, tokenizer, folder)
        try:
            summary, rows = train_or_read(alone, folder, show, run.allowed)
        except Interrupted as stopped:
            raise stopped.of(str(run.folder)) from None
        compared[name] = describe(summary, rows, folder)
        if tokenizer == "bpe":  # learned once, for all
            tokenizer = str(folder)
    summary = {
        "verb": "compare",
        "run": str(run.folder),
        "steps": config.steps,
        "seconds": sum(one["seconds"] for one in compared.values()),
        "models": compared,
    }
    run.finish(summary)
    write_page(page, render(config, compared), "compare")
    show.print(draw_table(compared))
    show.line(f"The page: {page}")
    return summary


def choose(config: CompareConfig, name: str, tokenizer: str, folder: Path) -> PretrainConfig:
    """The fields of one model's run: of an n-gram model those that mean something."""
    # By value: of a comparison that is resumed every field has been given.
    ours = {"models", "architecture", *NgramFields.model_fields}
    given = {
        field: getattr(config, field) for field, said in type(config).model_fields.items()
        if field not in ours and getattr(config, field) != said.default
    }  # fmt: skip
    given |= {"tokenizer": tokenizer, "out": folder}
    if tokenizer != config.tokenizer:
        given.pop("vocab_size", None)
    if name.startswith("ngram"):
        kept = {field: value for field, value in given.items() if field in MEANT}
        return PretrainConfig(**kept, architecture="ngram", order=int(name[-1]))
    given.setdefault("evaluate_every", max(1, config.steps // JUDGEMENTS))
    if name == "moe":
        given.setdefault("experts", EXPERTS)
    else:
        given = {field: value for field, value in given.items() if field not in OF_EXPERTS}
    kind: Any = "transformer" if name in ("decoder", "moe") else name
    return PretrainConfig(**given, architecture=kind)


def train_or_read(
    config: PretrainConfig, folder: Path, show: Show, allowed: Allowed
) -> tuple[Summary, list[dict[str, Any]]]:
    """Summary and evaluations of one model: read if it is finished, continued if it was begun, else
    trained.
    """
    summary = run_inside(folder, lambda run: pretrain(config, show, run), show, allowed)
    with closing(Run.open(folder)) as finished:
        return summary, [row for row in finished.metrics.each() if "validation_loss" in row]


def describe(summary: Summary, rows: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """seconds: of the whole run, evaluations included; where they fell between is by steps."""
    steps = max(1, summary["steps"])
    return {
        "bits_per_byte": summary["test"]["bits_per_byte"],
        "parameters": summary["parameters"],
        "bytes": (folder / "model" / "model.safetensors").stat().st_size,
        "seconds": summary["seconds"],
        "curve": [
            [row["step"] / steps * summary["seconds"] for row in rows],
            [row["validation_bits_per_byte"] for row in rows],
        ],
    }


def draw_table(compared: dict[str, dict[str, Any]]) -> Table:
    """The best first."""
    table = Table(box=None, pad_edge=False)
    for column in ("model", "bits per byte", "parameters", "MB", "seconds"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for name, one in sorted(compared.items(), key=lambda item: item[1]["bits_per_byte"]):
        table.add_row(
            name, f"{one['bits_per_byte']:.3f}", f"{one['parameters']:,}",
            f"{one['bytes'] / 1e6:.1f}", f"{one['seconds']:.1f}",
        )  # fmt: skip
    return table


def render(config: CompareConfig, compared: dict[str, dict[str, Any]]) -> str:
    """The page as text."""
    series = [Series(name, *one["curve"]) for name, one in compared.items()]
    ends = " · ".join(f"{name} {one['curve'][1][-1]:.2f}" for name, one in compared.items())
    svg = draw_line_chart(
        series, x_label="seconds", description=f"Bits per byte of held-out text: {ends}"
    )
    content = {
        "title": f"compare {config.data}",
        "svg": svg,
        "legend": list(compared),
        "caption": ends,
        "models": sorted(
            ({"name": name, **one} for name, one in compared.items()),
            key=lambda one: one["bits_per_byte"],
        ),
        "tiles": [
            ("models", str(len(compared))),
            ("seed", str(config.seed)),
            ("time", format_duration(sum(one["seconds"] for one in compared.values()))),
            ("fledge", __version__),
        ],
    }
    return render_page("fledge.report", "compare.html.jinja", content)
