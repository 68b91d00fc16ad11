"""With how many threads a run computes: as the user says, as many as are measured to be fastest for
the network at hand as it begins, or as was written down when it did.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import Any

import torch

from fledge import ranks
from fledge.pace import GAIN, Pace, list_choices, threads_are_set
from fledge.recipes.training import LARGE, TrainingConfig, count_parameters
from fledge.runs.atomic import write_json
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.trained_state import copy_module

ROUNDS, AT_LEAST_S = 3, 0.05  # of passes with each number of threads, in turn
LONG_S = 2.0  # a pass so long is of products so large that they are worth every thread
PAYS_AFTER_S = 5.0  # a shorter run is over before measuring has paid


def threads_are_open(threads: int | None, device: str) -> bool:
    """Whether anybody may choose: nobody has said how many, there are several, and they compute.

    threads: the field. Several processes share a machine as their launcher says.
    """
    said = threads is not None or threads_are_set()
    return not said and device == "cpu" and ranks.world() == 1 and torch.get_num_threads() > 1


def choose_threads(
    config: TrainingConfig,
    policy: Any,
    batch: Any,
    precision: str,
    share: Callable[[Any, Any], torch.Tensor],
) -> tuple[int, dict[int, float]]:
    """All that there are, or fewer that are clearly faster on a copy of the policy with a typical
    batch; and seconds of a pass with each number, where it was measured.
    """
    most = torch.get_num_threads()
    is_open = threads_are_open(config.threads, config.on().type)
    # Products of a large one are worth every thread, and a copy of it much of the memory.
    if not is_open or count_parameters(policy) >= LARGE:
        return most, {}
    seconds = time_threads(config, policy, batch, precision, share, list_choices(most))
    best = min(seconds, key=seconds.__getitem__, default=most)
    worse = best != most and seconds[most] > GAIN * seconds[best]
    return best if worse else most, seconds


def time_threads(
    config: TrainingConfig,
    policy: Any,
    batch: Any,
    precision: str,
    share: Callable[[Any, Any], torch.Tensor],
    choices: list[int],
) -> dict[int, float]:
    """Seconds of a pass forward and backward with each number of threads: the mean, for beside
    other programs the best of several passes is one that none of them met. Nothing where they would
    not pay. Afterwards there are as many threads as before.
    """
    twin = copy_module(policy)
    learner = config.learner(twin, precision)
    piece = next(learner.micro_batches.cut(batch)).to(learner.device)

    def take(passes: int) -> float:
        began = time.perf_counter()
        for _ in range(passes):
            with learner.autocast():
                share(twin, piece).backward()
        return time.perf_counter() - began

    before = torch.get_num_threads()
    take(1)
    one = take(1)
    if one > LONG_S or one * config.steps < PAYS_AFTER_S:
        return {}
    passes = max(1, math.ceil(AT_LEAST_S / one))
    taken = dict.fromkeys(choices, 0.0)
    try:
        for _ in range(ROUNDS):
            for threads in choices:
                torch.set_num_threads(threads)
                taken[threads] += take(passes)
    finally:
        torch.set_num_threads(before)
    return {threads: seconds / (ROUNDS * passes) for threads, seconds in taken.items()}


def watch_threads(
    run: Run, record: dict[str, Any], show: Show, *, watched: bool, eager: bool = False
) -> Pace:
    """What computes every step with as many threads as `record`, machine.json, says; where it is
    `watched`, others are tried when steps take another time than usual, and each change is written
    down before it is made. eager: nothing was measured as the run began.
    """
    there = max(torch.get_num_threads(), os.cpu_count() or 1)
    most = max(torch.get_num_threads(), run.lineage.get("threads", 1))

    def keep() -> None:
        # A new object: a checkpoint that is being written has the one before it.
        run.machine = {**record, "thread_changes": [list(change) for change in pace.changes]}
        write_json(run.folder / "machine.json", run.machine)

    pace = Pace(
        min(there, record.get("threads", most)),
        list_choices(min(there, most)) if watched else (),
        [(step, min(there, threads)) for step, threads in record.get("thread_changes", ())],
        keep=keep,
        say=show.line,
        eager=eager,
    )
    return pace
