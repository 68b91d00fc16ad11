"""The field of recipes that train a model they were given: which of its weights do not learn."""

from __future__ import annotations

from pydantic import BaseModel, Field
from torch import nn

from fledge.hub.freezing import freeze_weights
from fledge.recipes.training import count_parameters


class FreezeFields(BaseModel):
    """What of a model that was given does not learn."""

    freeze: str = Field(
        default="",
        description=(
            "weights that stay as they are, by patterns with a comma between them, as "
            "embed*,layers.0.*: neither gradient nor optimizer state, and no adapter unasked"
        ),
    )

    def freeze_parts(self, network: nn.Module) -> None:
        """Raises UserError for patterns that fit nothing, or all."""
        if patterns := split_names(self.freeze):
            freeze_weights(network, patterns, "freeze")


def describe_trainable(network: nn.Module) -> str:
    """What is to be said beside the size of a network of which not all learns."""
    learns = sum(p.numel() for p in network.parameters() if p.requires_grad)
    if learns == count_parameters(network):
        return ""
    return f", of which {learns / 1e6:,.3g} million learn"


def split_names(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]
