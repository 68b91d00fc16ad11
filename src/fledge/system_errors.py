"""What an error of the operating system means to a user: what is the matter, and what to do about
it.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

# A file that is written beside the one that it will replace.
_BESIDE = re.compile(r"\.([^/]+)\.\d+\.partial$")
_NO_ROOM = ("not enough memory", "can't allocate memory", "out of memory")
_OUT = "choose another `out`"
_ROOM = "free some space, then `fledge resume` the run"
_LIMIT = "raise the limit, then `fledge resume` the run"
_ANOTHER = "give another path"
_READ = "change its permissions, or give another path"

# What is the matter; what to do where it was written; what to do where it was read.
_MEANINGS = {
    errno.ENOSPC: ("the disk is full", _ROOM, _ROOM),
    errno.EDQUOT: ("the disk quota is used up", _ROOM, _ROOM),
    errno.EFBIG: (
        "a file may not grow any larger here (`ulimit -f`, or the file system's own limit)",
        _LIMIT, _LIMIT,
    ),
    errno.EMFILE: ("more files are open than one process may have (`ulimit -n`)", _LIMIT, _LIMIT),
    errno.ENFILE: ("more files are open than this machine may have", _LIMIT, _LIMIT),
    errno.EACCES: ("permission was refused", f"change the permissions, or {_OUT}", _READ),
    errno.EPERM: ("permission was refused", f"change the permissions, or {_OUT}", _READ),
    errno.EROFS: ("the file system is read-only", _OUT, _OUT),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", _OUT, _ANOTHER),
    errno.ENAMETOOLONG: ("a name is too long for the file system", _OUT, _ANOTHER),
    errno.ELOOP: (
        "its links lead in a circle", f"mend the link, or {_OUT}", f"mend the link, or {_ANOTHER}",
    ),
    errno.EEXIST: (
        "a file is in the way of a folder", f"remove it, or {_OUT}", f"remove it, or {_OUT}",
    ),
    errno.ENOENT: (
        "a file or folder is not there",
        "make it, or choose another path", "make it, or choose another path",
    ),
    errno.EISDIR: ("a folder is in the way of a file", _OUT, "give the file itself"),
    errno.EBUSY: ("it is in use", _OUT, "wait for it, or give another path"),
    errno.EIO: (
        "the disk reports an error", "look to the disk, then `fledge resume` the run",
        "look to the disk, or give a copy from another one",
    ),
}  # fmt: skip


def out_of_memory(error: BaseException) -> bool:
    """Whether the machine, or its GPU, had no room.

    Torch says so by a RuntimeError, which may mean anything else too.
    """
    import torch  # only now: the command line starts without it

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_ROOM)


def explain(error: OSError, written: Path | None) -> str | None:
    """One sentence about it, None for what no user can mend. `written`: the file or folder that the
    command writes, if any.

    An error about any other path came of reading, and then nothing is said of what was written.
    """
    if error.errno not in _MEANINGS:
        return None
    what, wrote, read = _MEANINGS[error.errno]
    name = error.filename2 or error.filename
    if name is None or isinstance(name, int):
        return f"{what}: {wrote}. What was saved before is intact."
    name = os.fsdecode(name)
    path = os.path.abspath(_BESIDE.sub(r"\1", name))
    place = None if written is None else os.path.abspath(written)
    if place is not None and os.path.commonpath([path, place]) in (path, place):
        return f"{what} ({name}): {wrote}. What was saved before is intact."
    return f"{what} ({name}): {read}."
