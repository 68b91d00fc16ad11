"""The rows of metrics.jsonl that a run's summary is made of, kept in its checkpoints too: a lost
log does not cost them.
"""

from __future__ import annotations

from typing import Any

LogRow = dict[str, Any]


class Landmarks:
    """The first and last update, the first, best and last evaluation."""

    def __init__(self, rows: dict[str, LogRow] | None = None, best: float | None = None):
        """rows and best: as `state` gave them."""
        self.rows: dict[str, LogRow] = dict(rows or {})
        self.best = best

    def update(self, row: LogRow) -> None:
        self.rows.setdefault("first update", row)
        self.rows["last update"] = row

    def evaluation(self, row: LogRow, score: float | None) -> None:
        """score: higher is better; None where evaluations are not compared."""
        self.rows.setdefault("first evaluation", row)
        self.rows["last evaluation"] = row
        if score is not None and (self.best is None or score > self.best):
            self.rows["best evaluation"], self.best = row, score

    def state(self) -> dict[str, Any]:
        return {"rows": self.rows, "best": self.best}

    def in_order(self) -> list[LogRow]:
        """Each row once, by step; of one step the update first, as in the log."""
        order = (
            "first update",
            "last update",
            "first evaluation",
            "best evaluation",
            "last evaluation",
        )
        rows: list[LogRow] = []
        for name in order:
            if name in self.rows and self.rows[name] not in rows:
                rows.append(self.rows[name])
        return sorted(rows, key=lambda row: row["step"])
