"""What an algorithm can be told: each has a `Settings` in its own file, which `--help`, config
files and Python read alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo


@dataclass(frozen=True)
class Sampling:
    """How an algorithm of texts wants its samples.

    smallest_group: answers to one prompt that it compares. redraws: rounds of dynamic sampling.
    hint: how a prompt without a right answer is asked again, or None. threshold: the reward from
    which an answer is right. of_base: whether it learns
    from what the base says, not from what it says itself.
    """

    smallest_group: int = 1
    redraws: int = 0
    hint: str | None = None
    threshold: float = 1.0
    of_base: bool = False


class AlgorithmSettings(BaseModel):
    """The fields of one algorithm with their defaults, bounds and a line of help; frozen.

    A field that is `exclude`d is for Python alone: a function, or what no command line can say.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), arbitrary_types_allowed=True
    )

    def replace(self, **changes: Any) -> Self:
        """The same with some fields changed, checked as they were at first."""
        return type(self)(**{**dict(self), **changes})

    def sampling(self) -> Sampling:
        return Sampling()

    def count_updates(self, rows: int | None = None) -> tuple[int, int]:
        """Optimizer steps on one batch of samples, and in how many passes over it. rows: of a
        batch, where that is known.
        """
        return 1, 1

    def for_rows(self, rows: int) -> Self:
        """With as many optimizer steps as they make on a batch of so many rows."""
        return self

    @property
    def restarts(self) -> bool:
        """Whether every batch is a training of its own, with the whole of the schedule."""
        return False


class Passes(AlgorithmSettings):
    """Of an algorithm that makes several optimizer steps on one batch of samples."""

    updates_per_step: int | None = Field(
        default=None,
        ge=1,
        description="optimizer steps over each batch of samples; none: its own number an epoch",
    )
    epochs: int | None = Field(
        default=None,
        ge=1,
        description=(
            "passes over each batch of samples, within updates_per_step; none: 1, or its own "
            "number where updates_per_step is none too"
        ),
    )

    def usual(self, rows: int | None) -> tuple[int, int]:
        """What a pass is cut into, and how many passes there are, where neither is given."""
        return 1, 1

    def count_updates(self, rows: int | None = None) -> tuple[int, int]:
        """With `epochs` alone each pass is in as many pieces as usual, in fewer where that does not
        divide the rows.
        """
        pieces, passes = self.usual(rows)
        epochs = self.epochs or (passes if self.updates_per_step is None else 1)
        pieces = pieces if rows is None else math.gcd(pieces, rows)
        return self.updates_per_step or epochs * pieces, epochs

    def for_rows(self, rows: int) -> Self:
        updates, epochs = self.count_updates(rows)
        return self.replace(updates_per_step=updates, epochs=epochs)


class WorldPasses(Passes):
    """Of one whose batches are steps of a world, as many as its copies made."""

    rows_per_update: int = Field(
        default=256,
        ge=1,
        description="steps that an optimizer step learns from, where updates_per_step is none",
    )

    def count_updates(self, rows: int | None = None) -> tuple[int, int]:
        """Pieces need not be equal: what is over is spread among them."""
        epochs = self.epochs or 1
        pieces = 1 if rows is None else max(1, rows // self.rows_per_update)
        return self.updates_per_step or epochs * pieces, epochs


def fields_of(settings: AlgorithmSettings) -> Mapping[str, tuple[Any, FieldInfo]]:
    """What a command line may say: {name: (type, field)}, with the defaults of these settings."""
    fields = {}
    for name, field in type(settings).model_fields.items():
        if not field.exclude:
            default = getattr(settings, name)
            fields[name] = field.annotation, FieldInfo.merge_field_infos(field, default=default)
    return fields
