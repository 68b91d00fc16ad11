"""The field that says with what initial scales and rates a transformer of another width begins."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from fledge.errors import UserError
from fledge.models.language.parameterization import choose_rates, widen_
from fledge.models.language.transformer import Transformer
from fledge.optimizers import Rates, same


class ParameterizationField(BaseModel):
    """Of a fresh transformer."""

    parameterization: Literal["standard", "mup"] = Field(
        default="standard",
        description="mup: initial scales and learning rates by weight with which the best "
        "learning_rate of a narrow model is a wide one's; at width 64, heads of 16, it is standard",
    )

    def check_parameterization(self, architecture: str, *, fresh: bool, experts: bool) -> None:
        """Raises UserError where there is nothing that it could begin."""
        if self.parameterization == "standard":
            return
        wrong = ""
        if not fresh:
            wrong = "base= brings weights that have begun"
        elif architecture != "transformer":
            wrong = f"architecture={architecture} was given"
        elif experts:
            wrong = "experts= was given"
        if wrong:
            raise UserError(
                f"parameterization={self.parameterization} is of a fresh transformer without "
                f"experts, and {wrong}: leave one of the two out."
            )

    def widen(self, network: Any) -> None:
        """A fresh network's initial weights, in place."""
        if self.parameterization == "mup":
            assert isinstance(network, Transformer)
            widen_(network)

    def choose_rates(self, network: Any, optimizer: Literal["adamw", "muon"]) -> Rates:
        """What `learning_rate` is multiplied by, by a weight's name."""
        if self.parameterization == "standard":
            return same
        return choose_rates(network.config, optimizer)
