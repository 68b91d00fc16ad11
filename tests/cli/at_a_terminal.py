"""Somebody at a terminal: types on a real pty and reads what the command writes there."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

from tests.cli.commands import environment

PATIENT_S = 300.0  # a machine that does much else takes its time to import torch
READY = re.compile(r"(?:^|[\r\n])(?:\x1b\[\?2004h)?> $")  # the prompt, and nothing typed yet
# What the line editor says to the terminal: paste mode, and to draw the line anew.
EDITING = re.compile(r"\x1b\[\?2004[hl]|\x1b\[K|\x1b\[\d*[CD]|\x07|\x08")
CTRL_C, CTRL_D = "\x03", "\x04"


class Person:
    """Starts `fledge WORDS` on a terminal of 200 columns; `type` and `wait` talk with it."""

    def __init__(self, words: list[str], folder: Path) -> None:
        self.ours, theirs = pty.openpty()
        os.set_blocking(self.ours, False)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fledge", *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=folder,
            env=environment() | {"TERM": "xterm", "COLUMNS": "200", "LINES": "50"},
            # a terminal of its own, which is what makes Ctrl-C a signal
            preexec_fn=lambda: os.login_tty(os.dup(theirs)),
        )
        os.close(theirs)
        self.seen = ""
        self._bytes = b""

    def __enter__(self) -> Person:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode())

    def interrupt(self) -> None:
        """Ctrl-C at the prompt, as soon as the command sleeps: Python's line editor passes over a
        signal between its prompt and its wait for a key, until a key comes. Nobody types so fast.
        """
        state = Path(f"/proc/{self.process.pid}/stat")
        ends = time.monotonic() + PATIENT_S
        while state.read_text().rpartition(")")[2].split()[0] != "S" and time.monotonic() < ends:
            time.sleep(0.01)
        self.type(CTRL_C)

    def wait(self, pattern: re.Pattern[str] = READY, seconds: float = PATIENT_S) -> str:
        """What was written since the last wait, as soon as the pattern is in it."""
        ends = time.monotonic() + seconds
        while not (met := pattern.search(self.seen)):
            left = ends - time.monotonic()
            assert left > 0, f"{pattern.pattern!r} did not come; this did: {self.seen!r}"
            if not self._read(left):
                raise AssertionError(f"the command ended after {self.seen!r}")
        said, self.seen = self.seen[: met.end()], self.seen[met.end() :]
        return said

    def ask(self, line: str) -> str:
        """Type a line; what came until the next prompt, without the echo of the line."""
        self.type(line + "\n")
        said = EDITING.sub("", self.wait())
        return said.partition("\n")[2].rpartition("\n")[0].replace("\r", "")

    def leave(self) -> tuple[str, int]:
        """What was written to the end, and the exit status."""
        ends = time.monotonic() + PATIENT_S
        while self._read(1.0):
            assert time.monotonic() < ends, f"the command has not ended after {self.seen!r}"
        os.close(self.ours)
        return self.seen, self.process.wait(30)

    def _read(self, seconds: float) -> bool:
        """False where the last writer has gone."""
        if not select.select([self.ours], [], [], seconds)[0]:
            return self.process.poll() is None
        try:
            self._bytes += os.read(self.ours, 65536)
        except OSError:  # Linux says so when the last writer has gone
            return False
        whole = self._bytes.decode("utf-8", errors="ignore")
        self._bytes = self._bytes[len(whole.encode()) :]
        self.seen += whole
        return True
