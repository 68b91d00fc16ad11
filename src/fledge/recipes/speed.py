"""How fast this machine trains: precision, compilation and threads are chosen by measuring, and
recorded in the run.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from fledge import ranks
from fledge.errors import UserError
from fledge.fit import nll, total
from fledge.heap import trim_heap
from fledge.json_file import read_json
from fledge.models.language.mixture import MixtureOfExperts
from fledge.policy import TokenPolicy
from fledge.recipes.threads import choose_threads
from fledge.recipes.training import LARGE, TrainingConfig, count_parameters
from fledge.runs.atomic import write_json
from fledge.runs.folder import Run
from fledge.runs.shapes import Machine
from fledge.runs.show import Show
from fledge.trained_state import copy_module
from fledge.trajectories import Trajectories
from fledge.waiting import describe_waiting

# compiling for a CPU takes about a minute: a run shorter than this never earns it back
COMPILE_PAYS_AFTER_S = 600.0
ONCE = 2**24  # bytes worth giving back where that is done once a run


# What a policy is trained by: its loss on a batch, or what costs as much.
Share = Callable[[Any, Any], Tensor]

LONG_S = 2.0  # a pass that takes so long is the same to a few percent each time


@dataclass(frozen=True)
class Speed:
    """How a run computes.

    record: machine.json, with what was measured. kept: whether that file says so already.
    """

    record: dict[str, Any]
    kept: bool = False

    @property
    def precision(self) -> str:
        """ "fp32" or "bf16"."""
        return self.record["precision"]

    def describe(self) -> str:
        """In which precision, and where."""
        where = self.record["device"]
        threads = self.record["threads"]
        if where == "cpu":
            where = f"the CPU with {threads} {'thread' if threads == 1 else 'threads'}"
        return f"in {self.precision} on {where}"

    @property
    def threads(self) -> int:
        """Of the first step, as many as this machine can give."""
        there = max(torch.get_num_threads(), os.cpu_count() or 1)
        return min(there, self.record.get("threads", torch.get_num_threads()))

    @property
    def compiled(self) -> bool:
        """Whether the network is to be compiled."""
        return self.record["compile"]

    def keep(self, run: Run) -> None:
        """Write machine.json, and have every checkpoint hold the same: another precision has other
        bits.
        """
        run.machine = self.record
        if not self.kept:
            write_json(run.folder / "machine.json", self.record)


def choose_speed(
    run: Run,
    config: TrainingConfig,
    policy: Any,  # a TokenPolicy, or what else has a `network` that learns by the share
    batch: Any,
    show: Show,
    *,
    equal_rows: bool = False,
    share: Share | None = None,
) -> Speed:
    """What the run was begun with; for a new one what is not forced by the config is the fastest,
    measured on a copy of the policy with a typical batch. Nothing is changed by it.

    equal_rows: every batch has the same shape, so that a network is compiled once: only then is
        compiling tried unasked, and only if the run is long.
    """
    return ranks.from_first(
        lambda: (
            recall_speed(run, show)
            or measure_speed(config, policy, batch, show, equal_rows, share or share_of_likelihood)
        )
    )


def settle_speed(
    run: Run,
    config: TrainingConfig,
    policy: Any,  # a TokenPolicy, or what else has a `network` that learns by the share
    batch: Any,
    show: Show,
    *,
    equal_rows: bool = False,
    share: Share | None = None,
) -> Speed:
    """Choose, keep it in the run, and compile the policy's network in place if that is chosen; from
    here on a process that trains alone has so many threads.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    speed = choose_speed(run, config, policy, batch, show, equal_rows=equal_rows, share=share)
    speed.keep(run)
    if ranks.world() == 1:
        torch.set_num_threads(speed.threads)
    if speed.compiled:
        compile_network(policy.network)
    return speed


def compile_network(network: nn.Module) -> None:
    """In place. Experts are called as they are: how many tokens each has is known only as it is
    computed, and would be compiled for anew.
    """
    leave_experts()
    network.compile()


@cache
def leave_experts() -> None:
    """Once in a process, and not where the class is made: it imports the compiler."""
    kind: Any = MixtureOfExperts
    kind.forward = torch.compiler.disable(kind.forward)


def recall_speed(run: Run, show: Show) -> Speed | None:
    """What was chosen when the run began, from machine.json, else from a checkpoint; None where
    nothing has been computed yet, or nothing says how.
    """
    record = run.folder / "machine.json"
    lost = "is missing"
    try:
        return Speed({**read_json(record, Machine)}, kept=True)
    except FileNotFoundError:
        pass
    except UserError as error:
        lost = f"cannot be used ({error})"
    newest = run.checkpoints.latest(lambda _: None)
    if newest is None:
        return None  # nothing has been computed that would have to be continued
    machine = newest[1].get("machine")
    if machine is None:
        show.line(
            f"{record} {lost}: how the run computes is chosen anew, and if that comes out "
            "otherwise, so do the bits"
        )
        return None
    show.line(f"{record} {lost}: {machine['precision']}, as the checkpoint says")
    return Speed(machine)


def measure_speed(
    config: TrainingConfig, policy: Any, batch: Any, show: Show, equal_rows: bool, share: Share
) -> Speed:
    """The fastest of what the config leaves open."""
    seconds: dict[str, float] = {}
    best, compiled = config.precision, config.compile == "yes"
    try_compiling = config.compile == "auto" and equal_rows
    if best == "auto" or try_compiling:
        if count_parameters(policy) >= LARGE:
            show.line("measuring which precision is faster …")
        for precision in ("fp32", "bf16") if best == "auto" else (best,):
            seconds[precision] = time_step(config, policy, batch, precision, share, compiled=False)
        best = min(seconds, key=seconds.__getitem__)
        try_compiling = try_compiling and seconds[best] * config.steps > COMPILE_PAYS_AFTER_S
        if try_compiling and shutil.which("c++" if config.on().type == "cpu" else "ptxas"):
            show.line("compiling the model to see whether that is faster (about a minute) …")
            seconds[f"{best} compiled"] = time_step(
                config, policy, batch, best, share, compiled=True
            )
            compiled = seconds[f"{best} compiled"] < seconds[best]
    threads = torch.get_num_threads()  # as which a network is compiled
    if not compiled:
        threads, passes = choose_threads(config, policy, batch, best, share)
        seconds |= {f"{best}, threads: {number}": one for number, one in passes.items()}
    trim_heap(ONCE)  # of what the copies took, between which a step's own would not fit
    return Speed(
        {
            "precision": best,
            "compile": compiled,
            "threads": threads,
            "waiting": describe_waiting(),
            "device": torch.cuda.get_device_name() if config.on().type == "cuda" else "cpu",
            "seconds_per_step": {name: round(value, 5) for name, value in seconds.items()},
        }
    )


def share_of_likelihood(policy: TokenPolicy, batch: Trajectories) -> Tensor:
    """Of rows that a policy said."""
    return total(nll(policy.log_prob(batch.obs, batch.action, batch.chosen)), batch.chosen, 1.0)


def time_step(
    config: TrainingConfig, policy: Any, batch: Any, precision: str, share: Share, compiled: bool
) -> float:
    """Seconds of a forward and backward pass on a copy: the best of three after one to warm up, or
    one that takes seconds.
    """
    twin = copy_module(policy)
    learner = config.learner(twin, precision)
    if compiled:
        compile_network(twin.network)
    batch = next(learner.micro_batches.cut(batch)).to(learner.device)
    times: list[float] = []
    while len(times) < 4 and not (len(times) > 1 and times[-1] > LONG_S):
        began = time.perf_counter()
        with learner.autocast():
            share(twin, batch).backward()
        if learner.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return min(times[1:])
