"""The fields of recipes that go on from a model: what of it learns, and how the rest is held."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field
from torch import nn

from fledge.errors import UserError
from fledge.hub.adapter_targets import WHOLE, FrozenBase
from fledge.hub.folder import Loaded, load_model
from fledge.models.language.adapters import LoRA, is_adapted
from fledge.models.language.bottleneck import Houlsby
from fledge.models.language.frozen_weights import bits_per_weight
from fledge.models.language.virtual_tokens import Virtual
from fledge.recipes.family_field import FamilyField
from fledge.recipes.language.freeze_fields import FreezeFields, describe_trainable, split_names
from fledge.recipes.language.large_defaults import LargeDefaults
from fledge.recipes.language.lora_fields import LoraFields
from fledge.recipes.training import LARGE, TrainingConfig, count_parameters
from fledge.seeds import generator_for

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


class AdapterFields(LoraFields, FamilyField, FreezeFields, TrainingConfig):
    """What of the base learns."""

    large: ClassVar[LargeDefaults]  # of the verb

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
    adapter_dropout: float = Field(
        default=0.0, ge=0, lt=1, description="of what goes into an adapter, while it learns"
    )
    adapter_saves: str = Field(
        default="", description="modules that learn whole beside an adapter, as embed_tokens,norm"
    )

    def load_base(self, path: Path) -> tuple[Loaded, Self]:
        """The model to start from, with an adapter or frozen weights where they are wanted; and the
        fields, those that were left open as they suit it. Raises UserError.
        """
        self.use_family()
        self._check_kind()
        loaded = load_model(path, freeze=self._freeze)
        has_one = is_adapted(loaded.network)
        asked = self.adapter not in ("auto", "none")
        if self.freeze and (asked or (self.adapter == "auto" and has_one)):
            raise UserError(
                f"freeze={self.freeze} chooses among weights that learn whole, and under an "
                "adapter all of the base is frozen: leave out freeze, or give adapter=none."
            )
        if self.adapter == "none" and has_one:
            loaded = loaded.merged()
        elif asked or (not has_one and self._suits_adapter(loaded.network)):
            modules, saved = split_names(self.adapter_modules), split_names(self.adapter_saves)
            loaded = loaded.adapt(
                self._settings(), modules, saved,
                weights=self.base_weights, generator=generator_for(self.seed, "weights"),
            )  # fmt: skip
        self.freeze_parts(loaded.network)
        self.set_checkpointing(loaded.network)
        size = count_parameters(loaded.network)
        suited = self.large.suit(self, size, adapted=is_adapted(loaded.network))
        return loaded, suited.keep_family(loaded)

    def _suits_adapter(self, network: nn.Module) -> bool:
        """Whether a base that has none gets one."""
        large = count_parameters(network) >= LARGE
        return not self.freeze and self.adapter != "none" and (large or self.adapter != "auto")

    def _freeze(self, network: nn.Module) -> FrozenBase:
        """How the matrices of a base that has no adapter are held."""
        if not self._suits_adapter(network):
            return WHOLE
        saved = split_names(self.adapter_saves) if self.adapter in ("auto", "lora") else []
        return FrozenBase(self.base_weights, saved)

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
        return self.make_lora(self.adapter_dropout)


def describe_size(loaded: Loaded) -> str:
    """How large a model is, and how much of it learns."""
    whole = f"{loaded.network.config.parameters / 1e6:,.4g} million parameters"
    held = "" if loaded.base is None else f" at {bits_per_weight(loaded.base.weights):g} bits"
    return whole + held + describe_trainable(loaded.network)
