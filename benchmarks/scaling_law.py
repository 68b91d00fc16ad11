"""Scaling laws on published runs: whether the re-fit of Chinchilla's points by Besiroglu et al.
2024 lies within our 90 % intervals, and what a law of open_lm's smaller models says of its largest;
and how often such intervals hold the truth, over sweeps simulated from a law that is known, and
from one that is only nearly true.

Data: anchors/ in FLEDGE_DATA (else ../shared/data): the 245 points of Chinchilla's figure
(epoch-research/analyzing-chinchilla), of which the re-fit leaves out the five highest losses, and
104 runs of open_lm (mlfoundations/scaling), a law for each of their three training sets by the loss
on held-out C4.
"""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fledge.evaluate.scaling.bootstrap import fit_with_intervals
from fledge.evaluate.scaling.iso_flop import fit_iso_flop
from fledge.evaluate.scaling.law import Law, Points
from fledge.evaluate.scaling.point_file import read_points
from side_by_side import finish, options, table

PUBLISHED = {"E": 1.82, "A": 482.0, "B": 2085.0, "alpha": 0.348, "beta": 0.366}
LEFT_OUT = 5
GOPHER = 5.76e23  # FLOP, of which Chinchilla is 70 B parameters on 1.4 T tokens


def find_data() -> Path:
    usual = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("FLEDGE_DATA", usual)) / "anchors"


def read_chinchilla(folder: Path) -> Points:
    points = read_points(folder / "chinchilla-extracted.csv")
    return points.take(np.sort(np.argsort(points.loss)[: len(points) - LEFT_OUT]))


def read_open_lm(folder: Path) -> dict[str, Points]:
    """By training set."""
    rows: dict[str, list[tuple[float, float, float]]] = {}
    with gzip.open(folder / "open_lm-scaling.jsonl.gz", "rt") as file:
        for line in file:
            run = json.loads(line)
            sizes = run["hyperparameters"]
            losses = [each["loss"] for each in run["results"] if "c4_val" in str(each["val_data"])]
            if losses:
                row = (float(sizes["params"]), float(sizes["tokens"]), float(losses[0]))
                rows.setdefault(run["dataset_name"], []).append(row)
    return {name: Points(*np.array(each).T) for name, each in rows.items()}


def measure_coverage(sweeps: int) -> dict[str, float]:
    """Of 90 % intervals of sweeps of 16 runs (four budgets, of each four sizes) with 1 % of luck,
    the share that hold the law's own figures at twice the largest budget, and a new run's loss.
    """
    true = Law(1.0, 40.0, 60.0, 0.35, 0.33)
    budgets = np.repeat([6.25e11, 1.25e12, 2.5e12, 5e12], 4)
    sizes = np.sqrt(budgets / 180) * np.tile([0.4, 0.75, 1.4, 2.6], 4)
    tokens, asked = budgets / (6 * sizes), (1e13 / 180) ** 0.5
    wanted, random = 1e13 / (6 * asked), np.random.default_rng(0)
    held = dict.fromkeys(("the law", "a new run", "the best size", *PUBLISHED), 0)
    for seed in range(sweeps):
        loss = true.foretell(sizes, tokens) * np.exp(0.01 * random.normal(size=len(sizes)))
        law = fit_with_intervals(Points(sizes, tokens, loss), resamples=100, seed=seed)
        mean = float(true.foretell(asked, wanted))
        held["the law"] += mean in law.foretell(asked, wanted)
        new = mean * float(np.exp(0.01 * random.normal()))
        held["a new run"] += new in law.foretell_run(asked, wanted)
        held["the best size"] += float(true.best_parameters(1e13)) in law.best_parameters(1e13)
        for name, each in law.parameters.items():
            held[name] += float(getattr(true, name)) in each
    return {name: times / sweeps for name, times in held.items()}


def measure_bent_coverage(sweeps: int, luck: float, bend: float) -> tuple[float, float, float]:
    """Of 90 % intervals for a run of twice the largest size, of sweeps whose law is only nearly
    true: log loss has a smooth random curve over log N besides, of the standard deviation `bend`.
    -> the share that hold the run; that of luck alone; the median half width.
    """
    true = Law(1.0, 40.0, 60.0, 0.35, 0.33)
    size = np.append(np.repeat(4e3 * 2.0 ** np.arange(6), 3), 2.56e5)
    tokens = np.append(np.tile([6e5, 1.5e6, 4e6], 6), 5e6)
    place = np.append(np.repeat(np.arange(6), 3), 6)
    apart = np.arange(7)[:, None] - np.arange(7)
    curve = np.linalg.cholesky(np.exp(-0.5 * (apart / 1.5) ** 2) + 1e-9 * np.eye(7))
    held, lucky, wide = 0, 0, []
    for seed in range(sweeps):
        random = np.random.default_rng(seed)
        log = np.log(true.foretell(size, tokens)) + bend * (curve @ random.normal(size=7))[place]
        loss = np.exp(log + luck * random.normal(size=len(size)))
        law = fit_with_intervals(Points(size[:-1], tokens[:-1], loss[:-1]), resamples=100)
        said = law.foretell_run(size[-1], tokens[-1])
        held += loss[-1] in said
        lucky += loss[-1] in replace(law, tested=None).foretell_run(size[-1], tokens[-1])
        wide.append((said.high - said.low) / 2 / said.value)
    return held / sweeps, lucky / sweeps, float(np.median(wide))


BENT = ((0.01, 0.0), (0.003, 0.01), (0.003, 0.03), (0.001, 0.02))  # luck, bend


def list_bent(sweeps: int) -> list[tuple[str, str, str]]:
    lines = []
    for luck, bend in BENT:
        held, lucky, wide = measure_bent_coverage(sweeps, luck, bend)
        what = f"luck {luck:.1%}, bend {bend:.0%}: intervals that hold a run"
        lines.append((what, f"{held:.0%}", f"± {wide:.1%}; of luck alone {lucky:.0%}"))
    return lines


def main() -> None:
    given = options(__doc__)
    resamples = 100 if given.quick else 1000
    folder = find_data()
    law = fit_with_intervals(read_chinchilla(folder), resamples=resamples)
    lines: list[tuple[str, str, str]] = []
    aims: list[dict[str, Any]] = []
    figures: dict[str, Any] = {}
    for name, each in law.parameters.items():
        lines.append((f"Chinchilla {name}", f"{each.value:.4g}", f"{each.low:.4g}–{each.high:.4g}"))
        figures[f"chinchilla_{name}"] = [each.value, each.low, each.high]
        aims.append(
            {"name": f"the published {name} is within the interval", "figure": each.value,
             "aim": f"{PUBLISHED[name]:g} inside", "holds": PUBLISHED[name] in each}
        )  # fmt: skip
    best = law.best_parameters(GOPHER)
    lines.append(("best size for 5.76e23 FLOP, B", f"{best.value / 1e9:.1f}",
                  f"{best.low / 1e9:.0f}–{best.high / 1e9:.0f}"))  # fmt: skip
    iso = fit_iso_flop(law.fit.points).exponent
    if iso is not None:
        lines.append(("iso-FLOP exponent", f"{iso.value:.3f}", f"{iso.low:.3f}–{iso.high:.3f}"))
    for name, points in sorted(read_open_lm(folder).items()):
        largest = points.parameters == points.parameters.max()
        rest = fit_with_intervals(points.take(~largest), resamples=resamples)
        for size, tokens, loss in zip(
            *(getattr(points.take(largest), field) for field in ("parameters", "tokens", "loss")),
            strict=True,
        ):
            said = rest.foretell_run(size, tokens)
            error = said.value / loss - 1
            figures[f"open_lm_{name}_{size:.3g}_{tokens:.3g}"] = error
            what = f"{name}: {size / 1e9:.1f} B on {tokens / 1e9:.0f} B tokens"
            lines.append((what, f"{error:+.2%}", "inside" if loss in said else "outside"))
    for name, share in measure_coverage(20 if given.quick else 100).items():
        figures[f"coverage: {name}"] = share
        lines.append((f"90 % intervals that hold {name}", f"{share:.0%}", ""))
    lines += list_bent(20 if given.quick else 100)
    finish(given.json, table(("", "", ""), lines), {}, figures, {}, aims)


if __name__ == "__main__":
    main()
