"""The fields of recipes that go on from a model: what of it learns, and how the rest is held."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, Self

from pydantic import Field

from fledge.errors import UserError
from fledge.hub.folder import Loaded, load_model
from fledge.models.language.adapters import LoRA, is_adapted
from fledge.models.language.frozen_weights import FrozenWeights, bits_per_weight
from fledge.recipes.language.freeze_fields import FreezeFields, describe_trainable, split_names
from fledge.recipes.training import LARGE, TrainingConfig, count_parameters
from fledge.seeds import generator_for

# The verbs' own learning rates are for models of some half a million parameters; the best one falls
# with the square root of the width of the matrices, and an adapter bears ten times as much
# (Schulman et al. 2025, "LoRA without regret").
_RATED_FOR = 500_000  # parameters
_OF_AN_ADAPTER = 10.0


class AdapterFields(FreezeFields, TrainingConfig):
    """What of the base learns."""

    adapter: Literal["auto", "none", "lora"] = Field(
        default="auto",
        description=(
            "low-rank matrices that learn beside frozen ones (LoRA); auto: an adapter that the "
            f"base has learns on, a base of {LARGE // 10**6} million parameters or more gets one"
        ),
    )
    adapter_rank: int = Field(default=16, ge=1, le=4096, description="of an adapter's matrices")
    adapter_alpha: float = Field(
        default=32.0, gt=0, description="an adapter's update is scaled by alpha / rank"
    )
    adapter_stabilised: bool = Field(
        default=False, description="scaled by alpha / √rank instead (rank-stabilised LoRA)"
    )
    adapter_dora: bool = Field(
        default=False, description="the length of every row learns by itself (DoRA)"
    )
    adapter_dropout: float = Field(
        default=0.0, ge=0, lt=1, description="of what goes into an adapter, while it learns"
    )
    adapter_modules: str = Field(
        default="all-linear",
        description="matrices with an adapter, as q_proj,v_proj; all-linear: all in the layers",
    )
    adapter_saves: str = Field(
        default="", description="modules that learn whole beside an adapter, as embed_tokens,norm"
    )
    base_weights: FrozenWeights = Field(
        default="fp32",
        description="how the frozen matrices under an adapter are held: memory for exactness",
    )

    def load_base(self, path: Path) -> tuple[Loaded, Self]:
        """The model to start from, with an adapter or frozen weights where they are wanted; and the
        fields, those that were left open as they suit it. Raises UserError.
        """
        loaded = load_model(path)
        large = count_parameters(loaded.network) >= LARGE
        has_one = is_adapted(loaded.network)
        if self.freeze and (self.adapter == "lora" or (self.adapter == "auto" and has_one)):
            raise UserError(
                f"freeze={self.freeze} chooses among weights that learn whole, and under an "
                "adapter all of the base is frozen: leave out freeze, or give adapter=none."
            )
        if self.adapter == "none" and has_one:
            loaded = loaded.merged()
        elif self.adapter == "lora" or (
            self.adapter == "auto" and large and not has_one and not self.freeze
        ):
            settings = LoRA(
                self.adapter_rank, self.adapter_alpha, self.adapter_stabilised, self.adapter_dora,
                self.adapter_dropout,
            )  # fmt: skip
            loaded = loaded.adapt(
                settings, split_names(self.adapter_modules), split_names(self.adapter_saves),
                weights=self.base_weights, generator=generator_for(self.seed, "weights"),
            )  # fmt: skip
        self.freeze_parts(loaded.network)
        self.set_checkpointing(loaded.network)
        return loaded, self._suit(loaded)

    def _suit(self, loaded: Loaded) -> Self:
        """With a learning rate for a model of this size, where none was given."""
        size = count_parameters(loaded.network)
        if "learning_rate" in self.model_fields_set or size < LARGE:
            return self
        rate = self.learning_rate * math.sqrt(_RATED_FOR / size)
        if is_adapted(loaded.network):
            rate *= _OF_AN_ADAPTER
        return self.model_copy(update={"learning_rate": float(f"{rate:.1g}")})


def describe_size(loaded: Loaded) -> str:
    """How large a model is, and how much of it learns."""
    whole = f"{loaded.network.config.parameters / 1e6:,.4g} million parameters"
    held = "" if loaded.base is None else f" at {bits_per_weight(loaded.base.weights):g} bits"
    return whole + held + describe_trainable(loaded.network)
