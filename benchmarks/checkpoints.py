"""What a checkpoint costs a run: how long training waits while 1.2 GB of state are saved from a
copy, beside a save that it waits for; and what each of four ranks holds of a model of 100 million
parameters whose weights, gradients and moments are divided (shard=fsdp), beside one process.

Held bytes are counted tensor by tensor when the gradients are there; peak is the resident memory of
a step above that of the same process before the model was made. There is no peer here: the same
training is the measure.
"""

from __future__ import annotations

import ctypes
import gc
import json
import statistics
import tempfile
import time
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from fledge.algorithms.likelihood.supervised import Supervised
from fledge.learner import Learner, Schedule
from fledge.models.language.transformer import Transformer, TransformerConfig
from fledge.policy import TokenPolicy
from fledge.runs.checkpoint import Checkpoints
from fledge.runs.saving import Saving
from fledge.scale.layout import Layout
from fledge.scale.sharding import Sharded
from fledge.stopwatch import Stopwatch
from fledge.trajectories import from_rows
from side_by_side import alternate, finish, options, say, table

RANKS, AIM_STALL, AIM_MEMORY = 4, 0.05, 0.27
TENSORS = 40


def main() -> None:
    given = options(__doc__)
    stall, first = measure_stall(60_000_000 if given.quick else 1_200_000_000, given.quick)
    layers, width = (2, 256) if given.quick else (14, 768)
    with tempfile.TemporaryDirectory() as folder:
        alone = measure_ranks(1, layers, width, Path(folder) / "one")[0]
        each = measure_ranks(RANKS, layers, width, Path(folder) / "four")
    held = max(one["held"] for one in each) / alone["held"]
    waits = statistics.median(stall["async"]) / statistics.median(stall["sync"])
    figures = {
        "seconds training waits": {name: statistics.median(all) for name, all in stall.items()},
        "seconds of the first async save, whose copy is new memory": first,
        "parameters": alone["parameters"],
        "bytes held by one process": alone["held"],
        "bytes held by each rank": [one["held"] for one in each],
        "peak of a step, one process": alone["peak"],
        "peak of a step, each rank": [one["peak"] for one in each],
    }
    rows = [
        *((f"{name}: training waits, s", f"{statistics.median(all):.3f}", f"{min(all):.3f}",
           f"{max(all):.3f}") for name, all in stall.items()),
        *((f"{kind}, MB: one process, a rank", f"{alone[kind] / 1e6:,.0f}",
           *(f"{pick(one[kind] for one in each) / 1e6:,.0f}" for pick in (min, max)))
          for kind in ("held", "peak")),
    ]  # fmt: skip
    aims = [
        {"name": "an async save keeps training waiting, of a sync one", "figure": waits,
         "aim": f"≤ {AIM_STALL}", "holds": waits <= AIM_STALL},
        {"name": f"weights, gradients and moments of a rank of {RANKS}, of one process",
         "figure": held, "aim": f"≤ {AIM_MEMORY}", "holds": held <= AIM_MEMORY},
    ]  # fmt: skip
    finish(given.json, table(("", "median", "lowest", "highest"), rows), {}, figures, {}, aims=aims)


def measure_stall(size: int, quick: bool) -> tuple[dict[str, list[float]], float]:
    """Seconds that `save` takes of training, by kind; and the first of the async ones."""
    numbers = size // 4 // TENSORS
    state = {f"w{n}": torch.randn(numbers) for n in range(TENSORS)}
    steps = iter(range(1, 10**6))
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        kinds = {
            name: Saving(Checkpoints(Path(folder) / name, keep_last=1), staged=name == "async")
            for name in ("sync", "async")
        }

        def save(kind: str) -> float:
            began = time.perf_counter()
            kinds[kind].save(next(steps), state)
            taken = time.perf_counter() - began
            kinds[kind].wait()
            return taken

        first = save("async")
        rounds = 2 if quick else 5
        return alternate({name: lambda name=name: save(name) for name in kinds}, rounds), first


def measure_ranks(world: int, layers: int, width: int, folder: Path) -> list[dict[str, int]]:
    """Bytes of each rank of one training step, after one that made the moments."""
    folder.mkdir()

    def be(rank: int) -> None:
        torch.set_num_threads(1)
        if world > 1:
            distributed.init_process_group(
                "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world,
                timeout=timedelta(minutes=20),
            )  # fmt: skip
        measured = measure_step(layers, width, world > 1)
        (folder / f"{rank}.json").write_text(json.dumps(measured))
        if world > 1:
            distributed.barrier()
            distributed.destroy_process_group()

    processes = [get_context("fork").Process(target=be, args=(rank,)) for rank in range(world)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    say(f"{world} rank{'s' * (world > 1)} measured")
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(world)]


def measure_step(layers: int, width: int, divided: bool) -> dict[str, int]:
    give_back()  # what the saves before left to this process
    before = read_resident("VmRSS:")
    config = TransformerConfig(
        vocab_size=8192, context=64, layers=layers, width=width, heads=width // 64,
        kv_heads=width // 64, mlp_width=8 * width // 3 // 64 * 64, tied=True,
    )  # fmt: skip
    policy = TokenPolicy(Transformer(config))
    parameters = sum(p.numel() for p in policy.parameters())
    if divided:
        Sharded(policy, "cpu", Layout(1, RANKS))
    learner = Learner(policy, Schedule(1e-4, 10), rows_per_micro_batch=1)
    algorithm = Supervised(policy, learner, Stopwatch())
    rows = [[(7 * n + row) % 8192 for n in range(16)] for row in range(RANKS)]
    batch = from_rows(rows, [[False] + [True] * 15 for _ in rows])
    algorithm.update(batch)
    give_back()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here again (man 5 proc)
    held: list[int] = []
    step = learner.optimizer.step

    def count_and_step() -> None:
        moments = [x for each in learner.optimizer.state.values() for x in each.values()]
        gradients = [p.grad for p in learner.parameters if p.grad is not None]
        held.append(sum(map(count_bytes, [*learner.parameters, *gradients, *moments])))
        step()

    learner.optimizer.step = count_and_step  # pyright: ignore[reportAttributeAccessIssue]
    algorithm.update(batch)
    return {"parameters": parameters, "held": held[0], "peak": read_resident("VmHWM:") - before}


def give_back() -> None:
    """Memory that nothing uses, to the system."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def count_bytes(x: Any) -> int:
    """What is in this process, of a tensor that may lie in parts."""
    local = x.to_local() if hasattr(x, "to_local") else x
    return local.numel() * local.element_size()


def read_resident(name: str) -> int:
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return next(int(line[1]) * 1024 for line in lines if line[:1] == [name])


if __name__ == "__main__":
    main()
