"""An output that may be closed while a run goes on: what cannot be said any more is dropped, and
the run is not.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any, TextIO


class Lasting:
    """Standard output or error as it is when used; a closed pipe, terminal or file is silence from
    then on.
    """

    def __init__(self, name: str) -> None:
        self._name, self._closed = name, False

    @property
    def _stream(self) -> TextIO:
        return getattr(sys, self._name)

    def write(self, text: str) -> int:
        """As a stream's, whether or not anybody hears it."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """As a stream's."""
        self._try(self._stream.flush)

    def _try(self, say: Any) -> None:
        if self._closed:
            return
        try:
            say()
        except (
            OSError,
            ValueError,
        ):  # a pipe without a reader, a terminal that is gone, a stream that was closed
            self._closed = True
            # what waits in the buffer is written to nowhere when the process ends
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        """Whether it is a terminal, its encoding, its number."""
        return getattr(self._stream, name)
