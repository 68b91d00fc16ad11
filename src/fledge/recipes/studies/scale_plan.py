"""Which runs a time buys: budgets that grow by a factor, each spent on several sizes, and one run
of a larger budget and size that is to be foretold.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from fledge.errors import UserError
from fledge.evaluate.scaling.law import TRAINING_FLOP
from fledge.json_file import read_json
from fledge.models.language.presets import transformer_config
from fledge.models.language.transformer import Transformer
from fledge.runs.atomic import write_json

# (layers, width): one family, for a law holds within one. The MLP is of one proportion, and so are
# heads in what minutes reach, where there are two: a sweep whose smaller models had one head and
# whose last had two foretold that one 3 to 4 % too high. Models of one layer are none of it: they
# cannot look up what followed a word before.
SIZES = (
    (3, 8), (3, 12), (3, 16), (3, 20), (3, 24), (3, 28), (3, 32), (3, 40), (3, 48), (3, 56),
    (3, 64), (3, 80), (3, 96), (3, 112), (3, 128), (4, 144), (4, 176), (5, 192), (5, 224),
    (6, 256), (6, 320), (7, 384), (8, 448), (9, 512), (10, 640), (12, 768), (14, 896), (16, 1024),
)  # fmt: skip
HEAD_WIDTH = 64  # about, of wider networks
GROWTH = 2.0  # of one budget over the one before it, and of the foretold one over the last
SPREAD = (0.3, 0.55, 1.0, 1.9)  # parameters of a budget's runs, as parts of the middle size
LARGER = 1.5  # parameters of the foretold run, at least, over those of the largest before it
TOKENS_A_PARAMETER = 25  # at the middle size
FEWEST_STEPS = 300  # of fewer the warm-up and the schedule say more than size and tokens
FEWEST_SIZES = 5  # three that tell a power, and two that could fail it
RUN_SECONDS = 4.0  # of a run beside its steps: text, evaluations, files
SHARE_OF_TIME = 0.9


@dataclass(frozen=True)
class PlannedRun:
    """parameters: of all matrices. steps: of `tokens_per_step` tokens."""

    layers: int
    width: int
    parameters: int
    steps: int

    @property
    def name(self) -> str:
        return f"{self.layers}x{self.width}-{self.steps}"


@dataclass(frozen=True)
class Sweep:
    """foretold: the run that the law of the others foretells."""

    runs: tuple[PlannedRun, ...]
    foretold: PlannedRun


def plan_sweep(
    minutes: float, budgets: int, tokens_per_step: int, vocabulary: int, context: int,
    processes: int, seconds_a_step: Callable[[int, int], float],
) -> Sweep:  # fmt: skip
    """The largest sweep that fits. Raises UserError where none does, with what would.

    processes: that share the runs; the foretold one is left to one of them. seconds_a_step: of
    (layers, width), measured.
    """
    known: dict[tuple[int, int], tuple[int, float]] = {}

    def look(size: tuple[int, int]) -> tuple[int, float]:
        if size not in known:
            layers, width = size
            known[size] = (
                count_parameters(layers, width, vocabulary, context),
                seconds_a_step(layers, width),
            )
        return known[size]

    def lay_out(last: float) -> Sweep | None:
        runs: dict[str, PlannedRun] = {}
        for number in range(budgets):
            flop = last * GROWTH ** (number + 1 - budgets)
            for size in choose_sizes(flop, vocabulary, context):
                one = make_run(size, flop, tokens_per_step, vocabulary, context)
                runs[one.name] = one
        kept = [one for one in runs.values() if one.steps >= FEWEST_STEPS]
        sizes = {one.parameters for one in kept}
        if len(kept) < 3 * budgets or len(sizes) < FEWEST_SIZES:
            return None
        least = LARGER * max(sizes)
        counted = (size for size in SIZES if count_parameters(*size, vocabulary, context) >= least)
        if (larger := next(counted, None)) is None:
            return None
        foretold = make_run(larger, last * GROWTH, tokens_per_step, vocabulary, context)
        return Sweep(tuple(kept), foretold) if foretold.steps >= FEWEST_STEPS else None

    def count_seconds(sweep: Sweep) -> float:
        *shared, last = (
            RUN_SECONDS + one.steps * look((one.layers, one.width))[1]
            for one in (*sweep.runs, sweep.foretold)
        )
        return max(max(shared), sum(shared) / processes) + last

    best, least = None, math.inf
    for quarter in range(4 * 20, 4 * 60):  # budgets from 10⁵ FLOP on, a third more each
        sweep = lay_out(10 ** (quarter / 8 - 5))
        if sweep is None:
            continue
        seconds = count_seconds(sweep)
        least = min(least, seconds)
        if seconds > SHARE_OF_TIME * 60 * minutes:
            break
        best = sweep
    if best is None:
        raise UserError(
            f"minutes={minutes:g} is too short: the smallest sweep of {budgets} budgets takes "
            f"about {least / SHARE_OF_TIME / 60:.2g} here. Give as many, or a smaller "
            "tokens_per_step."
        )
    return best


def choose_sizes(flop: float, vocabulary: int, context: int) -> list[tuple[int, int]]:
    """Of a budget's runs: the nearest there are to each part of its middle size."""
    middle = math.sqrt(flop / (TRAINING_FLOP * TOKENS_A_PARAMETER))
    chosen: dict[tuple[int, int], None] = {}
    for part in SPREAD:
        wanted = math.log(part * middle)
        nearest = min(
            SIZES, key=lambda s: abs(math.log(count_parameters(*s, vocabulary, context)) - wanted)
        )
        chosen[nearest] = None
    return list(chosen)


def make_run(
    size: tuple[int, int], flop: float, tokens_per_step: int, vocabulary: int, context: int
) -> PlannedRun:
    parameters = count_parameters(*size, vocabulary, context)
    steps = round(flop / (TRAINING_FLOP * parameters * tokens_per_step))
    return PlannedRun(*size, parameters, steps)


def describe_size(layers: int, width: int) -> dict[str, int]:
    """The fields of `pretrain` for such a network."""
    most = max(2, round(width / HEAD_WIDTH))
    heads = next(h for h in range(most, 0, -1) if width % (2 * h) == 0)
    return {
        "layers": layers, "width": width, "heads": heads, "kv_heads": heads, "mlp_width": 3 * width,
    }  # fmt: skip


def count_parameters(layers: int, width: int, vocabulary: int, context: int) -> int:
    return transformer_config(
        "tiny", vocabulary, context=context, **describe_size(layers, width)
    ).parameters


def measure_step(
    layers: int, width: int, vocabulary: int, context: int, rows: int, device: torch.device
) -> float:
    """Seconds of a training step here, the quickest of three."""
    sizes = transformer_config("tiny", vocabulary, context=context, **describe_size(layers, width))
    network = Transformer(sizes, border=None, generator=torch.Generator().manual_seed(0)).to(device)
    optimizer = torch.optim.AdamW(network.parameters())
    tokens = torch.randint(vocabulary, (rows, context), device=device)
    times = []
    for _ in range(3):
        began = time.perf_counter()
        logits = network(tokens) @ network.unembedding.T
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        float(loss.detach())
        times.append(time.perf_counter() - began)
    return min(times)


def save_sweep(path: Path, sweep: Sweep) -> None:
    write_json(path, asdict(sweep))


def load_sweep(path: Path) -> Sweep:
    """Raises UserError for a damaged file."""
    record: Any = read_json(path, dict[str, Any])
    return TypeAdapter(Sweep).validate_python(record)
