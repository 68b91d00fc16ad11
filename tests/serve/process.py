"""`fledge serve` as a user starts it: a process of its own, on a socket of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

READY_S = 120


class Server:
    """url: where it listens. lines: what it has printed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self.url = ""
        self._listening = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        if not self._listening.wait(READY_S) or not self.url:
            process.kill()
            raise AssertionError(f"no server came up: {self.lines}")

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if match := re.search(r"listening at (http://\S+?):? ", line):
                self.url = match[1]
                self._listening.set()
        self._listening.set()

    def stop(self, number: int = signal.SIGTERM, wait_s: float = 30) -> int:
        self.process.send_signal(number)
        return self.process.wait(wait_s)


@contextmanager
def start_server(
    *folders: Path, env: dict[str, str] | None = None, **fields: Any
) -> Iterator[Server]:
    """On a free port, at one thread. What it prints comes on one stream."""
    words = [f"{name}={value}" for name, value in {"port": 0, "threads": 1, **fields}.items()]
    command = [sys.executable, "-m", "fledge", "serve", *map(str, folders), *words]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
    )
    try:
        yield Server(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(30)
