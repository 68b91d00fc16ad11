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
    """Asks for a line at a time. interactive: a person types them.

    interrupted: set by Ctrl-C since the last line, where interrupts are held.
    """

    def __init__(self, show: Show) -> None:
        self.show = show
        self.interactive = sys.stdin.isatty()
        self.interrupted = threading.Event()
        self._held = False
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
        if self._held:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            if self.edited:
                return self._ask_edited(already)
            if self.interactive:
                self.show.say(PROMPT)
            line = sys.stdin.readline()
            return line.rstrip("\n") if line else None
        finally:
            if self._held:
                signal.signal(signal.SIGINT, self._note)
            self.interrupted.clear()

    @contextmanager
    def hold_interrupts(self) -> Iterator[None]:
        """Ctrl-C at any other time than while a line is asked for raises nothing: whoever writes an
        answer looks at `interrupted`, and stops between two tokens. Of a pipe, or beside the main
        thread, it raises KeyboardInterrupt as ever.
        """
        if not self.interactive or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, self._note)
        self._held = True
        try:
            yield
        finally:
            self._held = False
            signal.signal(signal.SIGINT, before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.interrupted.set()

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
