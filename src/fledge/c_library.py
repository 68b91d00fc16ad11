"""Libraries of C, each of a folder of sources and of what all share (threads, vectors, products of
matrices), compiled once for the machine at hand where it has a C compiler.

What was compiled is kept in the cache folder of the user. Where it cannot be kept, that is said.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from ctypes import CDLL
from pathlib import Path
from typing import Any

FLAGS = (
    "-O3", "-march=native", "-fno-math-errno", "-fno-strict-aliasing", "-fwrapv", "-shared",
    "-fPIC", "-pthread",
)  # fmt: skip
SHARED = Path(__file__).parent / "csrc" / "shared"  # part of every library
SIGNED = 32  # bytes at the end of a library
COMPILE_S = 60  # seconds until the compiler is given up; it takes one
DAY_S = 86_400
KEPT_DAYS = 60  # that a library stays which nobody loads: of an older version, or a compiler before


def load_sources(folder: Path, name: str, instead: str) -> Any:
    """The library of a folder of C, or None where it cannot be made or run. Where it is the cache
    folder or the compiler that fails, standard error says so of its `name`, and what is done
    `instead`.
    """
    # Threads of POSIX, and a processor whose flags can be read: they name the file.
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return None
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    try:
        return _open_or_compile(compiler, folder)
    # RuntimeError: the user has no home.
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        print(
            f"fledge: {name} cannot be had ({_shorten(error)}): {instead}, more slowly. Point "
            "XDG_CACHE_HOME at a folder of yours to keep it in.",
            file=sys.stderr,
        )
        return None


def _open_or_compile(compiler: str | None, folder: Path) -> Any:
    """None where there is none, and no compiler to make one. Raises OSError, RuntimeError and
    SubprocessError.
    """
    path = _name_library(compiler, folder)
    library = _open_library(path)
    if library is None and compiler is not None:
        compile_native(compiler, path, folder)
        library = _open_library(path)
    return library


def _shorten(error: Exception) -> str:
    """What went wrong, without the compiler's command line."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"the compiler took more than {COMPILE_S} s"
    if isinstance(error, subprocess.SubprocessError):
        return "the compiler failed"
    return str(error).rstrip(".")


def _name_library(compiler: str | None, folder: Path) -> Path:
    """A file of its own for every source, compiler and processor: a home may be shared by machines
    that have not the same instructions.
    """
    information = Path("/proc/cpuinfo")
    flags = [platform.machine(), platform.processor(), *FLAGS, compiler or ""]
    if information.is_file():
        lines = information.read_text(errors="replace").splitlines()
        flags += [next((line for line in lines if line.startswith("flags")), "")]
    sources = b"".join(
        path.read_bytes() for place in (folder, SHARED) for path in sorted(place.iterdir())
    )
    name = hashlib.sha256(sources + "\n".join(flags).encode()).hexdigest()[:24]
    cache_home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache_home) / "fledge" / "native" / f"{name}.so"


def _open_library(path: Path) -> Any:
    """None where there is none, or one that was cut short: to map it would end the process. Raises
    OSError, also where another user could have written it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with open(descriptor, "rb") as file:
        _refuse_others(path, os.fstat(file.fileno()))
        content = file.read()
        if _sign(content[:-SIGNED]) != content[-SIGNED:]:
            return None
        if time.time() - os.fstat(file.fileno()).st_mtime > DAY_S:
            with suppress(OSError):  # a cache that is only read
                os.utime(path)  # still in use
        # This very file, whatever has the name by now; by a number that stays taken, since the
        # loader takes a name it has seen for the library that had it then.
        return CDLL(f"/proc/self/fd/{os.dup(file.fileno())}")


def _refuse_others(path: Path, status: os.stat_result) -> None:
    """Raises PermissionError where another user may write."""
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"{path} could have been written by another user")


def _sign(content: bytes) -> bytes:
    """What follows a library in its file, so that one that was cut short is known."""
    return hashlib.sha256(content).digest()


def compile_native(compiler: str, path: Path, folder: Path) -> None:
    """Written beside and renamed: two processes may come here at once. Raises OSError and
    SubprocessError.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _refuse_others(path.parent, path.parent.lstat())
    with tempfile.TemporaryDirectory(dir=path.parent) as place:
        beside = Path(place) / path.name
        sources = sorted(str(source) for part in (folder, SHARED) for source in part.glob("*.c"))
        subprocess.run(
            [compiler, *FLAGS, f"-I{SHARED}", *sources, "-o", str(beside), "-lm"],
            check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMPILE_S,
        )  # fmt: skip
        with beside.open("ab") as file:
            file.write(_sign(beside.read_bytes()))
        beside.chmod(0o700)
        beside.replace(path)
    _remove_unused(path.parent)


def _remove_unused(folder: Path) -> None:
    """Libraries that nobody has loaded for long, and what a compiler that was killed has left.
    Whoever has one loaded keeps it.
    """
    until = time.time() - KEPT_DAYS * DAY_S
    for old in folder.iterdir():
        with suppress(OSError):  # another process was here first
            if old.lstat().st_mtime > until:
                continue
            if old.is_dir() and not old.is_symlink():
                shutil.rmtree(old)
            else:
                old.unlink()
