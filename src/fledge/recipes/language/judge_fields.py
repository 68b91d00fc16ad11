"""The fields of every recipe that takes a task: where a task file of the user's runs, and what it
may take.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from fledge.runs.show import Show
from fledge.tasks.judge_process import Limits


class JudgeFields(BaseModel):
    """Beside `task`."""

    judge_process: Literal["own", "trainer"] = Field(
        default="own",
        description=(
            "where a task file (.py) runs: in a process of its own, or without limits in the "
            "trainer's; what it keeps, a counter or a cache, is in no checkpoint"
        ),
    )
    judge_seconds: float = Field(
        default=30.0,
        gt=0,
        le=1e6,
        description="a call of its score() or scores() may take; to load it, 4 times as many",
    )
    judge_memory_gb: float = Field(
        default=4.0, gt=0, le=1e6, description="gigabytes that its process may take"
    )
    judge_failed_score: float = Field(
        default=0.0,
        description=(
            "of an answer on which the judge hangs or dies; judge_failed is the share of such "
            "answers"
        ),
    )

    def limits(self, show: Show) -> Limits | None:
        """None: no process of its own."""
        if self.judge_process == "trainer":
            return None
        return Limits(self.judge_seconds, self.judge_memory_gb, self.judge_failed_score, show.line)
