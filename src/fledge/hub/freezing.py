"""Which weights of a network a user means to leave as they are, by patterns over the names that its
Hugging Face family has for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from torch import nn

from fledge.errors import UserError
from fledge.hub.families import family_of
from fledge.hub.family import Family

_NAMED = 4  # names that a sentence lists


def freeze_weights(network: nn.Module, patterns: Sequence[str], place: str) -> None:
    """Those whose name fits one of the patterns no longer require a gradient.

    patterns: as a shell has them, of names as in model.safetensors; what all names of a family
    begin with may be left out, as in layers.0.* for model.layers.0.*. place: what a sentence calls
    the patterns. Raises UserError, the network as it was: for a pattern that fits no name, a part
    of what is one matrix here, or all that there is.
    """
    family, held = family_of(network), dict(network.named_parameters())
    weights = [w for w in family.weights(network.config) if w.ours in held]
    names = {w.ours: [name for name, _ in w.theirs] for w in weights}
    every = [name for each in names.values() for name in each]
    for pattern in patterns:
        if not any(_fits(family, name, [pattern]) for name in every):
            raise UserError(
                f"{place} names {pattern!r}, which fits no weight of this model: its weights are "
                f"called {_list_some(family, every)}."
            )
    frozen: list[str] = []
    for ours, each in names.items():
        fitting = [name for name in each if _fits(family, name, patterns)]
        if fitting and len(fitting) < len(each):
            rest = [name for name in each if name not in fitting]
            raise UserError(
                f"{place} names {_list_some(family, fitting)} without "
                f"{_list_some(family, rest)}, and here they are one matrix: name all of them, or "
                "none."
            )
        frozen += [ours] if fitting else []
    if len(frozen) == len(held):
        raise UserError(
            f"{place} names every weight of this model, and nothing would learn: leave some out, "
            "as in freeze=embed*,layers.0.*"
        )
    for ours in frozen:
        held[ours].requires_grad_(False)


def _fits(family: Family, name: str, patterns: Iterable[str]) -> bool:
    short = name.removeprefix(family.prefix)
    return any(fnmatchcase(name, p) or fnmatchcase(short, p) for p in patterns)


def _list_some(family: Family, names: Sequence[str]) -> str:
    """The first few, as they may be written."""
    some = [name.removeprefix(family.prefix) for name in names]
    if len(some) > _NAMED:
        some = [*some[: _NAMED - 1], "…", some[-1]]
    return ", ".join(some)
