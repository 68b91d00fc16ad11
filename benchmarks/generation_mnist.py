"""Nats of binarised MNIST by every family of `fledge imagine` that has a density, one thread each.

`--pictures` is MNIST's t10k-images-idx3-ubyte.gz, drawn to two levels by content (binarise=hash):
9,000 pictures to learn from, some 500 to steer by and 500 to test on. Those are not the published
split of 50,000, and the draw is another. Each family is one run in `--runs`, with as many steps as
took a few minutes where the settings were chosen; what is finished is not trained again, and what
was killed goes on, so that families can be trained side by side and one after the other:

    python benchmarks/generation_mnist.py --pictures FILE --families made,vae
    python benchmarks/generation_mnist.py --pictures FILE --families pixelcnn
    python benchmarks/generation_mnist.py --pictures FILE          # the rest, and the table of all

Settings were chosen by the validation part; the test part is read once, at the end of a run.
`--quick` trains every family for a few steps on the package's digits, in a folder that is removed.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch

import fledge
from fledge.recipes.images.ladder import describe
from fledge.recipes.images.ladder_rungs import Rung
from fledge.runs.atomic import write_json
from side_by_side import finish, judge, options, say, table

FAMILIES: tuple[Rung, ...] = (
    Rung("histogram", "histogram"),
    Rung("chow_liu", "chow_liu"),
    Rung("made", "made", {
        "steps": 900, "masks": 4, "rows_per_step": 64, "learning_rate": 5e-3,
    }),
    Rung("pixelcnn", "pixelcnn", {"steps": 1000, "rows_per_step": 16}),
    Rung("pixel_transformer", "pixel_transformer", {
        "steps": 700, "rows_per_step": 16, "width": 64, "heads": 2, "layers": 2,
        "learning_rate": 3e-3,
    }),
    Rung("vae", "vae", {
        "steps": 600, "network": "conv", "width": 128, "layers": 1, "latents": 32, "draws": 64,
        "rows_per_step": 32, "learning_rate": 6e-3,
    }),
    Rung("diffusion", "diffusion", {
        "steps": 600, "rows_per_step": 32, "width": 16, "multiples": (1, 2, 4), "judged_steps": 10,
        "weighting": "min_snr", "snr_cap": 25.0,
    }),
    Rung("nade", "nade", {"steps": 500, "rows_per_step": 32, "learning_rate": 1e-2}),
    Rung("pixel_lstm", "pixel_lstm", {"steps": 800, "rows_per_step": 16}),
    Rung("wavenet", "wavenet", {
        "steps": 800, "rows_per_step": 16, "width": 32, "learning_rate": 4e-3,
    }),
    Rung("vq", "vq", {"steps": 1000, "rows_per_step": 64}),
)  # fmt: skip
COMMON = {
    "binarise": "hash", "precision": "fp32", "compile": "no", "samples": 32, "judged_samples": 0,
}  # fmt: skip
BEST = ("pixelcnn", "pixel_transformer")
NEAR = 3.0  # nats
LONGEST_S = 30 * 60


def main() -> None:
    given = options(
        __doc__,
        pictures="MNIST's t10k-images-idx3-ubyte.gz",
        families=f"with commas between, of {', '.join(each.title for each in FAMILIES)}; else all",
        runs="the folder of the runs, runs/mnist unless given",
    )
    torch.set_num_threads(1)
    if not (given.quick or given.pictures):
        raise SystemExit("give --pictures FILE: MNIST's t10k-images-idx3-ubyte.gz")
    names = (given.families or ",".join(each.title for each in FAMILIES)).split(",")
    if unknown := set(names) - {each.title for each in FAMILIES}:
        raise SystemExit(f"--families names {', '.join(sorted(unknown))}, which there is not")
    with tempfile.TemporaryDirectory() as removed:
        runs = Path(removed) if given.quick else Path(given.runs or "runs/mnist")
        runs.mkdir(parents=True, exist_ok=True)
        for family in FAMILIES:
            if family.title in names and not (runs / f"{family.title}.json").exists():
                say(family.title)
                train(family, runs, "digits" if given.quick else given.pictures, given.quick)
        done = [
            json.loads(place.read_text())
            for family in FAMILIES
            if (place := runs / f"{family.title}.json").exists()
        ]
    rows = [
        (one["rung"], f"{one['nats']:.2f}", one["measure"], f"{one['parameters']:,}",
         f"{one['steps']:,}", f"{one['seconds']:.0f}", f"{one['processor_seconds']:.0f}")
        for one in done
    ]  # fmt: skip
    heads = ("family", "nats", "measure", "parameters", "steps", "s", "s of the processor")
    finish(given.json, table(heads, rows), {}, {"families": done}, {}, judge_all(done))


def train(family: Rung, runs: Path, data: str, quick: bool) -> None:
    """To the end, and what it came to beside the run, as FAMILY.json. processor_seconds: of all
    that this process did for it, judging too.
    """
    began, folder = time.process_time(), runs / family.folder
    fields = {**COMMON, **family.fields, "data": data, "out": folder, "seed": 0}
    if "steps" in fields:
        fields |= {"steps": 4, "rows_per_step": 4} if quick else {}
        fields |= {"warmup_steps": fields["steps"] // 20, "evaluate_every": fields["steps"] // 4}
    with redirect_stdout(sys.stderr):  # where progress belongs
        if (folder / "config.json").exists():
            run = fledge.resume(folder, verbose=True)
        else:
            run = fledge.imagine(model=family.model, verbose=True, **fields)
    record = describe(family, run.summary, folder)
    record |= {"validation": run.summary["after"]["validation_nats"], "fields": dict(family.fields)}
    record["processor_seconds"] = time.process_time() - began
    write_json(runs / f"{family.title}.json", record)


def judge_all(done: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every aim; one whose figures are not there does not hold."""
    nats = {one["rung"]: one["nats"] for one in done}
    exact = {one["rung"]: one["nats"] for one in done if one["measure"] == "exact"}
    worst = float("inf")
    others = [each for name, each in exact.items() if name not in BEST]
    behind = {name: exact.get(name, worst) - min(others, default=worst) for name in BEST}
    seconds = max((one["seconds"] for one in done), default=worst)
    near = f"≤ {NEAR:g}"
    return [
        *(
            judge(f"nats of {name} beyond the best exact of the others", each, "≤ 0")
            for name, each in behind.items()
        ),
        judge("nats of the VAE's bound beyond MADE", apart(nats, "vae", "made"), near),
        judge(
            "nats of the diffusion's bound beyond the pixel transformer",
            apart(nats, "diffusion", "pixel_transformer"), near,
        ),
        judge("seconds of training of the slowest, one thread", seconds, f"≤ {LONGEST_S}"),
    ]  # fmt: skip


def apart(nats: dict[str, float], one: str, other: str) -> float:
    return nats[one] - nats[other] if one in nats and other in nats else float("inf")


if __name__ == "__main__":
    main()
