"""EM for a mixture of normals, full covariances: our pass against scikit-learn's GaussianMixture.

`middle` is 100,000 points of 16 columns, 16 components; `large` 1,000,000 × 32, 64 components. Both
begin from the same weights, means and precisions, and a round is one iteration of each; the first
is not counted where there are more than two. Of scikit-learn that is its own E-step and M-step
alone, without the checks that its `fit` makes around them. All may use every thread. Ours is
measured as it is (`ours, double`), and with the products in single precision that precision=mixed
makes while the bound still rises by 0.001 or more (`ours`); scikit-learn likewise on float64 and on
float32 points. The bound after the last iteration must be that of scikit-learn in float64: all take
it before the M-step. A ratio is to the faster of scikit-learn's two whose bound agrees to 1e-6. No
round begins after `--seconds`. Memory is what a process of its own needed at its peak beyond the
data, of 100,000 points: ours does not grow with their number, scikit-learn's does. `--case large
--rounds 1` is one iteration of each.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fledge.algorithms.latent.gaussian_em import GaussianEM
from fledge.models.latent.gaussian_mixture import GaussianMixture
from fledge.rows.points import from_array
from fledge.sample.points import Block
from side_by_side import finish, judge, options, say, speed_up, table

SIZES = {"middle": (100_000, 16, 16), "large": (1_000_000, 32, 64)}
QUICK = {"middle": (20_000, 8, 8), "large": (40_000, 16, 16)}
AIMS = {"middle": 6.0, "large": 10.0}
SAME, SECONDS, PEAK_POINTS = 1e-6, 60.0, 100_000


def draw(N: int, D: int, K: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Points of K clusters that overlap, and a start near them."""
    random = np.random.default_rng(0)
    centre = random.normal(size=(K, D)) * 1.5
    x = centre[random.integers(0, K, N)]
    x += random.normal(size=x.shape)
    start = {
        "weights_init": np.full(K, 1 / K),
        "means_init": centre + 0.3 * random.normal(size=(K, D)),
        "precisions_init": np.stack([np.eye(D)] * K),
    }
    return x, start


class Ours:
    single = True

    def __init__(self, x: np.ndarray, start: dict[str, np.ndarray]) -> None:
        weight, mean, precision = (torch.from_numpy(each) for each in start.values())
        self.points = Block(from_array(torch.from_numpy(x)), 0, 1)
        settings = GaussianEM.Settings(k=str(len(weight)), floor=1e-9, tolerance=0)
        self.em = GaussianEM(settings)
        first = GaussianMixture("full", weight, mean, torch.linalg.inv(precision))
        self.em.begin(self.points.points, first)

    def step(self) -> float:
        self.em.precise = not self.single  # it would change over as soon as the bound stands
        return self.em.update(self.points)["elbo"]


class OursInDouble(Ours):
    single = False


class Theirs:
    dtype: type = np.float64

    def __init__(self, x: np.ndarray, start: dict[str, np.ndarray]) -> None:
        from sklearn.mixture import GaussianMixture as Peer

        x, K = x.astype(self.dtype, copy=False), len(start["weights_init"])
        self.x = x
        same: Any = {name: each.astype(self.dtype) for name, each in start.items()}
        self.peer: Any = Peer(K, reg_covar=0, max_iter=1, tol=0, **same)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.peer.fit(x[: 50 * K])  # checks, and makes what a step needs
        self.peer.weights_, self.peer.means_ = same["weights_init"], same["means_init"]
        self.peer.precisions_cholesky_ = np.stack([np.eye(x.shape[1], dtype=self.dtype)] * K)

    def step(self) -> float:
        bound, log_r = self.peer._e_step(self.x)
        self.peer._m_step(self.x, log_r)
        return float(bound)


class TheirsInSingle(Theirs):
    dtype = np.float32


PEER = "scikit-learn"
SIDES = {
    "ours": Ours,
    "ours, double": OursInDouble,
    PEER: Theirs,
    "scikit-learn, float32": TheirsInSingle,
}


def measure_peak(side: str, size: tuple[int, int, int]) -> None:
    """In a process of its own: prints the megabytes that two steps needed beyond the data."""
    x, start = draw(*size)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before = read_peak()
    made = SIDES[side](x, start)
    for _ in range(2):
        made.step()
    print(json.dumps(read_peak() - before))


def read_peak() -> float:
    """The most memory that this process has held, in megabytes."""
    text = Path("/proc/self/status").read_text()
    return int(text[text.index("VmHWM:") :].split()[1]) / 1024


def ask_peak(side: str, size: tuple[int, int, int]) -> float:
    words = [sys.executable, __file__, "--peak", side, "--size", ",".join(map(str, size))]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def compare(size: tuple[int, int, int], rounds: int, most_seconds: float) -> dict[str, Any]:
    """Times of an iteration, the bounds after the last, and the peaks."""
    x, start = draw(*size)
    made = {name: kind(x, start) for name, kind in SIDES.items()}
    times: dict[str, list[float]] = {name: [] for name in SIDES}
    bounds: dict[str, float] = {}
    began, done = time.perf_counter(), 0
    while done < min(2, rounds) or (done < rounds and time.perf_counter() - began < most_seconds):
        for name, side in made.items():
            before = time.perf_counter()
            bounds[name] = side.step()
            times[name].append(time.perf_counter() - before)
        done += 1
        say(f"round {done} of {rounds}")
    say(f"bounds after {done} iterations: {bounds}")
    if done > 2:
        times = {name: each[1:] for name, each in times.items()}
    del made
    small = (min(size[0], PEAK_POINTS), *size[1:])
    peaks = {name: max(ask_peak(name, small), 0.1) for name in SIDES}
    return {"seconds": times, "bounds": bounds, "peak_megabytes": peaks}


def main() -> None:
    given = options(
        __doc__, rounds="iterations of each, 8 unless given", case="one: middle or large",
        seconds="of a case, after which no round begins, 60 unless given",
        peak="measures the memory of one side", size="N,D,K of it",
    )  # fmt: skip
    if given.peak:
        N, D, K = map(int, given.size.split(","))
        return measure_peak(given.peak, (N, D, K))
    ratios, figures, rows, aims = {}, {}, [], []
    for name, size in (QUICK if given.quick else SIZES).items():
        if given.case not in (None, name):
            continue
        say(f"{name}: {size[0]:,} × {size[1]}, {size[2]} components")
        rounds = int(given.rounds or (2 if given.quick else 8))
        compared = compare(size, rounds, float(given.seconds or SECONDS))
        figures[name] = compared
        times, bounds, peaks = compared.values()
        apart = {side: abs(bounds[side] / bounds[PEER] - 1) for side in SIDES}
        right = [side for side in (PEER, "scikit-learn, float32") if apart[side] <= SAME]
        peer = min(right, key=lambda side: statistics.median(times[side]))
        for side in ("ours", "ours, double"):
            ratios[f"{name}: an iteration, {side} / scikit-learn"] = speed_up(times, side, peer)
            aims.append(judge(f"{name}: bound of {side}, apart", apart[side], f"≤ {SAME}"))
        ratios[f"{name}: an iteration, ours, double / scikit-learn on float64"] = speed_up(
            times, "ours, double", PEER
        )
        ratios[f"{name}: peak memory, ours / scikit-learn"] = peaks["ours"] / peaks[PEER]
        for side in SIDES:
            seconds = sorted(times[side])[len(times[side]) // 2]
            row = f"{seconds:.3f}", f"{peaks[side]:,.0f}", f"{apart[side]:.1e}"
            rows.append((f"{name}, {side}", *row))
    targets = {}
    for name, aim in AIMS.items():
        targets[f"{name}: an iteration, ours / scikit-learn"] = f"≥ {aim:g}"
        targets[f"{name}: peak memory, ours / scikit-learn"] = "≤ 0.333"
    text = table(("", "seconds an iteration", "MB beyond the data", "bound apart"), rows)
    return finish(given.json, text, ratios, figures, targets, aims)


if __name__ == "__main__":
    main()
