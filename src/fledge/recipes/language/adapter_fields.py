"""The fields of recipes that go on from a model: what of it learns, and how the rest is held."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field

from fledge.errors import UserError
from fledge.hub.folder import Loaded, load_model
from fledge.models.language.adapters import LoRA, is_adapted
from fledge.models.language.frozen_weights import FrozenWeights, bits_per_weight
from fledge.recipes.family_field import FamilyField
from fledge.recipes.language.freeze_fields import FreezeFields, describe_trainable, split_names
from fledge.recipes.language.large_defaults import LargeDefaults
from fledge.recipes.training import LARGE, TrainingConfig, count_parameters
from fledge.seeds import generator_for


class AdapterFields(FamilyField, FreezeFields, TrainingConfig):
    """What of the base learns."""

    large: ClassVar[LargeDefaults]  # of the verb

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
        self.use_family()
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
        size = count_parameters(loaded.network)
        suited = self.large.suit(self, size, adapted=is_adapted(loaded.network))
        return loaded, suited.keep_family(loaded)


def describe_size(loaded: Loaded) -> str:
    """How large a model is, and how much of it learns."""
    whole = f"{loaded.network.config.parameters / 1e6:,.4g} million parameters"
    held = "" if loaded.base is None else f" at {bits_per_weight(loaded.base.weights):g} bits"
    return whole + held + describe_trainable(loaded.network)
