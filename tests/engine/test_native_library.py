"""How the library comes to be: compiled once, kept where its user alone writes, and done without
where that cannot be.
"""

from __future__ import annotations

import multiprocessing
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from ctypes import CDLL
from pathlib import Path

import pytest
import torch

from fledge import c_library
from fledge.engine import native
from fledge.engine.forms import make_form
from fledge.engine.native import load_native
from fledge.engine.native_product import NativeProduct
from tests.subjects import transformer

pytestmark = pytest.mark.skipif(
    load_native() is None, reason="no compiler, or a processor without these instructions"
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the library goes, which is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    load_native.cache_clear()
    yield tmp_path / "fledge" / "native"
    load_native.cache_clear()


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of this machine."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert compiler is not None
    path = (
        tmp_path_factory.mktemp("compiled") / c_library._name_library(compiler, native.SOURCES).name
    )
    c_library.compile_native(compiler, path, native.SOURCES)
    return path


@pytest.fixture
def kept(place: Path, compiled: Path) -> Path:
    """The file of a library in the cache folder, which is not loaded."""
    place.mkdir(mode=0o700, parents=True)
    return Path(shutil.copy(compiled, place))


@pytest.mark.parametrize("compiler", [None, "/bin/false", "/nowhere/cc"])
def test_without_a_compiler_the_engine_is_as_it_was(
    compiler: str | None, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(c_library.shutil, "which", lambda name: compiler)
    assert load_native() is None
    fast = make_form(transformer(width=64).requires_grad_(False))
    assert not isinstance(fast.unembed.product, NativeProduct)
    assert not place.exists() or not list(place.iterdir())


def test_libraries_of_several_folders_do_not_stand_for_each_other(
    tmp_path: Path, place: Path
) -> None:
    """As those of the engine and of word vectors, in either order, in one process."""
    said = []
    for number in (1, 2, 3):
        folder = tmp_path / f"csrc{number}"
        folder.mkdir()
        (folder / "one.c").write_text(f"int number(void) {{ return {number}; }}\n")
        library = c_library.load_sources(folder, "a library", "nothing is done")
        said.append(library.number())
    assert said == [1, 2, 3]


def test_what_was_compiled_is_kept_and_another_source_is_compiled_anew(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = c_library._name_library("/usr/bin/cc", native.SOURCES)
    assert first.parent == place
    changed = tmp_path / "csrc"
    shutil.copytree(native.SOURCES, changed)
    with (changed / "numbers.h").open("a") as file:
        file.write("\n")
    monkeypatch.setattr(native, "SOURCES", changed)
    assert c_library._name_library("/usr/bin/cc", native.SOURCES) != first


def leave_if_loaded(_number: int) -> None:
    raise SystemExit(0 if load_native() is not None else 1)


def test_eight_processes_may_come_at_once(place: Path) -> None:
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=leave_if_loaded, args=(n,)) for n in range(8)]
    for child in children:
        child.start()
    for child in children:
        child.join(100)
    assert [child.exitcode for child in children] == [0] * 8
    assert [path.suffix for path in place.iterdir()] == [".so"]


@pytest.mark.parametrize("size", [0, 5000])
def test_a_file_that_was_cut_short_is_compiled_anew(kept: Path, size: int) -> None:
    whole = kept.stat().st_size
    os.truncate(kept, size)
    assert load_native() is not None
    assert kept.stat().st_size == whole


def test_what_another_user_could_have_written_is_not_loaded(kept: Path) -> None:
    kept.chmod(0o770)
    assert load_native() is None
    kept.chmod(0o700)
    load_native.cache_clear()
    assert load_native() is not None
    if os.geteuid() == 0:
        os.chown(kept, 65534, -1)
        load_native.cache_clear()
        assert load_native() is None
    aside = kept.rename(kept.with_suffix(".aside"))
    kept.symlink_to(aside)
    load_native.cache_clear()
    assert load_native() is None


def test_nothing_is_compiled_where_another_user_may_write(place: Path) -> None:
    place.mkdir(parents=True)
    place.chmod(0o777)
    assert load_native() is None
    assert not list(place.iterdir())


def test_a_cache_that_is_no_folder_is_done_without(place: Path) -> None:
    place.parent.write_text("")
    assert load_native() is None


SKIPPED = 77


def no_home() -> None:
    """Nothing says where it is: neither the environment nor the list of users."""
    os.environ.pop("HOME", None)
    os.environ.pop("XDG_CACHE_HOME", None)
    pwd.getpwuid = lambda uid: {}[uid]


def no_writing() -> None:
    """Not even for root."""
    os.environ["XDG_CACHE_HOME"] = "/proc/self"


def no_running() -> None:
    """Where files may be written and not run: a mount that this process alone sees."""
    libc, place = CDLL(None), os.environ["XDG_CACHE_HOME"].encode()
    own, private, no_exec = 0x20000, 0x44000, 8  # CLONE_NEWNS, MS_REC | MS_PRIVATE, MS_NOEXEC
    if (
        libc.unshare(own)
        or libc.mount(b"none", b"/", None, private, None)
        or libc.mount(b"none", place, b"tmpfs", no_exec, None)
    ):
        raise SystemExit(SKIPPED)


def pack_without(spoil: Callable[[], None], heard: str) -> None:
    """In a child: whether a network's products are torch's own."""
    os.dup2(os.open(heard, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), 2)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    spoil()
    network = transformer(width=64).requires_grad_(False)
    made = [make_form(network), make_form(network)]
    raise SystemExit(any(isinstance(each.unembed.product, NativeProduct) for each in made))


@pytest.mark.parametrize("spoil", [no_home, no_writing, no_running])
def test_where_it_cannot_be_kept_torch_does_its_work_and_one_sentence_says_so(
    spoil: Callable[[], None], place: Path, tmp_path: Path
) -> None:
    heard = tmp_path / "heard"
    context = multiprocessing.get_context("fork")
    child = context.Process(target=pack_without, args=(spoil, str(heard)))
    child.start()
    child.join(100)
    if child.exitcode == SKIPPED:
        pytest.skip("only root may mount a place where nothing runs")
    assert child.exitcode == 0
    [sentence] = heard.read_text().splitlines()
    assert sentence.startswith("fledge: the engine's C library cannot be had (")
    assert sentence.endswith("XDG_CACHE_HOME at a folder of yours to keep it in.")


def test_what_nobody_has_loaded_for_long_is_removed_when_one_is_compiled(kept: Path) -> None:
    old, recent = kept.with_name("old.so"), kept.with_name("recent.so")
    left = kept.with_name("tmpabc")
    left.mkdir()
    for path, days in ((old, 61), (left, 61), (recent, 59), (kept, 59)):
        if path != left:
            path.touch()
        then = time.time() - days * 86_400
        os.utime(path, (then, then))
    assert load_native() is not None
    assert time.time() - kept.stat().st_mtime < 1000  # loaded: in use again
    assert old.exists()
    kept.unlink()  # cut short in place it would end this process, which has it loaded
    load_native.cache_clear()
    assert load_native() is not None
    assert {path.name for path in kept.parent.iterdir()} == {kept.name, recent.name}


def test_it_is_switched_off_with_the_instructions_of_torch() -> None:
    said = subprocess.run(
        [sys.executable, "-c", "from fledge.engine.native import *; print(load_native())"],
        env={**os.environ, "ATEN_CPU_CAPABILITY": "avx2"}, check=True, capture_output=True,
    )  # fmt: skip
    assert said.stdout.strip() == b"None"


def read_signals_blocked() -> dict[str, int]:
    """Of every thread of this process: a bit for each signal that it does not hear."""
    blocked = dict[str, int]()
    for task in Path("/proc/self/task").iterdir():
        lines = (task / "status").read_text().splitlines()
        blocked[task.name] = next(int(line[8:], 16) for line in lines if line[:7] == "SigBlk:")
    return blocked


def leave_if_deaf() -> None:
    """In a child of a fork there are no threads but those of the library."""
    torch.get_num_threads = lambda: 3
    made = NativeProduct(torch.ones(4096, 64), "fp32")
    made(torch.ones(2, 64))
    own = str(os.getpid())
    blocked, bit = read_signals_blocked(), 1 << (signal.SIGINT - 1)
    others = [bool(mask & bit) for task, mask in blocked.items() if task != own]
    raise SystemExit(0 if others == [True] * 2 and not blocked[own] & bit else 1)


def test_signals_are_left_to_the_threads_of_the_program() -> None:
    child = multiprocessing.get_context("fork").Process(target=leave_if_deaf)
    child.start()
    child.join(60)
    assert child.exitcode == 0
