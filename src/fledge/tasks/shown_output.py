"""What a process of the user's prints, shown as it comes, up to a limit: gigabytes of it are read
and left out, so that its trainer's log stays a log.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress

MOST = 1_000_000  # bytes of one process that are shown
PIECE = 65_536
LAST_S = 1.0  # for the last lines of a process that has ended


class ShownOutput:
    """write: the end of a pipe that the process is given as its output; to be closed here once it
    has it.
    """

    def __init__(self, target: int = 2, most: int = MOST) -> None:
        self._read, self.write = os.pipe()
        self._thread = threading.Thread(
            target=_show, args=(self._read, target, most), daemon=True, name="judge output"
        )
        self._thread.start()

    def close(self) -> None:
        """After the process has ended: what it said last is shown first."""
        self._thread.join(LAST_S)


def _show(source: int, target: int, most: int) -> None:
    shown = 0
    with suppress(OSError):
        while piece := os.read(source, PIECE):
            part = piece[: most - shown] if shown < most else b""
            shown += len(part)
            with suppress(OSError):  # whoever looked on has gone
                os.write(target, part)
            if part and shown >= most:
                said = f"\n(a task file has printed {most:,} bytes; more of it is not shown)\n"
                with suppress(OSError):
                    os.write(target, said.encode())
    with suppress(OSError):
        os.close(source)
