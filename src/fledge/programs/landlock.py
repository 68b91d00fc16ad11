"""Files that a process may not open, by Linux' Landlock: no privilege is needed, and what follows
cannot take it back. https://docs.kernel.org/userspace-api/landlock.html
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterable

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # alike on all processors
_NO_NEW_PRIVS = 38  # of prctl
# How many rights over files the kernel's version of Landlock knows: beyond it they are an error.
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_EXECUTE, _READ_FILE, _READ_DIR, _WRITE_FILE = 1, 4, 8, 2
READ = _EXECUTE | _READ_FILE | _READ_DIR
_OF_A_FILE = _EXECUTE | _READ_FILE | _WRITE_FILE | 1 << 14 | 1 << 15


def find_landlock() -> int:
    """The version of Landlock that this kernel has; 0 for none."""
    if sys.platform != "linux":
        return 0
    return max(0, _call(_CREATE, None, 0, 1))


def close_files(read: Iterable[str], write: Iterable[str]) -> bool:
    """From now on this process opens what lies below these paths, and nothing else; no TCP port,
    and signals reach itself alone, where the kernel knows of that. False where it knows none of it.
    """
    version = find_landlock()
    if not version:
        return False
    rights = (1 << _RIGHTS.get(min(version, 5), 16)) - 1
    rules = struct.pack("=QQQ", rights, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _call(_CREATE, rules[:size], size, 0)
    if ruleset < 0:
        return False
    for paths, allowed in ((read, READ), (write, rights)):
        for path in paths:
            _allow(ruleset, path, allowed & rights)
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 and _call(_RESTRICT, ruleset, 0) == 0
    os.close(ruleset)
    return done


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        # O_PATH: it is only named
        place = os.open(path, getattr(os, "O_PATH", 0) | os.O_CLOEXEC)
    except OSError:
        return  # not there on this machine
    if not os.path.isdir(path):
        rights &= _OF_A_FILE
    _call(_ADD, ruleset, 1, struct.pack("=Qi", rights, place), 0)
    os.close(place)


def _call(number: int, *arguments: object) -> int:
    return ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(number), *arguments)
