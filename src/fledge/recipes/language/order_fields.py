"""The fields of the order in which a recurrent model reads its text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic import BaseModel, Field

from fledge.errors import UserError
from fledge.models.language.recurrent import Recurrent


class OrderFields(BaseModel):
    """Of a recurrent model."""

    carry: bool = Field(
        default=False,
        description=(
            "of a recurrent model: each row goes on where that of the step before ended, from the "
            "state it left (truncated back-propagation through time)"
        ),
    )
    backward: bool = Field(
        default=False,
        description=(
            "of a recurrent model: documents are read from their end, for vectors of tokens that "
            "know what follows; it writes none"
        ),
    )

    @property
    def reading_order(self) -> str:
        """The field that changes it, "" for none."""
        return "carry" if self.carry else "backward" if self.backward else ""

    def check_order(self, network: object, objective: str | None) -> None:
        """Raises UserError for a network without a state, and for text that is not read in its
        order.
        """
        asked = self.reading_order
        if asked and not isinstance(network, Recurrent):
            what = "carries a recurrent model's state" if self.carry else (
                "is of recurrent models, which ELMo is made of"
            )  # fmt: skip
            raise UserError(
                f"{asked}=true {what}, and a transformer has none: choose architecture=lstm, gru, "
                "elman or mingru, or leave it out."
            )
        if asked and objective == "fim":
            raise UserError(
                f"{asked}=true reads a text in its order, and objective=fim moves its middles: "
                "leave one of the two out."
            )

    def put_order(self, network: Any) -> None:
        """Into a fresh network's config, which says in what order it reads."""
        if self.backward and isinstance(network, Recurrent):
            network.config = replace(network.config, backward=True)


def reads_backward(network: Any) -> bool:
    return isinstance(network, Recurrent) and network.config.backward
