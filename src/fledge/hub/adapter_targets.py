"""Which matrices of a network an adapter may stand beside, by the names that its Hugging Face
family has for them, and which of them a user means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import nn

from fledge.errors import UserError
from fledge.hub.families import family_of
from fledge.hub.weight_names import TRANSPOSED
from fledge.models.language.adapters import AdaptedLinear, Target, adapt_network
from fledge.models.language.frozen_weights import FrozenWeights

ALL_LINEAR = "all-linear"
_WEIGHT = ".weight"


class Places(NamedTuple):
    """linear: the name of every linear layer in the network's blocks, and which rows of it are
    which module of theirs. whole: every parameter of ours that is one of theirs, by their module,
    but matrices that are held in fewer bits already.
    """

    linear: dict[str, list[Target]]
    whole: dict[str, list[str]]


class FrozenBase(NamedTuple):
    """How the matrices of a base are held under an adapter, but those of modules that learn whole
    (`saved`, by the ends of their names): known before its weights are read.
    """

    weights: FrozenWeights
    saved: Sequence[str] = ()

    def choose_layers(self, network: nn.Module) -> set[str]:
        """The linear layers whose matrices are to be rounded as they are read. Raises UserError for
        a saved module that the network has not.
        """
        if self.weights == "fp32":
            return set()
        places = list_places(network)
        trained = choose_trained(places, self.saved, "adapter_saves")
        return {layer for layer in places.linear if f"{layer}.weight" not in trained}


WHOLE = FrozenBase("fp32")  # every matrix as it is
Freeze = Callable[[nn.Module], FrozenBase]  # asked of a network before its weights are read


def keep_whole(network: nn.Module) -> FrozenBase:
    return WHOLE


def list_places(network: nn.Module) -> Places:
    """Raises UserError for a network of no family."""
    linear: dict[str, list[Target]] = {}
    whole: dict[str, list[str]] = {}
    held = dict(network.named_parameters())
    rounded = {name for name, m in network.named_modules() if isinstance(m, AdaptedLinear)}
    for weight in family_of(network).weights(network.config):
        module = weight.ours.removesuffix(_WEIGHT)
        frozen = module in rounded and weight.ours.endswith(_WEIGHT)
        if weight.ours not in held and not frozen:
            continue
        inside = weight.ours.startswith("blocks.") and weight.ours.endswith(_WEIGHT)
        place = network.get_submodule(module) if inside else None
        if isinstance(place, nn.Linear | AdaptedLinear):
            if weight.layout not in (None, TRANSPOSED):
                continue  # rows in another order, in which an adapter's would have to be
            start, targets = 0, []
            for name, shape in weight.theirs:
                # A layout that turns a matrix around (GPT-2's) has one name.
                rows = shape[0] if weight.layout is None else place.out_features
                targets.append(Target(name.removesuffix(_WEIGHT), start, start + rows))
                start += rows
            linear[module] = targets
        if len(weight.theirs) == 1 and not frozen:
            ((name, _),) = weight.theirs
            whole.setdefault(name.rpartition(".")[0], []).append(weight.ours)
    return Places(linear, whole)


def freeze_network(network: nn.Module, weights: FrozenWeights) -> None:
    """In place, its matrices held in `weights`: for an adapter that stands beside none of them."""
    adapt_network(network, {layer: [] for layer in list_places(network).linear}, weights=weights)


def choose_targets(places: Places, modules: Sequence[str], place: str) -> dict[str, list[Target]]:
    """Of every linear layer those targets that are meant: by the end of their name, as PEFT has
    it; `all-linear` are all of them.

    place: what is named where a module is none. Raises UserError.
    """
    every = [target.name for targets in places.linear.values() for target in targets]
    if not every:
        raise UserError(
            f"{place} asks for adapters beside linear layers, and this model has none: leave "
            "adapter= out, and all of its weights learn."
        )
    for module in modules:
        if module != ALL_LINEAR and not any(ends_with(name, module) for name in every):
            known = sorted({name.rpartition(".")[2] for name in every})
            raise UserError(
                f"{place} names {module!r}, which is no matrix of this model: give some of "
                f"{', '.join(known)}, or {ALL_LINEAR} for all of them."
            )
    return {
        layer: [target for target in targets if _is_meant(target.name, modules)]
        for layer, targets in places.linear.items()
    }


def choose_trained(places: Places, modules: Sequence[str], place: str) -> list[str]:
    """The parameters of modules that learn whole, beside the adapters. Raises UserError."""
    chosen: list[str] = []
    for module in modules:
        meant = [ours for name, all_ours in places.whole.items() for ours in all_ours
                 if ends_with(name, module)]  # fmt: skip
        if not meant:
            known = sorted({name.rpartition(".")[2] for name in places.whole})
            raise UserError(
                f"{place} names {module!r}, which is no module of this model that can learn "
                f"whole: give some of {', '.join(known)}."
            )
        chosen += meant
    return list(dict.fromkeys(chosen))


def ends_with(name: str, module: str) -> bool:
    """Whether a module's name is `module`, or ends with it after a dot."""
    return name == module or name.endswith(f".{module}")


def _is_meant(name: str, modules: Sequence[str]) -> bool:
    return any(module == ALL_LINEAR or ends_with(name, module) for module in modules)
