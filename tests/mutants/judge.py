"""One fault at a time, in a copy of the sources and a process of its own, forked from one that has
torch: does anybody notice?
"""

from __future__ import annotations

import math
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from tests.mutants.mutations import Mutant

NOTICED, MISSED, SLOW = "noticed", "missed", "too slow"
WAIT = 10  # seconds of the clock to a second of the processor: others work on the machine too


class Copy:
    """The sources as they are, elsewhere; a fault is written there for the time of one judgement.
    The work tree is never touched.
    """

    def __init__(self, sources: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fledge-mutants-"))
        shutil.copytree(sources, self.folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
        self.package = self.folder / "src" / "fledge"

    def __enter__(self) -> Copy:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def compile_all(self) -> None:
        """Once, so that a fork compiles nothing but the file that changed. Sources are then not
        looked at for their date.
        """
        import compileall
        import py_compile

        compileall.compile_dir(
            self.package, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
        )

    def judge(self, mutant: Mutant, ask: Callable[[], bool], limit_s: float) -> str:
        """limit_s: of the processor, after which there is no end to it. ask: in the fork, with the
        faulty package ahead on the path; True where the fault is noticed. Any exception notices it
        too.
        """
        file = self.package / mutant.file
        original = file.read_text()
        compiled = list(file.parent.glob(f"__pycache__/{file.stem}.*.pyc"))
        aside = {path: path.read_bytes() for path in compiled}
        try:
            file.write_text(mutant.source)
            for path in compiled:
                path.unlink()
            return _in_a_fork(ask, self.folder / "src", limit_s)
        finally:
            file.write_text(original)
            for path, content in aside.items():
                path.write_bytes(content)


def _in_a_fork(ask: Callable[[], bool], sources: Path, limit_s: float) -> str:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setsid()  # what it starts ends with it
            resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(limit_s), math.ceil(limit_s) + 1))
            null = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(null, stream)
            sys.path.insert(0, str(sources))
            os.environ["PYTHONPATH"] = str(sources)
            os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
            # no example of an older run
            os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(sources.parent / "hypothesis")
            sys.dont_write_bytecode = True
            status = 1 if ask() else 0
        except BaseException:
            status = 1
        finally:
            os._exit(status)
    ends = time.monotonic() + WAIT * limit_s
    while time.monotonic() < ends:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
                return SLOW
            return MISSED if status == 0 else NOTICED
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return SLOW


def ask_tests(tests: Sequence[str]) -> bool:
    """Whether one of the tests fails; those after it are not run."""
    import pytest

    return pytest.main([*tests, "-x", "-q", "-p", "no:cacheprovider", "-p", "no:warnings"]) != 0


def ask_verify(names: Sequence[str]) -> bool:
    """Whether a row of `fledge verify` does not hold; those after it are not measured."""
    from fledge.recipes.studies.verify import list_package_rows, use_one_thread
    from fledge.verify.laboratory import Hardware

    work = dict(list_package_rows(Hardware(), 2000))
    with use_one_thread():
        return any(not row.holds for name in names for row in work[name]())
