"""The fields of low-rank adapters, whatever network they stand in."""

from __future__ import annotations

from pydantic import BaseModel, Field

from fledge.models.language.adapters import LoRA
from fledge.models.language.frozen_weights import FrozenWeights


class LoraFields(BaseModel):
    """Of adapter=lora."""

    adapter_rank: int = Field(default=16, ge=1, le=4096, description="of lora's matrices")
    adapter_alpha: float = Field(
        default=32.0, gt=0, description="an adapter's update is scaled by alpha / rank"
    )
    adapter_stabilised: bool = Field(
        default=False, description="scaled by alpha / √rank instead (rank-stabilised LoRA)"
    )
    adapter_dora: bool = Field(
        default=False, description="the length of every row learns by itself (DoRA)"
    )
    adapter_modules: str = Field(
        default="all-linear",
        description="matrices with lora, as q_proj,v_proj; all-linear: all in the layers",
    )
    base_weights: FrozenWeights = Field(
        default="fp32",
        description="how the frozen matrices under an adapter are held: memory for exactness",
    )

    def make_lora(self, dropout: float = 0.0) -> LoRA:
        """dropout: of what goes into an adapter."""
        return LoRA(
            self.adapter_rank, self.adapter_alpha, self.adapter_stabilised, self.adapter_dora,
            dropout,
        )  # fmt: skip
