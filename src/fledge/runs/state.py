"""A nested state as plain JSON and a flat table of tensors, and back, without a loss and without
pickle.

JSON says str, bool, None, lists, small integers and finite floats (exactly: Python writes the
shortest digits that read back the same). What it cannot say stands as an object with one key that
begins with `$`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from fledge.saved_tensor import SavedTensor
from fledge.sharded import Divided

# JSON readers elsewhere hold integers as doubles, which lose digits beyond 2^53: larger ones go as
# hexadecimal.
_LARGEST_PLAIN = 2**53


# A tensor as it is to be written, by its name: on the CPU, contiguous.
Hold = Callable[[str, torch.Tensor], torch.Tensor]


def flatten(
    state: dict[Any, Any], hold: Hold = lambda name, x: x.cpu().contiguous()
) -> tuple[Any, dict[str, torch.Tensor]]:
    """Split `state` into what JSON can say and the tensors by name.

    Takes nested dicts (keys str or int), lists, tuples, tensors, numpy arrays, numbers, str, bool
    and None. A tensor met twice (tied weights) is kept once and comes back as one. Raises
    TypeError, naming the place, for others. hold: what is kept of each tensor.
    """
    tensors: dict[str, torch.Tensor] = {}
    names: dict[tuple[Any, ...], str] = {}
    storages: set[int] = set()

    def keep(tensor: torch.Tensor, where: str) -> str:
        if (
            tensor.layout != torch.strided
            or tensor.is_quantized
            or tensor.dtype == torch.complex128
        ):
            raise TypeError(
                f"state{where}: safetensors cannot hold a {tensor.layout} tensor of {tensor.dtype}."
            )
        same = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if tensor.numel() and same in names:
            return names[same]
        name = plain = where.lstrip(".") or "tensor"
        while name in tensors or name == "__metadata__":
            name = f"{plain}#{len(tensors)}"
        names[same] = name
        held = hold(name, tensor.detach().resolve_conj().resolve_neg())
        if held.numel() and held.untyped_storage().data_ptr() in storages:
            # a different view of memory already kept: safetensors wants each name to have its own
            held = held.clone()
        storages.add(held.untyped_storage().data_ptr())
        tensors[name] = held
        return name

    def plain(value: Any, where: str) -> Any:
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, bool | str):
            return value
        if isinstance(value, int):
            return int(value) if abs(value) <= _LARGEST_PLAIN else {"$int": hex(value)}
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else {"$float": str(value)}
        if isinstance(value, torch.Tensor):
            return {"$tensor": keep(value, where)}
        if isinstance(value, np.ndarray):
            # torch.tensor copies: a numpy array may be read-only or of the other byte order,
            # from_numpy takes neither.
            return {
                "$array": keep(torch.tensor(value.astype(value.dtype.newbyteorder("="))), where)
            }
        if isinstance(value, Divided):
            dtype = str(value.dtype).removeprefix("torch.")
            return {"$parts": [value.name, list(value.shape), dtype]}
        if isinstance(value, list):
            return [plain(item, f"{where}.{i}") for i, item in enumerate(value)]
        if isinstance(value, tuple):
            return {"$tuple": [plain(item, f"{where}.{i}") for i, item in enumerate(value)]}
        if isinstance(value, dict):
            for key in value:
                if isinstance(key, bool) or not isinstance(key, str | int):
                    raise TypeError(f"state{where} has the key {key!r}: keys must be str or int.")
            if all(isinstance(key, str) and not key.startswith("$") for key in value):
                return {key: plain(item, f"{where}.{key}") for key, item in value.items()}
            return {"$items": [[key, plain(item, f"{where}.{key}")] for key, item in value.items()]}
        raise TypeError(
            f"state{where} is a {type(value).__name__}: only tensors, numbers, text and nests of "
            "them are saved."
        )

    return plain(state, ""), tensors


def unflatten(
    plain: Any,
    tensors: Mapping[str, torch.Tensor],
    pieces: Mapping[str, Any] = MappingProxyType({}),
) -> Any:
    """The state that `flatten` split. pieces: of tensors that lie in several files, in which.
    Raises KeyError for a tensor that is not there, ValueError for one of which something is not.
    """
    if isinstance(plain, list):
        return [unflatten(item, tensors, pieces) for item in plain]
    if not isinstance(plain, dict):
        return plain
    match list(plain.items()):
        case [("$int", digits)]:
            return int(digits, 16)
        case [("$float", name)]:
            return float(name)
        case [("$tensor", name)]:
            return tensors[name]
        case [("$parts", [name, shape, dtype])]:
            return SavedTensor(name, tuple(shape), getattr(torch, dtype), tuple(pieces[name]))
        case [("$array", name)]:
            return tensors[name].numpy().copy()
        case [("$tuple", items)]:
            return tuple(unflatten(item, tensors, pieces) for item in items)
        case [("$items", items)]:
            return {key: unflatten(item, tensors, pieces) for key, item in items}
        case items:
            return {key: unflatten(item, tensors, pieces) for key, item in items}
