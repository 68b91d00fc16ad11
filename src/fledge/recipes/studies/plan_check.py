"""`fledge plan check`: the plan's figures against what is: collectives of a large model counted on
torch.distributed's fake backend, memory and seconds of a small one measured in 1 and 2 processes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from rich.table import Table

from fledge.costs.communication import list_collectives
from fledge.costs.machine import Machine
from fledge.costs.memory import Phase, find_peak
from fledge.costs.prediction import predict
from fledge.costs.work import RankLayout, Work
from fledge.errors import UserError
from fledge.models.language.presets import transformer_config
from fledge.recipes.studies.plan import start_table
from fledge.recipes.studies.plan_fields import OWN_VOCABULARY, find_sizes
from fledge.runs.show import Show

CLOSE = 0.1  # of what is measured, that memory may be foretold wrong by
ROWS = 8  # of the step that is measured
MEASURED: tuple[tuple[Literal["bf16", "fp32"], RankLayout], ...] = (
    ("fp32", RankLayout(rows=4)),
    ("fp32", RankLayout(gradient_checkpointing=True, rows=4)),
    ("fp32", RankLayout(replicas=2, rows=4)),
    ("fp32", RankLayout(shards=2, rows=4)),
    ("fp32", RankLayout(shards=2, gradient_checkpointing=True, rows=4)),
    ("bf16", RankLayout(shards=2, half=True, rows=4)),
    ("fp32", RankLayout(tensor=2, rows=4)),
)
COUNTED = (8, 64)  # ranks


class PlanCheckConfig(BaseModel):
    """Hold what `fledge plan` foretells against what is. The collectives of one step are counted
    for 8 and 64 ranks that are not there (torch.distributed's fake backend, tensors without
    numbers); memory and seconds are measured in 1 and 2 processes that torchrun starts here. Exit
    code 1 where a count differs, or memory by more than 10 %.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: Literal["nano", "tiny", "mini", "small"] = Field(
        default="mini", description="the preset that is measured, in rows of its context"
    )
    counted: str = Field(
        default="8b", description="the model whose collectives are counted, as in `fledge plan`"
    )


@dataclass(frozen=True)
class Comparison:
    """Of one layout; of several ranks the largest."""

    work: Work
    peak: Phase
    seconds: float  # foretold
    measured: Mapping[str, float]

    @property
    def name(self) -> str:
        return f"{self.work.precision}, {self.work.layout.describe()}"

    @property
    def ratio(self) -> float:
        """Of memory, foretold to measured."""
        return self.peak.size / self.measured["bytes"]

    @property
    def close(self) -> bool:
        return abs(self.ratio - 1) <= CLOSE


def plan_check(config: PlanCheckConfig, show: Show) -> dict[str, Any]:
    """Raises UserError for a model that is not there, and where processes cannot be started."""
    counts = [count(config.counted, ranks, show) for ranks in COUNTED]
    rows = []
    with show.progress("plan check", len(MEASURED), "memory") as watch:
        for number, (precision, layout) in enumerate(MEASURED, 1):
            sizes = transformer_config(config.model, OWN_VOCABULARY)
            work = Work(sizes, ROWS, sizes.context, precision, layout=layout)
            rows.append(measure(work))
            watch.step(number, {"memory": rows[-1].ratio})
    show.print(draw_measured(rows))
    broken = [row for row in rows if not row.close]
    for row in broken:
        show.line(f"✗ memory of {row.name}: {row.ratio:.0%} of what is measured")
    return {
        "holds": not broken and all(each["equal"] for each in counts),
        "counted": counts,
        "measured": [
            {
                "layout": row.name,
                "bytes_predicted": row.peak.size,
                "bytes": row.measured["bytes"],
                "seconds_predicted": row.seconds,
                "seconds": row.measured["seconds"],
            }
            for row in rows
        ],
    }


def count(model: str, ranks: int, show: Show) -> dict[str, Any]:
    """The collectives of a step of two micro-batches, divided over so many ranks."""
    from fledge.scale.traced_step import as_counted, count_collectives

    layout = RankLayout(shards=ranks)
    work = Work(find_sizes(model), 2 * ranks, 8, "fp32", layout=layout)
    foretold, counted = as_counted(list_collectives(work)), count_collectives(work)
    table = start_table(f"{model} on {ranks} ranks")
    for column in ("MB", "foretold", "counted"):
        table.add_column(column, justify="right")
    for kind, size in foretold | counted:
        key = (kind, size)
        table.add_row(kind, f"{size / 1e6:,.1f}", f"{foretold[key]:,}", f"{counted[key]:,}")
    show.print(table)
    equal = foretold == counted
    show.line(("✓ equal" if equal else "✗ they differ") + "\n")
    return {
        "ranks": ranks,
        "equal": equal,
        "collectives": [
            {"kind": kind, "bytes": size, "predicted": foretold[kind, size], "counted": number}
            for (kind, size), number in counted.items()
        ],
    }


def measure(work: Work) -> Comparison:
    """In as many processes as the layout has ranks, each with one thread."""
    from fledge.scale.measured_step import describe_work

    words = [sys.executable, "-m"]
    if work.layout.ranks > 1:
        words += ["torch.distributed.run", "--standalone"]
        words += ["--nproc-per-node", str(work.layout.ranks), "-m"]
    done = subprocess.run(
        [*words, "fledge.scale.measured_step", describe_work(work)],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        raise UserError(
            f"{work.layout.ranks} processes could not be measured here ({last}): see whether "
            "`torchrun` starts any on this machine."
        )
    each = json.loads(done.stdout.splitlines()[-1])
    most = {name: max(rank[name] for rank in each) for name in ("bytes", "seconds")}
    rate, link = (min(rank[name] for rank in each) for name in ("rate", "link"))
    # A process has the machine's memory to itself but for the others: its bandwidth stands for the
    # optimizer's, which is little here.
    machine = Machine("this CPU", 0, {work.precision: rate}, 1e10, link, link)
    return Comparison(work, find_peak(work, on_cpu=True), predict(work, machine, 1).seconds, most)


def draw_measured(rows: list[Comparison]) -> Table:
    table = start_table("measured here")
    for column in ("MB foretold", "measured", "", "steps/s foretold", "measured"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            row.name, f"{row.peak.size / 1e6:,.1f}",
            f"{row.measured['bytes'] / 1e6:,.1f}", f"{row.ratio:.0%}",
            f"{1 / row.seconds:,.2f}", f"{1 / row.measured['seconds']:,.2f}",
        )  # fmt: skip
    return table
