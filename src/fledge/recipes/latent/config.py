"""The fields of `fledge fit`, beside those of the chosen model."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict, Field

from fledge.algorithms.latent.settings import MixtureSettings
from fledge.algorithms.registry import Subject, names_of
from fledge.recipes.algorithm_fields import AlgorithmFields

BLOCK_POINTS = 1_000


class FitConfig(AlgorithmFields):
    """Infer what cannot be seen: which component a point is of, which factors it is made of. Every
    step raises a bound on the log-likelihood, and prints it.
    """

    subject: ClassVar[Subject] = "latent"
    choice: ClassVar[str] = "model"

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
    )

    data: str = Field(
        description="points: a .csv, .npy, .npz or .safetensors, one point a row; a value may be "
        "missing. Of hmm and kalman the rows are steps; of hmm it may be a text; of weak rows with "
        "a text, a .jsonl"
    )
    model: str = Field(
        default="gmm",
        description=f"one of {', '.join(names_of('latent'))}; or FILE.py:Class for one of your own",
    )
    labels: str | None = Field(
        default=None, description="the column that names what each point is; not fitted to"
    )
    supervised: bool = Field(
        default=False,
        description="labels are the components: fitted to them; points without one are inferred",
    )
    weights: str | None = Field(
        default=None, description="the column that says how often each point counts"
    )
    block_points: int | None = Field(
        default=None,
        ge=1,
        description="points a step, of em=stepwise or incremental and of inference=svi; "
        f"{BLOCK_POINTS:,} by default",
    )
    steps: int = Field(
        default=200, ge=1, description="at the most; it ends as soon as the bound stands"
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="of every random number in the run")
    out: Path | None = Field(
        default=None,
        description="run folder; by default the first free of runs/fit, runs/fit-2, …",
    )
    evaluate_every: int = Field(
        default=0, ge=0, description="steps between evaluations; 0: only before and after"
    )
    save_every_s: float = Field(default=30.0, ge=0, description="seconds between checkpoints")
    film: bool = Field(
        default=True,
        description="of what is fitted as it moves, for the report; of bbvi how much each "
        "estimator of the gradient varies",
    )

    @property
    def every_k(self) -> list[int]:
        """The numbers of components that are tried; none of a model that has no such number."""
        settings = self.settings
        return settings.every_k if isinstance(settings, MixtureSettings) else []

    @property
    def figure(self) -> str:
        """What a model is judged by: the log-likelihood, unless its algorithm has another."""
        return getattr(self.entry.algorithm, "figure", "log_likelihood")

    @property
    def own_files(self) -> list[str]:
        """Files of the user's that a setting names: for the run's lineage."""
        given = [getattr(self.settings, name, "") for name in ("target", "functions")]
        return [each for each in given if each.endswith(".py")]
