"""How often the weights of a network have changed: one integer, kept with the network. Whoever
writes weights raises it, and whoever keeps a copy of them compares it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

_PLACE = "weights_version"  # the attribute of a network that is counted


class _Count:
    """An object and not a number in the network's own dictionary: what torch.compile has compiled
    is asked less when that dictionary changes.
    """

    changes = 0


def count_changes(network: nn.Module) -> None:
    """From now on this network has a version. Its copies go on by themselves, from where it is."""
    if not hasattr(network, _PLACE):
        setattr(network, _PLACE, _Count())
        # Whoever loads weights, be it through a module around the network, is seen here.
        network.register_load_state_dict_post_hook(_raise_loaded)


def _raise_loaded(network: nn.Module, _: Any) -> None:
    raise_version(network)


def read_version(network: nn.Module) -> int:
    """Of a network that is counted."""
    return getattr(network, _PLACE).changes


def raise_version(module: nn.Module) -> None:
    """The weights of `module` have just been written: every network in it that is counted has a
    new version.
    """
    raise_versions(module.modules())


def raise_versions(parts: Iterable[nn.Module]) -> None:
    """Of those of these modules that are counted."""
    for part in parts:
        count = vars(part).get(_PLACE)  # getattr of what a module has not costs it an error
        if count is not None:
            count.changes += 1


def keep_version(network: nn.Module, twin: nn.Module) -> None:
    """The twin, which is about to take the place of the network, goes on with its count."""
    share_version(network, twin)
    raise_version(twin)


def share_version(network: nn.Module, twin: nn.Module) -> None:
    """The twin, which has the network's weights, has its count."""
    if hasattr(network, _PLACE):
        setattr(twin, _PLACE, getattr(network, _PLACE))
