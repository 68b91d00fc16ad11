"""The curves of a log that grows: at each look only what was written since the last one is read."""

from __future__ import annotations

import os
from pathlib import Path

from fledge.json_file import open_regular, parse_json
from fledge.report.curves import Curves
from fledge.runs.shapes import FiguresRecord

_LONGEST = 2**26  # bytes of a line


class GrowingCurves:
    """Of one metrics.jsonl. A log that was cut back, as a resumed run's is, is read anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start()

    def _start(self) -> None:
        self.curves = Curves()
        self._read, self._last, self._file = 0, b"", None

    def read(self) -> Curves:
        """Raises UserError for a line that is broken; a torn last one waits for its end."""
        try:
            with open_regular(self.path) as file:
                state = os.fstat(file.fileno())
                if not self._goes_on(file, state):
                    self._start()
                self._file = state.st_ino
                file.seek(self._read)
                while (line := file.readline(_LONGEST)).endswith(b"\n"):
                    row = parse_json(line, FiguresRecord, f"a line of {self.path}")
                    self.curves.add({**row})
                    self._read += len(line)
                    self._last = line
        except FileNotFoundError:
            self._start()
        return self.curves

    def _goes_on(self, file, state: os.stat_result) -> bool:
        """Whether what was read still stands where it stood."""
        if state.st_ino != self._file or state.st_size < self._read:
            return False
        file.seek(self._read - len(self._last))
        return file.read(len(self._last)) == self._last
