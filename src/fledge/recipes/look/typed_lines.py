"""Lines of a person at a terminal or of a pipe, and Ctrl-C while an answer is being written."""

from __future__ import annotations

import io
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from fledge.runs.show import Show

try:  # line editing and the lines typed before; not every Python has it
    import readline
except ImportError:  # pragma: no cover
    readline = None

PROMPT = "> "


class TypedLines:
    """Asks for a line at a time. interactive: a person types them."""

    def __init__(self, show: Show) -> None:
        self.show = show
        self.interactive = sys.stdin.isatty()
        if isinstance(sys.stdin, io.TextIOWrapper):
            # a byte that is not UTF-8 spoils its character, not the conversation
            sys.stdin.reconfigure(errors="replace")
        # Python edits lines only where it reads and writes the process's own terminal.
        self.edited = (
            self.interactive
            and readline is not None
            and show.console.file is sys.stdout
            and sys.stdout.isatty()
        )

    def ask(self, already: str = "") -> str | None:
        """The next line without its line break; None at the end of the input.

        already: what stands there to be changed, where lines can be edited. Raises
        KeyboardInterrupt for Ctrl-C.
        """
        if self.edited:
            return self._ask_edited(already)
        if self.interactive:
            self.show.say(PROMPT)
        line = sys.stdin.readline()
        return line.rstrip("\n") if line else None

    def _ask_edited(self, already: str) -> str | None:
        assert readline is not None
        lines = readline
        lines.set_startup_hook((lambda: lines.insert_text(already)) if already else None)
        try:
            return input(PROMPT)
        except EOFError:
            self.show.line("")
            return None
        finally:
            lines.set_startup_hook(None)


@contextmanager
def hold_interrupts(hold: bool) -> Iterator[threading.Event]:
    """Ctrl-C sets the event inside, and raises nothing: whoever looks at it stops at a place of its
    own. Not held, it raises KeyboardInterrupt as ever.
    """
    asked = threading.Event()
    if not hold or threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(number: int, frame: FrameType | None) -> None:
        asked.set()

    before = signal.signal(signal.SIGINT, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
