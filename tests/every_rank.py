"""One function of a test in several processes that train together, over gloo, and what each of them
gave.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import distributed


def on_ranks(world: int, ask: Callable[[], Any], folder: Path) -> list[Any]:
    """What `ask` gives on rank 0, 1, …; the processes are forked, so that it may be any function.

    folder: an empty one, where they meet and write.
    """
    folder.mkdir()

    def be(rank: int) -> None:
        torch.set_num_threads(1)
        distributed.init_process_group(
            "gloo",
            init_method=f"file://{folder}/meeting",
            rank=rank,
            world_size=world,
            timeout=timedelta(seconds=120),
        )
        torch.save(ask(), folder / f"{rank}.pt")
        # nobody leaves while the other may still ask: gloo aborts then, now and again
        distributed.barrier()
        distributed.destroy_process_group()

    processes = [get_context("fork").Process(target=be, args=(rank,)) for rank in range(world)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * world
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(world)]
