"""`fledge show coordinates`: how large what a transformer computes becomes with its width in the
first steps, under the usual parametrization and under µP.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from fledge.errors import UserError
from fledge.evaluate.scaling.coordinates import Coordinates, check_coordinates
from fledge.models.language.parameterization import BASE_HEAD_WIDTH, BASE_WIDTH
from fledge.models.language.transformer import TransformerConfig
from fledge.report.show_coordinates import draw_coordinates
from fledge.report.show_page import check_show_page, write_show_page
from fledge.runs.show import Show

WIDEST = 2048
VOCABULARY, CONTEXT, ROWS = 64, 32, 4


class ShowCoordinatesConfig(BaseModel):
    """Draw the coordinate check, over widths and first steps: the mean size of what each layer
    gives, under parameterization=standard and =mup. What grows with the width wants a rate of its
    own for each.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    widths: str = Field(
        default="32,64,128,256",
        description="of networks whose heads are 16 wide, with commas between; multiples of 16",
    )
    layers: int = Field(default=2, ge=1, le=64, description="of each network")
    steps: int = Field(default=4, ge=1, le=20, description="optimizer steps, on one batch")
    learning_rate: float = Field(default=0.005, gt=0, le=1, description="of AdamW, at every width")
    seeds: int = Field(default=2, ge=1, le=100, description="networks of each width")
    out: Path = Field(default=Path("coordinates.html"), description="the page to write")
    seed: int = Field(default=0, ge=0, lt=2**32, description="the first of the seeds")

    def list_widths(self) -> list[int]:
        """Raises UserError."""
        words = [word.strip() for word in self.widths.split(",")]
        fits = [word.isdecimal() and 0 < int(word) <= WIDEST for word in words]
        widths = sorted({int(word) for word in words}) if all(fits) else []
        if len(widths) < 2 or any(width % BASE_HEAD_WIDTH for width in widths):
            raise UserError(
                f"widths={self.widths}: give two or more multiples of {BASE_HEAD_WIDTH}, up to "
                f"{WIDEST:,}, with commas between."
            )
        return widths


def show_coordinates(config: ShowCoordinatesConfig, show: Show) -> dict[str, Any]:
    """Raises UserError for widths that are none."""
    widths = config.list_widths()
    check_show_page(config.out)
    sizes = TransformerConfig(
        VOCABULARY, CONTEXT, config.layers, BASE_WIDTH,
        heads=BASE_WIDTH // BASE_HEAD_WIDTH, kv_heads=BASE_WIDTH // BASE_HEAD_WIDTH,
    )  # fmt: skip
    seeds = range(config.seed, config.seed + config.seeds)
    checks = {
        name: check_coordinates(
            sizes, widths, mup=name == "mup", steps=config.steps,
            learning_rate=config.learning_rate, rows=ROWS, seeds=seeds,
        )
        for name in ("standard", "mup")
    }  # fmt: skip
    page = draw_coordinates(checks, config.learning_rate)
    write_show_page(config.out, page)
    for name, each in checks.items():
        slopes = each.slope(each.size)[-1]
        at = int(slopes.argmax())
        show.line(
            f"{name}: after {config.steps} steps sizes grow as width^{slopes.min():.2f} to "
            f"width^{slopes[at]:.2f} ({each.names[at]})."
        )
    show.line(f"Page: {config.out}")
    return {
        "widths": widths,
        "steps": config.steps,
        "learning_rate": config.learning_rate,
        "checks": {name: describe(each) for name, each in checks.items()},
        "page": str(config.out),
    }


def describe(each: Coordinates) -> dict[str, Any]:
    """size, change: [widths, steps (+ 1), names]. slopes: of log size over log width, of each name
    after the last step.
    """
    slopes = each.slope(each.size)[-1]
    return {
        "names": list(each.names),
        "slopes": dict(zip(each.names, slopes.tolist(), strict=True)),
        "size": each.size.tolist(),
        "change": each.change.tolist(),
    }
