"""The fields of recipes that go on from a model: what of it learns, and how the rest is held."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, Self

from pydantic import Field

from fledge.errors import UserError
from fledge.hub.folder import Loaded, load_model
from fledge.models.language.adapters import LoRA, is_adapted
from fledge.models.language.bottleneck import Houlsby
from fledge.models.language.frozen_weights import FrozenWeights, bits_per_weight
from fledge.models.language.virtual_tokens import Virtual
from fledge.recipes.training import LARGE, TrainingConfig, count_parameters
from fledge.seeds import generator_for

# The verbs' own learning rates are for models of some half a million parameters; the best one falls
# with the square root of the width of the matrices, and an adapter bears ten times as much
# (Schulman et al. 2025, "LoRA without regret").
_RATED_FOR = 500_000  # parameters
_OF_AN_ADAPTER = 10.0
_VIRTUAL = ("adapter_tokens", "adapter_text")
_FIELDS_OF = {
    "lora": (
        "adapter_rank", "adapter_alpha", "adapter_stabilised", "adapter_dora", "adapter_dropout",
        "adapter_modules", "adapter_saves",
    ),
    "houlsby": ("adapter_rank",),
    "prefix": _VIRTUAL,
    "prompt": _VIRTUAL,
}  # fmt: skip


class AdapterFields(TrainingConfig):
    """What of the base learns."""

    adapter: Literal["auto", "none", "lora", "houlsby", "prefix", "prompt"] = Field(
        default="auto",
        description=(
            "what learns beside the frozen base: low-rank matrices (lora), small layers in every "
            "block (houlsby), virtual tokens before every row, by their keys and values (prefix) "
            "or their embeddings (prompt); auto: an adapter that the base has learns on, a base of "
            f"{LARGE // 10**6} million parameters or more gets lora"
        ),
    )
    adapter_rank: int = Field(
        default=16, ge=1, le=4096, description="of lora's matrices; width of houlsby's layers"
    )
    adapter_tokens: int = Field(
        default=20, ge=1, le=2**20, description="how many virtual tokens (prefix, prompt)"
    )
    adapter_text: str = Field(
        default="",
        description=(
            "what virtual tokens start from, repeated or cut to their number; by default tokens "
            "drawn from the vocabulary"
        ),
    )
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
        description="matrices with lora, as q_proj,v_proj; all-linear: all in the layers",
    )
    adapter_saves: str = Field(
        default="", description="modules that learn whole beside an adapter, as embed_tokens,norm"
    )
    base_weights: FrozenWeights = Field(
        default="fp32",
        description="how the frozen matrices under an adapter are held: memory for exactness",
    )

    def load_base(self, path: Path) -> tuple[Loaded, Self]:
        """The model to start from, with an adapter where one is wanted; and the fields, those that
        were left open as they suit it. Raises UserError.
        """
        self._check_kind()
        loaded = load_model(path)
        large = count_parameters(loaded.network) >= LARGE
        has_one = is_adapted(loaded.network)
        if self.adapter == "none" and has_one:
            loaded = loaded.merged()
        elif self.adapter not in ("auto", "none") or (
            self.adapter == "auto" and large and not has_one
        ):
            loaded = loaded.adapt(
                self._settings(), _split(self.adapter_modules), _split(self.adapter_saves),
                weights=self.base_weights, generator=generator_for(self.seed, "weights"),
            )  # fmt: skip
        return loaded, self._suit(loaded)

    def _check_kind(self) -> None:
        """Raises UserError for a field that is of another kind of adapter than the one asked
        for.
        """
        if self.adapter not in _FIELDS_OF:
            return
        for name in {each for every in _FIELDS_OF.values() for each in every}:
            if name not in _FIELDS_OF[self.adapter] and (
                getattr(self, name) != type(self).model_fields[name].default
            ):
                kinds = [kind for kind, names in _FIELDS_OF.items() if name in names]
                raise UserError(
                    f"{name} is of adapter={' or '.join(kinds)}, and adapter={self.adapter} was "
                    f"given: leave {name} out."
                )

    def _settings(self) -> LoRA | Houlsby | Virtual:
        if self.adapter == "houlsby":
            return Houlsby(self.adapter_rank)
        if self.adapter == "prefix" or self.adapter == "prompt":
            return Virtual(self.adapter, self.adapter_tokens, self.adapter_text)
        return LoRA(
            self.adapter_rank, self.adapter_alpha, self.adapter_stabilised, self.adapter_dora,
            self.adapter_dropout,
        )  # fmt: skip

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
    size = loaded.network.config.parameters
    learns = sum(p.numel() for p in loaded.network.parameters() if p.requires_grad)
    whole = f"{size / 1e6:,.4g} million parameters"
    if loaded.base is None:
        return whole
    bits = bits_per_weight(loaded.base.weights)
    return f"{whole} at {bits:g} bits, of which {learns / 1e6:,.3g} million learn"


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]
