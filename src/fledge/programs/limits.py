"""What a program that a model wrote may take, and how running it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# whole: it came to its last line. raised: an exception left it. exited: it ended its process before
# its last line, by exit() or from C. time, memory, output: it went beyond that limit. signal: it
# crashed. lost: the process that runs programs died with it.
Ended = Literal["whole", "raised", "exited", "time", "memory", "output", "signal", "lost"]


@dataclass(frozen=True)
class ProgramLimits:
    """Of one program. seconds: on the clock. memory_mb: of its address space, the interpreter's
    some 30 among them. output_bytes: of what it prints, and of a file that it writes.
    """

    seconds: float = 3.0
    memory_mb: float = 1024.0
    output_bytes: int = 65_536

    def __post_init__(self) -> None:
        for name, least in (("seconds", 0), ("memory_mb", 64), ("output_bytes", 0)):
            if not getattr(self, name) > least:
                raise ValueError(
                    f"{name}={getattr(self, name)} was given: it must be above {least}."
                )


@dataclass(frozen=True)
class Program:
    """source: Python. stdin: what it may read."""

    source: str
    stdin: str = ""


@dataclass(frozen=True)
class Outcome:
    """output: what it printed, on either stream, in the order of its writes. error: of one that did
    not come to its end, in one line. seconds: on the clock.
    """

    ended: Ended
    output: str
    error: str
    seconds: float

    @property
    def whole(self) -> bool:
        return self.ended == "whole"
