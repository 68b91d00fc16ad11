"""What a program may not ask of Python where the kernel has no means to forbid it: a second best,
for code that reaches C gets around it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

_FORBIDDEN = (
    "socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn",
    "os.spawn", "os.kill", "os.killpg", "os.chmod", "os.chown", "os.putenv", "ctypes.", "pty.",
    "signal.pthread_kill", "mmap.",
)  # fmt: skip
_PATHS = (
    "open", "os.listdir", "os.scandir", "os.remove", "os.rename", "os.rmdir", "os.mkdir",
    "os.link", "os.symlink", "os.truncate", "os.utime", "shutil.",
)  # fmt: skip


def close_python(read: Sequence[str], folder: str) -> None:
    """From now on these calls raise PermissionError: sockets, processes, C, and files that lie
    neither in its folder nor, to be read, below `read`.
    """
    own = os.path.realpath(folder) + os.sep
    readable = tuple(os.path.realpath(path).rstrip(os.sep) + os.sep for path in read)

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(_FORBIDDEN):
            raise PermissionError(f"a program may not call {event}")
        if not event.startswith(_PATHS):
            return
        for path in arguments[:2] if event != "open" else arguments[:1]:
            if not isinstance(path, str | bytes | os.PathLike):
                continue
            place = os.path.realpath(os.fsdecode(path))
            if (place + os.sep).startswith(own) or place == os.devnull:
                continue
            flags = arguments[2] if event == "open" and len(arguments) > 2 else 0
            reads = event in ("open", "os.listdir", "os.scandir") and not (
                isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            )
            if not (reads and (place + os.sep).startswith(readable)):
                raise PermissionError(f"a program may not open {place}")

    sys.addaudithook(refuse)
