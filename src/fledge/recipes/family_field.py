"""The field of recipes that read a model: a file with its family, where the model is of a kind of
the user's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, Field

from fledge.hub.folder import Loaded
from fledge.hub.own_families import use_family


class FamilyField(BaseModel):
    """Of a model of one's own kind."""

    family: Path | None = Field(
        default=None,
        description="a .py file that registers the base's family, where fledge does not know it",
    )

    def use_family(self) -> None:
        """Raises UserError for a file that is not there, or registers nothing."""
        if self.family is not None:
            use_family(self.family)

    def keep_family(self, loaded: Loaded) -> Self:
        """With the family that the model was read by, so that the run knows it too."""
        if self.family is not None or loaded.family is None:
            return self
        return self.model_copy(update={"family": loaded.family})

    @property
    def own_family(self) -> list[str]:
        """For the run's lineage."""
        return [] if self.family is None else [str(self.family)]
