"""What a process of the user's prints, shown as it comes, up to a limit: gigabytes of it are read
and left out, so that its trainer's log stays a log.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress

MOST = 1_000_000  # bytes that are shown of what is printed between two requests
PIECE = 65_536
LAST_S = 1.0  # for the last lines of a process that has ended


class ShownOutput:
    """write: the end of a pipe that the process is given as its output; to be closed here once it
    has it.
    """

    def __init__(self, target: int = 2, most: int = MOST) -> None:
        self._read, self.write = os.pipe()
        self._target, self._most, self._left = target, most, most
        self._thread = threading.Thread(target=self._show, daemon=True, name="judge output")
        self._thread.start()

    def renew(self) -> None:
        """Another request: as much is shown again."""
        self._left = self._most

    def close(self) -> None:
        """After the process has ended: what it said last is shown first."""
        self._thread.join(LAST_S)

    def _show(self) -> None:
        with suppress(OSError):
            while piece := os.read(self._read, PIECE):
                part = piece[: self._left]
                if not part:
                    continue
                self._left -= len(part)
                said = b""
                if not self._left:
                    said = (
                        f"\n({self._most:,} bytes were printed; more of it is not shown)\n".encode()
                    )
                with suppress(OSError):  # whoever looked on has gone
                    os.write(self._target, part + said)
        with suppress(OSError):
            os.close(self._read)
