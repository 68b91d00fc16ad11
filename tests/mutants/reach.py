"""Which tests, and which rows of `fledge verify`, run which lines of the package, and the processor time that each takes: a map made once."""

from __future__ import annotations

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


class OfTests:
    """A plugin of pytest: of every test that passes, its lines, set-up and tear-down among them, and its seconds."""

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer
        self.seconds: dict[str, float] = {}
        self.lines: dict[str, Lines] = {}
        self.failed: list[str] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.tracer.take()
        began = time.process_time()
        with self.tracer.watch():
            result = yield
        self.seconds[item.nodeid] = time.process_time() - began
        self.lines[item.nodeid] = self.tracer.take()
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)


def of_tests(root: Path, files: Sequence[str], tests: Sequence[str]) -> dict[str, Any]:
    """Raises SystemExit where a test fails without any fault: nothing could be told then."""
    plugin = OfTests(Tracer(root, files))
    pytest.main([*tests, "-q", "-p", "no:cacheprovider", "-p", "no:warnings"], plugins=[plugin])
    if plugin.failed:
        raise SystemExit(f"tests fail without a fault: {', '.join(plugin.failed[:5])}")
    return _as_json(plugin.seconds, plugin.lines)


def of_verify(root: Path, files: Sequence[str]) -> dict[str, Any]:
    from fledge.exact.laboratory import Hardware
    from fledge.recipes.verify import one_thread, package_rows

    tracer = Tracer(root, files)
    seconds: dict[str, float] = {}
    lines: dict[str, Lines] = {}
    with one_thread():
        for name, measure in package_rows(Hardware(), 2000):
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


def who_reaches(reached: dict[str, Any], file: str, lines: tuple[int, int], first: str) -> list[str]:
    """Those who run one of the lines, the quickest first; before them those whose name holds `first`."""
    low, high = lines
    names = [name for name, own in reached["lines"].items() if any(low <= line <= high for line in own.get(file, ()))]
    return sorted(names, key=lambda name: (first not in name, reached["seconds"][name]))
