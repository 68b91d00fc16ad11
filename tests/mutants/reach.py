"""Which tests, and which rows of `fledge verify`, run which lines of the package, and the processor
time that each takes: a map made once.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

Lines = dict[str, set[int]]  # file below src/fledge -> lines


class Tracer:
    """Notes the lines of some files as they are run, on all threads of this process."""

    def __init__(self, root: Path, files: Sequence[str]) -> None:
        self.names = {str(root / file): file for file in files}
        self.seen: Lines = {}

    @contextmanager
    def watch(self) -> Iterator[None]:
        sys.settrace(self._enter)
        threading.settrace(self._enter)
        try:
            yield
        finally:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]

    def _enter(self, frame: Any, event: str, argument: Any) -> Callable[..., Any] | None:
        file = self.names.get(frame.f_code.co_filename)
        if file is None:
            return None
        lines = self.seen.setdefault(file, set())
        lines.add(frame.f_lineno)

        def each(frame: Any, event: str, argument: Any) -> Callable[..., Any]:
            lines.add(frame.f_lineno)
            return each

        return each

    def take(self) -> Lines:
        """What was run since this was asked last."""
        taken, self.seen = self.seen, {}
        return taken


class TooLong(BaseException):
    """A test has taken more than its share of the processor."""


class OfTests:
    """A plugin of pytest: of every test that passes in its time, its lines, set-up and tear-down
    among them, and its seconds.
    """

    def __init__(self, tracer: Tracer, limit_s: float) -> None:
        self.tracer, self.limit_s = tracer, limit_s
        self.seconds: dict[str, float] = {}
        self.lines: dict[str, Lines] = {}
        self.failed: set[str] = set()
        signal.signal(signal.SIGPROF, self._enough)

    def _enough(self, number: int, frame: Any) -> None:
        raise TooLong

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.tracer.take()
        began = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, self.limit_s)
        try:
            with self.tracer.watch():
                result = yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        self.seconds[item.nodeid] = time.process_time() - began
        self.lines[item.nodeid] = self.tracer.take()
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Iterator[None]:
        """What takes too long is a test that is not asked."""
        try:
            return (yield)
        except TooLong:
            pytest.skip("too long")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.passed:
            self.failed.add(report.nodeid)


def of_tests(root: Path, files: Sequence[str], test_file: str, limit_s: float) -> dict[str, Any]:
    """Those of one file that pass, with the lines they run."""
    plugin = OfTests(Tracer(root, files), limit_s)
    pytest.main([test_file, "-q", "-p", "no:cacheprovider", "-p", "no:warnings"], plugins=[plugin])
    kept = plugin.seconds.keys() - plugin.failed
    return _as_json(
        {name: plugin.seconds[name] for name in kept}, {name: plugin.lines[name] for name in kept}
    )


def of_verify(root: Path, files: Sequence[str]) -> dict[str, Any]:
    from fledge.recipes.studies.verify import list_package_rows, use_one_thread
    from fledge.verify.laboratory import Hardware

    tracer = Tracer(root, files)
    seconds: dict[str, float] = {}
    lines: dict[str, Lines] = {}
    with use_one_thread():
        for name, measure in list_package_rows(Hardware(), 2000):
            began = time.process_time()
            with tracer.watch():
                rows = measure()
            if not all(row.holds for row in rows):
                raise SystemExit(f"a row of verify fails without a fault: {name}")
            seconds[name], lines[name] = time.process_time() - began, tracer.take()
    return _as_json(seconds, lines)


def _as_json(seconds: dict[str, float], lines: dict[str, Lines]) -> dict[str, Any]:
    told = {name: {file: sorted(own) for file, own in each.items()} for name, each in lines.items()}
    return {"seconds": seconds, "lines": told}


def who_reaches(reached: dict[str, Any], file: str, lines: tuple[int, int]) -> list[str]:
    """Those who run one of the lines, the quickest first."""
    low, high = lines
    names = [
        name
        for name, own in reached["lines"].items()
        if any(low <= line <= high for line in own.get(file, ()))
    ]
    return sorted(names, key=lambda name: reached["seconds"][name])
