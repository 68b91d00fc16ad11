"""model.safetensors of a model: its header against what config.json asks for, before anything is
made; names ours and theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from fledge.errors import UserError
from fledge.hub.family import Family
from fledge.json_file import open_regular

SCORE = "score.weight"  # of a reward model
_DTYPES = ("F64", "F32", "F16", "BF16")


class Held(NamedTuple):
    """What the header says of one tensor."""

    dtype: str
    shape: tuple[int, ...]


def read_header(path: Path) -> dict[str, Held]:
    """Name to dtype and shape of every tensor, of which none is read. Raises UserError."""
    # The library says of a file that may not be read that it does not exist.
    with open_regular(path):
        pass
    try:
        with safe_open(path, "pt") as file:
            names = file.keys()  # it is no dict, which would give them itself
            slices = {name: file.get_slice(name) for name in names}
            return {
                name: Held(one.get_dtype(), tuple(one.get_shape())) for name, one in slices.items()
            }
    except SafetensorError as error:
        raise _damaged(path, error) from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """Every tensor by its name. Raises UserError."""
    try:
        return load_file(path)
    except SafetensorError as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: SafetensorError) -> UserError:
    return UserError(f"{path} is damaged ({error}): write it again, or use another run.")


def check_header(
    header: Mapping[str, Held], family: Family, sizes: Any, scalar: bool, path: Path
) -> None:
    """Raises UserError where the weights are not those of such a network: at the first that
    differs, so that sizes like 10⁹ in a config.json cost nothing.
    """
    used = {SCORE}
    for weight in family.weights(sizes):
        for name, shape in weight.theirs:
            if weight.needed or name in header:
                _check_tensor(header, name, shape, path)
            used.add(name)
    if scalar:
        _check_tensor(header, SCORE, (1, sizes.width), path)
    left = sorted(name for name in header.keys() - used if not name.endswith("rotary_emb.inv_freq"))
    if left:
        raise UserError(
            f"{path} has {left[0]}, which fledge's network has no place for: it would be another "
            "model."
        )


def _check_tensor(
    header: Mapping[str, Held], name: str, shape: tuple[int, ...], path: Path
) -> None:
    held = header.get(name)
    if held is None:
        raise UserError(f"{path} has no {name}: the weights do not fit their config.json.")
    if held.shape != shape:
        raise UserError(
            f"{name} in {path} is {held.shape}, config.json asks for {shape}: they are of two "
            "models."
        )
    if held.dtype not in _DTYPES:
        raise UserError(
            f"{name} in {path} is of dtype {held.dtype}: fledge reads weights in "
            f"{', '.join(_DTYPES)}. Save the model again in one of these."
        )


def to_hugging_face(network: nn.Module, family: Family) -> Iterator[tuple[str, Tensor]]:
    """Their names and tensors of a network, on the CPU. Raises UserError where it holds what the
    family has no name for.
    """
    weights = {weight.ours: weight for weight in family.weights(network.config)}
    for name, tensor in network.state_dict().items():
        if name not in weights:
            raise UserError(
                f"the network has {name}, which {family.name} has no name for: it would be read "
                "back as another model. Register its own family (fledge.hub.families)."
            )
        theirs = weights[name].theirs
        pieces = tensor.detach().cpu().split([shape[0] for _, shape in theirs])
        yield from ((their, piece) for (their, _), piece in zip(theirs, pieces, strict=True))


def from_hugging_face(
    weights: Mapping[str, Tensor], network: nn.Module, family: Family
) -> dict[str, Tensor]:
    """The state of `network` from their tensors, which `check_header` has compared with its
    config.
    """
    state, named = network.state_dict(), {w.ours: w for w in family.weights(network.config)}
    return {
        name: torch.cat([weights[theirs] for theirs, _ in named[name].theirs]).to(own.dtype)
        for name, own in state.items()
    }
