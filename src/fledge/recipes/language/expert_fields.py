"""The fields of a mixture of experts: its sizes, and what keeps its experts in use."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from pydantic import Field

from fledge.algorithms.likelihood.routed import RoutingSettings
from fledge.errors import UserError
from fledge.models.language.mixture import Experts
from fledge.models.language.transformer_config import TransformerConfig


class ExpertFields(RoutingSettings):
    """Of a mixture of experts."""

    experts: int | None = Field(
        default=None, ge=1, le=10_000,
        description="feed-forward networks in each layer, of which a router chooses a few for each "
        "token (by default one, for all)",
    )  # fmt: skip
    experts_per_token: int | None = Field(
        default=None, ge=1, description="experts: how many a token is sent to (2 by default)"
    )
    expert_width: int | None = Field(
        default=None, ge=1,
        description="experts: hidden units of each; by default the feed-forward width / "
        "experts_per_token, with which a token costs what it costs without experts",
    )  # fmt: skip

    def check_experts(self, architecture: str) -> None:
        """Raises UserError for fields of a fresh network that do not fit together, or would do
        nothing.
        """
        given = sorted(set(ExpertFields.model_fields) & self.model_fields_set)
        if not given:
            return
        if self.experts is None:
            raise UserError(
                f"{', '.join(given)}: of a mixture of experts: give experts=8 too, or leave "
                f"{'it' if len(given) == 1 else 'them'} out."
            )
        if architecture != "transformer":
            raise UserError(
                f"experts= stand in a transformer's layers, and architecture={architecture} was "
                "given: leave one of the two out."
            )
        if self._used > self.experts:
            raise UserError(
                f"experts_per_token={self._used} of experts={self.experts}: it must be as many or "
                "fewer."
            )
        if self.bias_rate and self._used == 1:
            raise UserError(
                "with bias_rate the weights of a token's experts add up to 1, so that no gradient "
                "reaches the router of a single one: give experts_per_token=2 or more."
            )

    def put_experts(self, sizes: TransformerConfig) -> TransformerConfig:
        """A dense network's sizes, with experts in every layer where there are to be any: as
        Mixtral has them, or Qwen 3 MoE, whose queries and keys have norms and whose weights need
        not add up to 1, or with a bias MiniMax-M2, whose norms are over all heads.
        """
        if self.experts is None:
            return sizes
        used, corrected = self._used, self.bias_rate > 0
        width = self.expert_width or math.ceil(sizes.mlp_width / used)
        # One weight that is made to be 1 would have no gradient.
        normalised = used > 1 or self.experts == 1
        experts = Experts(self.experts, used, width, normalised, corrected=corrected)
        norms = sizes.qk_norm or corrected or not normalised
        return replace(
            sizes, mlp_width=width, experts=experts, qk_norm=norms, qk_norm_whole=corrected
        )

    @property
    def _used(self) -> int:
        """By each token, of a fresh network that has experts."""
        return self.experts_per_token or min(2, self.experts or 1)

    def check_experts_of(self, sizes: Any) -> None:
        """Raises UserError for fields that would do nothing for a base of these sizes."""
        experts = getattr(sizes, "experts", None)
        given = sorted(set(ExpertFields.model_fields) & self.model_fields_set)
        if experts is None:
            if given:
                raise UserError(f"the base has no experts: leave out {', '.join(given)}.")
            return
        own = [name for name in given if name not in RoutingSettings.model_fields]
        if own:
            raise UserError(f"the base brings its own experts: leave out {', '.join(own)}.")
        if self.bias_rate and not experts.corrected:
            raise UserError(
                f"bias_rate={self.bias_rate:g} moves a bias that the base's routers do not have: "
                "leave it out, and give balance_loss."
            )
