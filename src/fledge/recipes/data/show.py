"""`fledge data show`: a page with examples of what a cleaning kept and dropped, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from fledge.errors import UserError
from fledge.recipes.data.examples import draw_page
from fledge.report.show_page import check_show_page, write_show_page
from fledge.runs.folder import Run
from fledge.runs.lineage import verb_of
from fledge.runs.show import Show


class DataShowConfig(BaseModel):
    """Draw a page about a run of `fledge data clean`: how much each filter dropped, and examples of
    each, with the reason.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: Path = Field(description="the folder of a `fledge data clean`")
    documents: int = Field(default=10, ge=1, le=1000, description="shown of each filter")
    seed: int = Field(default=0, ge=0, lt=2**63, description="by which they are drawn")
    out: Path = Field(default=Path("data.html"), description="the page to write")


def data_show(config: DataShowConfig, show: Show) -> dict[str, Any]:
    """Raises UserError for what is no finished cleaning."""
    check_show_page(config.out)
    if verb_of(config.run) != "data clean":
        raise UserError(f"{config.run} is no run of `fledge data clean`: give the folder of one.")
    summary = Run.open(config.run).summary
    if summary is None:
        raise UserError(f"{config.run} is not finished: resume it first.")
    write_show_page(config.out, draw_page(config.run, summary, config.seed, config.documents))
    show.line(f"The page: {config.out}")
    return {"run": str(config.run), "documents": summary["documents"], "page": str(config.out)}
