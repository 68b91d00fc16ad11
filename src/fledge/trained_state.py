"""The part of a module that training changes: what a checkpoint holds, and what a copy has of its
own. A frozen parameter is never written, so one of it is enough.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

AnyModule = TypeVar("AnyModule", bound=nn.Module)


def _list_frozen(module: nn.Module) -> set[str]:
    named = module.named_parameters(remove_duplicate=False)
    return {name for name, parameter in named if not parameter.requires_grad}


def trained_state(module: nn.Module) -> dict[str, Tensor]:
    """`state_dict`, without the parameters that are frozen."""
    frozen = _list_frozen(module)
    return {name: x for name, x in module.state_dict().items() if name not in frozen}


def load_trained_state(module: nn.Module, state: Mapping[str, Any]) -> None:
    """Back from `trained_state`. Raises RuntimeError for the state of another module."""
    missing, unexpected = module.load_state_dict(state, strict=False)
    missing = sorted(set(missing) - _list_frozen(module))
    if missing or unexpected:
        kind = "lacks" if missing else "has no place in the module for"
        raise RuntimeError(f"the state {kind} {(missing or unexpected)[0]}")


def copy_module(module: AnyModule) -> AnyModule:
    """A copy whose trainable parameters are its own, and whose frozen ones are the same."""
    shared = {id(p): p for p in module.parameters() if not p.requires_grad}
    return copy.deepcopy(module, shared)


def share_weights(module: AnyModule) -> AnyModule:
    """A copy of the same tensors, for whoever puts something beside them and writes none."""
    tensors = itertools.chain(module.parameters(), module.buffers())
    return copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})
