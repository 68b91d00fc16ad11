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
        if self.experts_per_token is not None and self.experts_per_token > self.experts:
            raise UserError(
                f"experts_per_token={self.experts_per_token} of experts={self.experts}: it must be "
                "as many or fewer."
            )

    def put_experts(self, sizes: TransformerConfig) -> TransformerConfig:
        """A dense network's sizes, with experts in every layer where there are to be any: those of
        Mixtral or Qwen 3 MoE, or with a bias of MiniMax-M2, whose queries and keys have norms over
        all heads.
        """
        if self.experts is None:
            return sizes
        used = self.experts_per_token or min(2, self.experts)
        width = self.expert_width or math.ceil(sizes.mlp_width / used)
        corrected = self.bias_rate > 0
        experts = Experts(self.experts, used, width, corrected=corrected)
        norms: dict[str, Any] = {"qk_norm": True, "qk_norm_whole": True} if corrected else {}
        return replace(sizes, mlp_width=width, experts=experts, **norms)

    def check_experts_of(self, sizes: Any) -> None:
        """Raises UserError for fields that would do nothing for a base of these sizes."""
        experts = getattr(sizes, "experts", None)
        given = sorted(set(ExpertFields.model_fields) & self.model_fields_set)
        if given and experts is None:
            raise UserError(f"the base has no experts: leave out {', '.join(given)}.")
        own = [name for name in given if name not in RoutingSettings.model_fields]
        if own:
            raise UserError(f"the base brings its own experts: leave out {', '.join(own)}.")
        if self.bias_rate and not experts.corrected:
            raise UserError(
                f"bias_rate={self.bias_rate:g} moves a bias that the base's routers do not have: "
                "leave it out, and give balance_loss."
            )
