"""The library of `csrc/`, compiled once for the machine at hand where it has a C compiler.

What was compiled is kept in the cache folder of the user. Without a compiler, or on a processor
without these instructions, the engine multiplies by torch's own kernels.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from ctypes import CDLL, c_float, c_int, c_long, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).with_name("csrc")
FLAGS = (
    "-O3", "-march=native", "-fno-math-errno", "-fno-strict-aliasing", "-shared", "-fPIC",
    "-pthread",
)  # fmt: skip
KINDS = {"fp32": 0, "fp16": 1, "bf16": 2, "int8": 3}
COMPILE_S = 60  # seconds until the compiler is given up; it takes one


@cache
def load_native() -> Any:
    """The library, or None where it cannot be made or run."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not hasattr(os, "register_at_fork"):  # its threads are those of POSIX
        return None
    try:
        path = _name_library(compiler)
        if not path.is_file():
            if compiler is None:
                return None
            compile_native(compiler, path)
        library = CDLL(str(path))
    # RuntimeError: the user has no home.
    except (OSError, RuntimeError, subprocess.SubprocessError):
        return None
    if not any(library.has_kind(kind) for kind in KINDS.values()):
        return None
    library.multiply.argtypes = [
        c_void_p, c_void_p, c_long, c_float, c_void_p, c_int, c_void_p, c_void_p, c_int,
    ]  # fmt: skip
    library.pack.argtypes = [
        c_int, c_int, c_int, c_long, c_long, c_void_p, c_void_p, c_void_p, c_void_p, c_int,
    ]  # fmt: skip
    library.attend.argtypes = [c_void_p]
    library.pack.restype = library.attend.restype = None
    os.register_at_fork(after_in_child=library.begin_anew)
    return library


def has_native(kind: str) -> bool:
    """Whether weights of this kind, one of KINDS, are multiplied by the library here."""
    library = load_native()
    return library is not None and bool(library.has_kind(KINDS[kind]))


def _name_library(compiler: str | None) -> Path:
    """A file of its own for every source, compiler and processor: a home may be shared by machines
    that have not the same instructions.
    """
    information = Path("/proc/cpuinfo")
    flags = [platform.machine(), platform.processor(), *FLAGS, compiler or ""]
    if information.is_file():
        lines = information.read_text(errors="replace").splitlines()
        flags += [next((line for line in lines if line.startswith("flags")), "")]
    sources = b"".join(path.read_bytes() for path in sorted(SOURCES.iterdir()))
    name = hashlib.sha256(sources + "\n".join(flags).encode()).hexdigest()[:24]
    cache_home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache_home) / "fledge" / "native" / f"{name}.so"


def compile_native(compiler: str, path: Path) -> None:
    """Written beside and renamed: two processes may come here at once. Raises OSError and
    SubprocessError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as place:
        beside = Path(place) / path.name
        subprocess.run(
            [compiler, *FLAGS, *sorted(map(str, SOURCES.glob("*.c"))), "-o", str(beside), "-lm"],
            check=True, capture_output=True, timeout=COMPILE_S,
        )  # fmt: skip
        beside.replace(path)
