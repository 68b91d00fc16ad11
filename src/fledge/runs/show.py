"""What a person sees while a run goes on: lines, tables, and a progress bar with speed, time left
and the one figure that matters.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment

from fledge.readable import readable

PIPE_EVERY_S = 10.0
FORETOLD_AFTER = 2  # steps
LONG_S = 60.0  # a run that takes less needs no foretelling


def silent() -> Console:
    """Of a process whose lines another one says: of several that train together the first
    speaks.
    """
    return Console(file=open(os.devnull, "w", encoding="utf-8"))


class Show:
    """Speaks to a person on `console`. A pipe gets plain lines, one every ten seconds."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def line(self, text: str) -> None:
        self.say(text + "\n")

    def say(self, text: str) -> None:
        """Words as they are, without a line break of our own: whoever wrote them.

        Into a pipe or a file exactly (but for what its encoding cannot say). On a terminal what
        would steer it is shown as an escape, and a tab as spaces.
        """
        file = self.console.file
        if file.isatty():
            self.console.print(
                readable(text), end="", markup=False, emoji=False, highlight=False, soft_wrap=True
            )
            return
        encoding = getattr(file, "encoding", None) or "utf-8"
        file.write(text.encode(encoding, "backslashreplace").decode(encoding))
        file.flush()

    def print(self, renderable: RenderableType) -> None:
        """A table or a drawing, with the same care: names of others stand in its cells."""
        self.console.print(Harmless(renderable) if self.console.is_terminal else renderable)

    @contextmanager
    def progress(self, what: str, steps: int, figure: str, unit: str = "") -> Iterator[Watch]:
        """A bar for `steps` steps that shows the latest value of `figure` beside the speed."""
        if not self.console.is_terminal:
            yield Watch(self, what, steps, figure, unit)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.fields[figure]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console) as bar:
            task = bar.add_task(what, total=steps, figure="")
            yield Watch(self, what, steps, figure, unit, bar, task)


class Harmless:
    """What it is given, drawn as it would be, with whatever would steer a terminal as an escape."""

    def __init__(self, drawn: RenderableType) -> None:
        self.drawn = drawn

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for piece in console.render(self.drawn, options):
            # those with `control` are rich's own commands
            yield piece if piece.control else Segment(readable(piece.text), piece.style)


class Watch:
    """Told of every step; decides what of it to show."""

    def __init__(
        self,
        show: Show,
        what: str,
        steps: int,
        figure: str,
        unit: str,
        bar: Progress | None = None,
        task: TaskID | None = None,
    ) -> None:
        self.show, self.what, self.steps, self.figure, self.unit, self.bar, self.task = (
            show, what, steps, figure, unit, bar, task,
        )  # fmt: skip
        self.value = ""
        self.foretold = False
        self.began: tuple[float, int] | None = (
            None  # when, and at which step, counting the speed began
        )
        self.told = time.monotonic()

    def line(self, text: str) -> None:
        self.show.line(text)

    def step(self, step: int, figures: Mapping[str, float]) -> None:
        if self.figure in figures:
            self.value = f"{self.figure.replace('_', ' ')} {figures[self.figure]:.3f}{self.unit}"
        now = time.monotonic()
        if self.began is None:
            self.began = (now, step)
        passed, made = now - self.began[0], step - self.began[1]
        if not self.foretold and made > 0 and (made >= FORETOLD_AFTER or passed > LONG_S):
            self.foretold = True
            self._foretell(step, made, passed)
        speed = format_speed(made, passed)
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=step, figure=f"{speed}  {self.value}")
        elif now - self.told >= PIPE_EVERY_S:
            left = f"{passed / made * (self.steps - step):.0f} s left" if made > 0 else ""
            parts = (f"step {step}/{self.steps}", speed, left, self.value)
            self.show.line(f"{self.what}: {', '.join(part for part in parts if part)}")
            self.told = now

    def _foretell(self, step: int, made: int, passed: float) -> None:
        """How long the steps that are left take, if that is long; evaluations come on top."""
        left = self.steps - step
        seconds = passed / made * left
        if seconds > LONG_S:
            speed = format_speed(made, passed)
            self.line(
                f"{self.what}: about {round_duration(seconds)} for the {left:,} steps left "
                f"({speed})"
            )


def round_duration(seconds: float) -> str:
    """100 -> 2 min; 5400 -> 1.5 h"""
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def format_speed(steps: int, seconds: float) -> str:
    """3.2 steps/s, or 12.5 s/step where a step takes longer than a second; empty before one."""
    if steps <= 0 or seconds <= 0:
        return ""
    return f"{steps / seconds:.1f} steps/s" if steps >= seconds else f"{seconds / steps:.1f} s/step"
