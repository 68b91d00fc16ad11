"""A Python file of the user's in a process of its own: begun, asked over a socket, limited in time
and memory, ended.

What the file does to its process (a loop, an exit, a crash, 6 GB, another folder, closed files)
reaches the trainer as one Failure, with the file and the line. No pickle: a line of JSON each way.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
import warnings
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fledge.tasks import judge_child
from fledge.tasks.shown_output import ShownOutput

BEGINNING_S = 60.0  # for the interpreter to begin: no code of the user's has run by then
LOADING_CALLS = (
    4  # the file is imported and its prompts listed within so many times the limit of a call
)
# between two looks at whether the process lives: one that it forked may hold the socket open
LOOK_S = 0.1
FAULT_S = 0.5  # for a process that hangs to say where


@dataclass(frozen=True)
class Limits:
    """seconds: of one call of score(), scores() or reply(). memory_gb: that the process may take.
    failed_score: of an answer it failed on.

    say: is told, once, of the first answer that the judge failed on.
    """

    seconds: float = 30.0
    memory_gb: float = 4.0
    failed_score: float = 0.0
    say: Callable[[str], Any] = warnings.warn


class Failure(Exception):
    """The judge's process hung or died: the sentence that says where."""


class OwnProcess:
    """The process of one file; `begin` starts it, and starts another where one is gone."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path, self.limits = path, limits
        self._close: Callable[[], object] = lambda: None

    def begin(self, seed: int) -> dict[str, Any]:
        """Starts the process and has the file loaded in it: what that said of it. Raises Failure
        where it hangs or dies meanwhile.
        """
        shown = ShownOutput() if _is_open(2) else None
        ours, theirs = socket.socketpair()
        faults, write_faults = os.pipe()
        # Where whoever started the trainer has closed its output, one of these may have the number
        # that is printed to.
        numbers = [
            fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3)
            for number in (theirs.fileno(), write_faults)
        ]
        sizes = [int(self.limits.memory_gb * 1e9), self.limits.seconds]
        try:
            self.process = subprocess.Popen(
                # -P: no folder of fledge's or the user's may hide a module of Python's
                [sys.executable, "-P", judge_child.__file__, *map(str, [*numbers, *sizes])],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # until the process makes it its standard error
                stderr=subprocess.DEVNULL if shown is None else shown.write,
                pass_fds=numbers,
                # Ctrl-C is the trainer's to answer, and one signal ends all that it forks
                start_new_session=True,
            )
        finally:
            theirs.close()
            for number in (write_faults, *numbers, *([] if shown is None else [shown.write])):
                os.close(number)
        os.set_blocking(faults, False)
        self._socket, self._faults, self._buffer, self._shown = ours, faults, b"", shown
        self._close = weakref.finalize(self, _end, self.process, ours, faults, shown)
        try:
            self.send({"file": str(self.path), "seed": seed, "path": sys.path})
            self.receive(BEGINNING_S, "as it began", "the interpreter")
            limit = LOADING_CALLS * self.limits.seconds
            return self.receive(limit, "while the file was loaded", "the file")
        except Failure:
            self.close()
            raise

    def close(self) -> None:
        """Ends the process, and what it has forked."""
        self._close()

    def renew_output(self) -> None:
        """What the file prints is shown again, up to its limit."""
        if self._shown is not None:
            self._shown.renew()

    def send(self, request: dict[str, Any]) -> None:
        """A process that is gone, or does not read, is noticed when its answer is waited for."""
        self._socket.settimeout(self.limits.seconds)
        with suppress(OSError):
            self._socket.sendall((json.dumps(request) + "\n").encode())

    def receive(self, seconds: float, when: str, who: str) -> dict[str, Any]:
        """The next line. Raises Failure for a process that hangs or dies."""
        until = time.monotonic() + seconds
        while b"\n" not in self._buffer:
            # before the look at the socket: it may have answered and died
            dead = self.process.poll() is not None
            if select.select(
                [self._socket],
                [],
                [],
                0 if dead else max(0.0, min(LOOK_S, until - time.monotonic())),
            )[0]:
                data = self._read()
                if data:
                    self._buffer += data
                    continue
                dead = True
            if dead:
                raise Failure(self._how_it_ended(who, when))
            if time.monotonic() >= until:
                raise Failure(self._where_it_hangs(who, when, seconds))
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def _read(self) -> bytes:
        try:
            return self._socket.recv(1 << 20)
        except OSError:
            return b""

    def _how_it_ended(self, who: str, when: str) -> str:
        try:
            code = self.process.wait(FAULT_S)
            end = f"signal {signal.Signals(-code).name}" if code < 0 else f"code {code}"
            how = f"ended its process with {end}"
        except subprocess.TimeoutExpired:
            how = "closed the socket to fledge"
        place = self._place()
        _kill_group(self.process)
        return f"{place}: {who} {how} {when}"

    def _where_it_hangs(self, who: str, when: str, seconds: float) -> str:
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGUSR1)
        select.select([self._faults], [], [], FAULT_S)
        time.sleep(0.01)  # the first line has come, and the others follow at once
        place = self._place()
        _kill_group(self.process)
        return f"{place}: {who} took longer than {seconds:g} s {when}"

    def _place(self) -> str:
        """The file, and the line that the process was in, as far as it has said."""
        try:
            said = os.read(self._faults, 1 << 16).decode("ascii", errors="replace")
        except OSError:
            said = ""
        # As faulthandler spells it: ASCII, and 500 characters at most.
        name = str(self.path).encode("ascii", "backslashreplace").decode()[:500]
        line = re.search(rf'File "{re.escape(name)}[^"]*", line (\d+)', said)
        return f"{self.path} line {line[1]}" if line else str(self.path)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """The process leads a session of its own: what it has forked goes with it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _end(
    process: subprocess.Popen[bytes], channel: socket.socket, faults: int, shown: ShownOutput | None
) -> None:
    channel.close()
    os.close(faults)
    _kill_group(process)
    if shown is not None:
        shown.close()
