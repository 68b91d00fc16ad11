"""`fledge report`: one page about a run or a whole road, that opens anywhere without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from fledge.report.report import write_report
from fledge.runs.show import Show


class ReportConfig(BaseModel):
    """Write report.html: curves, lineage, samples before and after, timings, settings and hashes,
    in one file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: Path = Field(description="the run's folder, or a folder of runs such as the demo's")
    out: Path | None = Field(
        default=None, description="the file to write, in place of report.html in that folder"
    )


def report(config: ReportConfig, show: Show) -> dict[str, Any]:
    """Raises UserError where `run` holds no run."""
    written = write_report(config.run, config.out)
    size = written.stat().st_size
    show.line(
        f"report: {written} ({size / 1000:,.0f} kB). Open it in a browser; it needs nothing else."
    )
    return {"report": str(written), "bytes": size}
