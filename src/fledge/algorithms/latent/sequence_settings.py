"""What every model of sequences can be told beside when it has converged."""

from __future__ import annotations

from pydantic import Field

from fledge.algorithms.latent.settings import LatentSettings


class SequenceSettings(LatentSettings):
    """Of a model whose rows are steps of sequences."""

    sequence: str | None = Field(
        default=None,
        description="the column that says which sequence a row is a step of; none: all are one",
    )
