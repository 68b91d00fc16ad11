"""Runs programs that a model wrote, several at once, each in a process of its own under limits.

On Linux the kernel holds them (landlock.py, system_calls.py): no network, no other processes, no
files but a folder of their own and Python's to read, an empty environment. Elsewhere Python does,
which a program that reaches C gets around: `kernel` says which it is. Nothing is pickled.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from fledge.errors import UserError
from fledge.programs import child
from fledge.programs.limits import Outcome, Program, ProgramLimits

BEGINNING_S = 60.0  # for the interpreter to begin
PATIENCE_S = 10.0  # beyond a program's limit, which its own process ends it by
PIECE = 1 << 20


class ProgramPool:
    """Closed by `close`, or as a context. Raises UserError where no process can be begun.

    workers: programs at once, by default as many as there are cores.
    """

    def __init__(self, limits: ProgramLimits | None = None, workers: int | None = None) -> None:
        self.limits = limits or ProgramLimits()
        self.number = workers or os.cpu_count() or 1
        self.restarts = 0
        self._workers: list[_Worker] = []
        self._folder = tempfile.mkdtemp(prefix="fledge-programs-")
        self._close = weakref.finalize(self, _end_all, self._workers, self._folder)

    @property
    def kernel(self) -> bool:
        """Whether the kernel keeps programs from the network and from files; else Python does."""
        return self._begin(1)[0].kernel

    def run(self, programs: Sequence[Program]) -> list[Outcome]:
        """In their order. [N] -> [N]"""
        try:
            return self._run(programs)
        except BaseException:  # such as Ctrl-C: what still runs is no answer to what comes next
            for worker in self._workers:
                worker.end()
            self._workers.clear()
            raise

    def _run(self, programs: Sequence[Program]) -> list[Outcome]:
        waiting = list(enumerate(programs))[::-1]
        outcomes: dict[int, Outcome] = {}
        workers = self._begin(min(self.number, len(programs)))
        while len(outcomes) < len(programs):
            for worker in workers:
                if worker.place is None and waiting:
                    worker.ask(*waiting.pop())
            busy = [worker for worker in workers if worker.place is not None]
            until = min(worker.until for worker in busy)
            ready, _, _ = select.select(busy, [], [], max(0.0, until - time.monotonic()))
            for worker in busy:
                place = worker.place
                assert place is not None
                answer = worker.hear() if worker in ready else None
                gone = worker in ready and worker.gone
                if answer is not None:
                    outcomes[place] = Outcome(**answer)
                elif gone or time.monotonic() > worker.until:
                    seconds = time.monotonic() - worker.began
                    error = "the process that runs programs ended with it"
                    outcomes[place] = Outcome("lost", "", error, seconds)
                    self._replace(workers, worker)
        return [outcomes[i] for i in range(len(programs))]

    def close(self) -> None:
        """Ends the processes, and removes their folder."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(self, number: int) -> list[_Worker]:
        missing = number - len(self._workers)
        self._workers += [_Worker(self.limits, self._folder) for _ in range(missing)]
        return self._workers[:number]

    def _replace(self, workers: list[_Worker], lost: _Worker) -> None:
        lost.end()
        self.restarts += 1
        fresh = _Worker(self.limits, self._folder)
        self._workers[self._workers.index(lost)] = fresh
        workers[workers.index(lost)] = fresh


class _Worker:
    """One process that runs one program at a time. place: of the program among those that were
    asked for, while it runs.
    """

    def __init__(self, limits: ProgramLimits, folder: str) -> None:
        self.limits, self.place, self.gone = limits, None, False
        self.began = self.until = 0.0
        self._buffer = b""
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-I", child.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={"LANG": "C.UTF-8"},  # nothing that its parent knows
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            raise UserError(
                f"no process could be begun to run programs in ({error.strerror}): end some, or "
                "raise the limit of this user's."
            ) from error
        opening = {
            "path": [str(Path(child.__file__).parents[2])],
            "folder": folder,
            "seconds": limits.seconds,
            "memory_mb": limits.memory_mb,
            "output_bytes": limits.output_bytes,
        }
        self._send(opening)
        answer, until = None, time.monotonic() + BEGINNING_S
        while answer is None and not self.gone and time.monotonic() < until:
            if select.select([self], [], [], 1.0)[0]:
                answer = self.hear()
        if answer is None:
            self.end()
            raise UserError(
                f"the process to run programs in did not begin within {BEGINNING_S:g} s: is the "
                "machine out of memory?"
            )
        self.kernel: bool = answer["kernel"]

    def fileno(self) -> int:
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def ask(self, place: int, program: Program) -> None:
        self.place, self.began = place, time.monotonic()
        self.until = self.began + self.limits.seconds + PATIENCE_S
        self._send({"source": program.source, "stdin": program.stdin})

    def hear(self) -> dict[str, Any] | None:
        """Its answer, once all of it has come. `gone` where the process has ended."""
        piece = os.read(self.fileno(), PIECE)
        self.gone = not piece
        self._buffer += piece
        if b"\n" not in self._buffer:
            return None
        line, _, self._buffer = self._buffer.partition(b"\n")
        self.place = None
        return json.loads(line)

    def end(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()
        self.process.wait()

    def _send(self, request: dict[str, Any]) -> None:
        """A process that is gone is noticed when its answer is waited for."""
        assert self.process.stdin is not None
        data = memoryview((json.dumps(request) + "\n").encode())
        with suppress(OSError):
            while data:
                data = data[self.process.stdin.write(data) :]


def _end_all(workers: list[_Worker], folder: str) -> None:
    for worker in workers:
        worker.end()
    workers.clear()
    shutil.rmtree(folder, ignore_errors=True)
