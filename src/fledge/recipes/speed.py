"""How fast this machine trains: precision and compilation are chosen by measuring, and recorded in
the run.
"""

from __future__ import annotations

import copy
import shutil
import time
from typing import Any

import torch

from fledge.errors import UserError
from fledge.fit import nll, total
from fledge.json_file import read_json
from fledge.policy import TokenPolicy
from fledge.recipes.training import TrainingConfig
from fledge.runs.atomic import write_json
from fledge.runs.folder import Run
from fledge.runs.shapes import Machine
from fledge.runs.show import Show
from fledge.trajectories import Trajectories

# compiling for a CPU takes about a minute: a run shorter than this never earns it back
COMPILE_PAYS_AFTER_S = 600.0


def choose_speed(
    run: Run,
    config: TrainingConfig,
    policy: TokenPolicy,
    batch: Trajectories,
    show: Show,
    *,
    equal_rows: bool = False,
) -> str:
    """The precision, "fp32" or "bf16", measured on a copy of the policy with a typical batch;
    compiles the network if chosen.

    What is not forced by the config is the fastest; machine.json keeps it, and a run that is
    continued uses what stands there.
    equal_rows: every batch has the same shape, so that a network is compiled once: only then is
    compiling tried unasked, and only if the run is long.
    """
    run.machine = _read_kept(run, show)
    if run.machine is None:
        run.machine = _measure(config, policy, batch, show, equal_rows)
        write_json(run.folder / "machine.json", run.machine)
    if run.machine["compile"]:
        policy.network.compile()
    return run.machine["precision"]


def _read_kept(run: Run, show: Show) -> dict[str, Any] | None:
    """What was chosen when the run began, from machine.json, else from a checkpoint: another
    precision has other bits.
    """
    record = run.folder / "machine.json"
    lost = "is missing"
    try:
        return {**read_json(record, Machine)}
    except FileNotFoundError:
        pass
    except UserError as error:
        lost = f"cannot be used ({error})"
    newest = run.checkpoints.latest(lambda _: None)
    if newest is None:
        return None  # nothing has been computed that would have to be continued
    kept = newest[1].get("machine")
    if kept is None:
        show.line(
            f"{record} {lost}: the precision is measured anew, and if it comes out as another, so "
            "do the bits"
        )
        return None
    show.line(f"{record} {lost}: {kept['precision']}, as the checkpoint says")
    write_json(record, kept)
    return kept


def _measure(
    config: TrainingConfig, policy: TokenPolicy, batch: Trajectories, show: Show, equal_rows: bool
) -> dict[str, Any]:
    seconds: dict[str, float] = {}
    best, compiled = config.precision, config.compile == "yes"
    try_compiling = config.compile == "auto" and equal_rows
    if best == "auto" or try_compiling:
        for precision in ("fp32", "bf16") if best == "auto" else (best,):
            seconds[precision] = _time(config, policy, batch, precision, compiled=False)
        best = min(seconds, key=seconds.__getitem__)
        try_compiling = try_compiling and seconds[best] * config.steps > COMPILE_PAYS_AFTER_S
        if try_compiling and shutil.which("c++" if config.on().type == "cpu" else "ptxas"):
            show.line("compiling the model to see whether that is faster (about a minute) …")
            seconds[f"{best} compiled"] = _time(config, policy, batch, best, compiled=True)
            compiled = seconds[f"{best} compiled"] < seconds[best]
    return {
        "precision": best,
        "compile": compiled,
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if config.on().type == "cuda" else "cpu",
        "seconds_per_step": {name: round(value, 5) for name, value in seconds.items()},
    }


def _time(
    config: TrainingConfig, policy: TokenPolicy, batch: Trajectories, precision: str, compiled: bool
) -> float:
    """A forward and backward pass on a copy: the best of three after one to warm up."""
    twin = copy.deepcopy(policy)
    learner = config.learner(twin, precision)
    if compiled:
        twin.network.compile()
    batch = batch[: learner.rows_per_micro_batch or len(batch)].to(learner.device)
    times = []
    for _ in range(4):
        began = time.perf_counter()
        with learner.autocast():
            total(
                nll(twin.log_prob(batch.obs, batch.action, batch.chosen)), batch.chosen, 1.0
            ).backward()
        if learner.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return min(times[1:])
