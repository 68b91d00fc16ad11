"""The fields of `fledge scale`, and what of them is said of which of its two kinds of data."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from fledge import ranks
from fledge.data_names import split_names
from fledge.errors import UserError
from fledge.runs.lineage import verb_of

OF_SWEEP = ("minutes", "tokenizer", "context", "tokens_per_step", "learning_rate", "budgets")
OF_POINTS = ("without_worst", "huber", "unique_tokens")
OF_RUNS = ("figure", "most", "beyond")
OF_LAWS = ("budget", "serve_tokens", "resamples")  # of losses, wherever they are from


class ScaleConfig(BaseModel):
    """Fit a scaling law L = E + A/N^α + B/D^β: on a .csv of runs that there are, or on text, of
    which runs are planned for the minutes given, made, and held against one that was foretold. Or,
    of runs of align or control, R = R0 + (A − R0)/(1 + (C_mid/C)^B): their reward over compute.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    data: str = Field(
        default="python",
        description="a .csv of runs, with loss and two of parameters, tokens and flop (and, where "
        "tokens were seen again, unique_tokens, epochs or repeats); text to make runs on, as "
        "`pretrain` takes it; or runs of align or control, with commas between",
    )
    budget: float | None = Field(
        default=None, gt=0, description="FLOP of a training whose best size is asked for"
    )
    serve_tokens: float = Field(
        default=0.0, ge=0,
        description="tokens that the model of that budget is to read and write afterwards, paid "
        "out of it",
    )  # fmt: skip
    unique_tokens: float | None = Field(
        default=None, gt=0,
        description=".csv: tokens that there are, where that budget may read them again: how often "
        "it should",
    )  # fmt: skip
    minutes: float = Field(
        default=20.0, gt=0, description="text: that all runs together may take, about"
    )
    budgets: int = Field(
        default=4, ge=3, le=8, description="text: budgets, each of up to four sizes"
    )
    tokenizer: str = Field(
        default="bytes", description="text: as of `pretrain`; bytes make the loss nats a byte"
    )
    context: int = Field(default=128, ge=8, description="text: tokens a row")
    tokens_per_step: int = Field(default=512, ge=8, description="text: tokens an optimizer step")
    learning_rate: float = Field(
        default=4e-3, gt=0,
        description="text: at its peak, at every width (parameterization=mup)",
    )  # fmt: skip
    without_worst: int = Field(
        default=0, ge=0, description=".csv: runs with the highest loss that are left out"
    )
    huber: float | None = Field(
        default=None, gt=0,
        description=".csv: Huber's threshold on log loss; by default 0.001, and 0.03 of fewer than "
        "40 runs",
    )  # fmt: skip
    figure: str = Field(
        default="reward", description="runs: of metrics.jsonl, that grows with compute"
    )
    most: float | None = Field(
        default=None, description="runs: that the figure can be; 1 of shares, else without end"
    )
    beyond: float = Field(
        default=2.0, gt=0, description="runs: how many times their compute reward is foretold at"
    )
    share: float = Field(default=0.9, gt=0, lt=1, description="of the intervals")
    resamples: int = Field(default=1000, ge=50, description="of the bootstrap")
    out: Path | None = Field(
        default=None, description="run folder; by default the first free of runs/scale, …"
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="of every random number in the run")

    @property
    def of_points(self) -> bool:
        """Whether the runs are there already, as lines of a file."""
        return self.data.lower().endswith(".csv")

    @property
    def of_runs(self) -> bool:
        """Whether they are folders of runs, whose reward is looked at."""
        names = split_names(self.data)
        return bool(names) and all(verb_of(Path(each).expanduser()) for each in names)

    def check(self) -> None:
        """Raises UserError for fields that would do nothing."""
        if self.of_points:
            idle, kind = (*OF_SWEEP, *OF_RUNS), "a .csv of runs"
        elif self.of_runs:
            idle, kind = (*OF_SWEEP, *OF_POINTS, *OF_LAWS), "runs"
        else:
            idle, kind = (*OF_POINTS, *OF_RUNS), "text"
        given = sorted(set(idle) & self.model_fields_set)
        # Of a run that is resumed every field has been given.
        given = [name for name in given if getattr(self, name) != self._usual(name)]
        if given:
            raise UserError(
                f"{', '.join(given)}: not of {kind}, which data={self.data} is: leave it out."
            )
        if (self.of_points or self.of_runs) and ranks.world() > 1:
            raise UserError(
                "the law of runs that there are is the work of one process: leave torchrun out."
            )
        if self.serve_tokens and self.budget is None:
            raise UserError("serve_tokens= is paid out of a budget: give budget= too.")
        if self.unique_tokens and (self.budget is None or self.serve_tokens):
            raise UserError(
                "unique_tokens= is read again by a budget that is all training: give budget=, and "
                "no serve_tokens=."
            )
        if self.tokens_per_step % self.context:
            raise UserError(
                f"tokens_per_step={self.tokens_per_step} is no multiple of context={self.context}: "
                "a step is whole rows."
            )

    def _usual(self, name: str) -> object:
        return type(self).model_fields[name].default
