"""One command line in several processes that train together, as torchrun starts them."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.context import ForkProcess
from pathlib import Path

import torch
from tests.cli.commands import Done

from fledge.cli.main import main


@dataclass(frozen=True)
class Ranks:
    """Processes that are under way; their output is in `folder`."""

    processes: list[ForkProcess]
    folder: Path
    began: float

    def kill(self, rank: int, number: int = signal.SIGKILL) -> None:
        pid = self.processes[rank].pid
        assert pid is not None
        with suppress(ProcessLookupError):
            os.kill(pid, number)

    def wait(self, timeout_s: float = 120.0) -> list[Done]:
        """How each ended. Whoever has not ended in time is killed, and its code is −9."""
        for process in self.processes:
            process.join(max(0.0, self.began + timeout_s - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        seconds = time.monotonic() - self.began
        return [
            Done(
                int(process.exitcode or 0),
                (self.folder / f"{rank}.out").read_text(),
                (self.folder / f"{rank}.err").read_text(),
                seconds,
            )
            for rank, process in enumerate(self.processes)
        ]


def start_together(
    words: str | Sequence[str] | Mapping[int, Sequence[str]],
    *,
    world: int,
    folder: Path,
    port: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Ranks:
    """Forked from this process, which has imported everything. words: of each rank, where they
    differ.
    """
    said = folder / f"said-{time.monotonic_ns()}"
    said.mkdir()
    for rank in range(world):  # there even of a rank that is killed before it says anything
        for name in ("out", "err"):
            (said / f"{rank}.{name}").touch()
    port = port or find_free_port()

    def be(rank: int) -> None:
        os.environ.update(
            RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world),
            MASTER_ADDR="localhost", MASTER_PORT=str(port), **(environment or {}),
        )  # fmt: skip
        os.chdir(folder)
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(said / f"{rank}.{name}", os.O_WRONLY | os.O_CREAT, 0o644), number)
        import sys

        sys.stdout, sys.stderr = (os.fdopen(n, "w", closefd=False) for n in (1, 2))
        torch.set_num_threads(1)
        own = words[rank] if isinstance(words, Mapping) else words
        main(own.split() if isinstance(own, str) else list(own))

    context = get_context("fork")
    processes = [context.Process(target=be, args=(rank,)) for rank in range(world)]
    for process in processes:
        process.start()
    return Ranks(processes, said, time.monotonic())


def together(words: str | Sequence[str], *, world: int, folder: Path) -> list[Done]:
    return start_together(words, world=world, folder=folder).wait()


def find_free_port() -> int:
    with socket.create_server(("localhost", 0)) as server:
        return server.getsockname()[1]
