"""Counts what a file of rows holds: how many were read, which cannot be used and why, and which
keys were passed over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from fledge.errors import UserError

FIRST_LINES = 3  # of the rows left out for one reason, as many are named by their lines

Truncate = Literal["no", "left", "right"]


class Unusable(Exception):
    """A row that has a known shape and cannot be used all the same; the reason is the same few
    words for every such row.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Reading:
    """What the user said about rows that are not as they should be. truncate: None where rows
    cannot be cut.
    """

    bad_rows: Literal["refuse", "skip"] = "refuse"
    ignore_keys: str = ""
    truncate: Truncate | None = None
    ignored: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        names = frozenset(name.strip() for name in self.ignore_keys.split(",") if name.strip())
        object.__setattr__(self, "ignored", names)


class Census:
    """The count of one file. `rows` and `lines` are what its parts and their numbers are called in
    sentences.
    """

    def __init__(
        self, source: str, reading: Reading, *, rows: str = "rows", lines: str = "lines"
    ) -> None:
        self.source, self.reading, self.rows, self.lines = source, reading, rows, lines
        self.read = self.truncated = 0
        self.passed_over: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()
        self._first: dict[str, list[int]] = {}

    @property
    def left_out(self) -> int:
        return self._left_out.total()

    def pass_over(self, key: str) -> None:
        self.passed_over[key] += 1

    def leave_out(self, reason: str, line: int) -> None:
        self._left_out[reason] += 1
        first = self._first.setdefault(reason, [])
        if len(first) < FIRST_LINES:
            first.append(line)

    def settle(self) -> None:
        """Raises UserError, in one sentence, if rows cannot be used and were not to be skipped, or
        if no row is left.
        """
        if not self.read:
            raise UserError(f"{self.source} is empty: it holds no {self.rows}")
        if not self.left_out:
            return
        cuts = self.reading.truncate == "no" and any(
            reason.startswith("longer") for reason in self._left_out
        )
        cut = ", or cut long ones with truncate=left or right" if cuts else ""
        if self.left_out == self.read:
            raise UserError(
                f"none of the {self.read} {self.rows} of {self.source} can be used "
                f"({self._reasons()}): mend them{cut}"
            )
        if self.reading.bad_rows == "refuse":
            raise UserError(
                f"{self.left_out} of the {self.read} {self.rows} of {self.source} cannot be used "
                f"({self._reasons()}): mend them, or leave them out with bad_rows=skip{cut}"
            )

    def notes(self) -> list[str]:
        """What a user should be told of rows left out, rows that were cut and keys that were not
        read: a line each.
        """
        said = []
        if self.left_out:
            said.append(
                f"{self.left_out} of the {self.read} {self.rows} of {self.source} are left out "
                f"({self._reasons()})."
            )
        if self.truncated:
            side = self.reading.truncate
            said.append(
                f"{self.truncated} of the {self.read} {self.rows} of {self.source} are cut on the "
                f"{side} to fit the context."
            )
        if self.passed_over:
            keys = ", ".join(sorted(self.passed_over))
            said.append(f"{self.source} has keys that are not read: {keys}.")
        return said

    def summary(self) -> dict[str, Any]:
        """For the run's summary: plain numbers, and the first lines of each reason."""
        left_out = {
            reason: {"count": count, f"first_{self.lines}": self._first[reason]}
            for reason, count in sorted(self._left_out.items())
        }
        return {
            "read": self.read, "left_out": left_out, "truncated": self.truncated,
            "keys_not_read": dict(self.passed_over),
        }  # fmt: skip

    def _reasons(self) -> str:
        """Every reason with its count and its first lines."""
        parts = []
        for reason, count in self._left_out.most_common():
            first = self._first[reason]
            numbers = ", ".join(map(str, first)) + (", …" if count > len(first) else "")
            unit = (
                self.lines if count > 1 else self.lines.removesuffix("s").replace("entrie", "entry")
            )
            parts.append(f"{reason}: {count}, {unit} {numbers}")
        return "; ".join(parts)


def summarise_rows(censuses: Iterable[Census]) -> dict[str, Any]:
    """What the run's summary keeps of the files that were read, by name; nothing without files."""
    files = {census.source: census.summary() for census in censuses}
    return {"rows": files} if files else {}
