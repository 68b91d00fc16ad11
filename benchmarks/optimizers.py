"""Loss for less: seconds of `fledge pretrain` to one validation loss, by optimizer and schedule.

Tiny Shakespeare by characters, 4 layers × 128, context 64, 12 rows a step, all sides with one peak
learning rate unless --rate gives another; the same seeds, data and first weights on every side, in
turn.
Seconds are those of the steps up to the first evaluation that reached the loss, at each side's
median step. The text is where benchmarks/shakespeare.py looks for it, or --data FILE.
"""

from __future__ import annotations

import io
import json
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from fledge.recipes.language.pretrain import PretrainConfig, pretrain
from fledge.runs.show import Show
from shakespeare import BATCH, CONTEXT, DECAY, HEADS, LAYERS, WIDTH, corpus
from side_by_side import finish, options, say, table

RATES = {"adamw": 4e-3, "muon": 4e-3}
SIDES = tuple((optimizer, shape) for optimizer in RATES for shape in ("cosine", "wsd"))
WANTED = 2.0  # nats a character
EVERY = 20  # steps from evaluation to evaluation


def train(
    data: str, optimizer: str, shape: str, seed: int, steps: int, rate: float
) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp()) / "run"
    config = PretrainConfig.model_validate(
        {
            "data": data, "tokenizer": "characters", "layers": LAYERS, "width": WIDTH,
            "heads": HEADS, "context": CONTEXT, "row_tokens": CONTEXT,
            "tokens_per_step": BATCH * CONTEXT, "steps": steps, "warmup_steps": steps // 20,
            "learning_rate": rate, "optimizer": optimizer, "schedule": shape,
            "weight_decay": DECAY, "seed": seed, "out": folder, "precision": "fp32",
            "compile": "no", "evaluate_every": EVERY, "evaluation_rows": 256,
        }
    )  # fmt: skip
    pretrain(config, Show(Console(file=io.StringIO())))

    def read(name: str) -> list[dict[str, float]]:
        return [json.loads(line) for line in (folder / name).read_text().splitlines()]

    losses = [
        (row["step"], row["validation_loss"])
        for row in read("metrics.jsonl")
        if "validation_loss" in row
    ]
    step_s = statistics.median(row["total"] for row in read("timings.jsonl"))
    shutil.rmtree(folder.parent)
    reached = next((step for step, loss in losses if loss <= WANTED), None)
    return {"reached": reached, "last": losses[-1][1], "step_s": step_s}


def main() -> None:
    given = options(__doc__, data="the text", rate="of every side, to look for the best")
    data = given.data or str(corpus())
    steps, seeds = (60, 1) if given.quick else (600, 3)
    made: dict[tuple[str, str], list[dict[str, Any]]] = {side: [] for side in SIDES}
    for seed in range(seeds):
        for side in SIDES:
            rate = float(given.rate or RATES[side[0]])
            made[side].append(train(data, *side, seed, steps, rate))
            say(f"seed {seed}, {' '.join(side)}: {made[side][-1]}")

    base = made["adamw", "cosine"]
    ratios: dict[str, float] = {}
    for side, own in made.items():
        if own is base:
            continue
        name, pairs = f"{' '.join(side)} / adamw cosine", list(zip(own, base, strict=True))
        ratios[f"{name}, last loss"] = statistics.median(a["last"] / b["last"] for a, b in pairs)
        if all(one["reached"] for pair in pairs for one in pair):  # else there are no seconds
            ratios[f"{name}, seconds"] = statistics.median(
                a["reached"] * a["step_s"] / (b["reached"] * b["step_s"]) for a, b in pairs
            )
    rows = [
        (
            " ".join(side),
            ", ".join(str(one["reached"]) for one in own),
            f"{1000 * statistics.median(one['step_s'] for one in own):.1f}",
            f"{statistics.median(one['last'] for one in own):.3f}",
        )
        for side, own in made.items()
    ]
    header = ("side", f"steps to {WANTED}", "ms a step", f"loss after {steps}")
    figures = {" ".join(side): own for side, own in made.items()}
    finish(given.json, table(header, rows), ratios, figures, {})


if __name__ == "__main__":
    main()
