"""A model's weights: their headers against what config.json asks for, before anything is made;
names and layouts ours and theirs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import reduce

import torch
from torch import Tensor, nn

from fledge.errors import UserError
from fledge.heap import trim_heap
from fledge.hub.family import Family, Weight
from fledge.hub.stored_weights import DTYPES, StoredWeights
from fledge.models.language.adapters import AdaptedLinear
from fledge.models.language.frozen_weights import FrozenWeights

SCORE = "score.weight"  # of a reward model, a row; of one that labels a row a label
READERS = 4  # tensors read side by side
ROUNDED = 2**25  # bytes of matrices that were whole for a moment, and are then given back


def check_header(
    weights: StoredWeights, family: Family, sizes: object, scalar: bool, width: int
) -> None:
    """Raises UserError where the weights are not those of such a network: at the first that
    differs, so that sizes like 10⁹ in a config.json cost nothing.
    """
    used = {SCORE}
    for weight in family.weights(sizes):
        for name, shape in weight.theirs:
            if weight.needed or name in weights.header:
                _check_tensor(weights, name, shape, weight.integer)
            used.add(name)
    if scalar:
        score = weights.header.get(SCORE)
        rows = score.shape[0] if score is not None and len(score.shape) == 2 else 1
        _check_tensor(weights, SCORE, (rows, width))
    known = re.compile(family.no_weights)
    left = sorted(name for name in weights.header.keys() - used if not known.fullmatch(name))
    if left:
        held = weights.header[left[0]]
        raise UserError(
            f"{held.file} has {held.name}, which fledge's network has no place for: it would be "
            "another model."
        )


def _check_tensor(
    weights: StoredWeights, name: str, shape: tuple[int, ...], integer: bool = False
) -> None:
    held = weights.header.get(name)
    if held is None:
        raise UserError(f"{weights.place} has no {name}: the weights do not fit their config.json.")
    if held.shape != shape:
        raise UserError(
            f"{name} in {held.file} is {held.shape}, config.json asks for {shape}: they are of two "
            "models."
        )
    known = ["I64"] if integer else list(DTYPES)
    if held.dtype not in known:
        raise UserError(
            f"{name} in {held.file} is of dtype {held.dtype}: fledge reads weights in "
            f"{', '.join(known)}. Save the model again in one of these."
        )


def find_dtype(weights: StoredWeights) -> torch.dtype:
    """The narrowest that holds every weight as it is stored."""
    stored = {DTYPES[held.dtype] for held in weights.header.values() if held.dtype in DTYPES}
    return reduce(torch.promote_types, stored)


def to_hugging_face(network: nn.Module, family: Family) -> Iterator[tuple[str, Tensor]]:
    """Their names and tensors of a network, on the CPU. Raises UserError where it holds what the
    family has no name for.
    """
    return translate(network.state_dict(), network.config, family)


def translate(
    tensors: Mapping[str, Tensor], sizes: object, family: Family
) -> Iterator[tuple[str, Tensor]]:
    """The same of tensors by the names of ours."""
    weights = {weight.ours: weight for weight in family.weights(sizes)}
    for name, tensor in tensors.items():
        if name not in weights:
            raise UserError(
                f"the network has {name}, which {family.name} has no name for: it would be read "
                "back as another model. Register its own family (fledge.hub.families)."
            )
        weight, own = weights[name], tensor.detach().cpu()
        if weight.layout is not None:
            own = weight.layout.write(own)
        pieces = _stack(own).split([shape[0] for _, shape in weight.theirs])
        yield from ((name, piece) for (name, _), piece in zip(weight.theirs, pieces, strict=True))


def fill(
    network: nn.Module,
    weights: StoredWeights,
    family: Family,
    dtype: torch.dtype,
    frozen: FrozenWeights = "fp32",
    layers: Collection[str] = (),
) -> None:
    """Put the weights, which `check_header` has compared with its config, into a network: a few
    tensors at a time, so that they are in memory once. Parameters become of this dtype.

    layers: names of linear layers that an adapter freezes: the matrix of each is held in `frozen`
    as soon as it is read, so that the model is never whole in this dtype.
    """
    named = {weight.ours: weight for weight in family.weights(network.config)}

    def read(name: str) -> None:
        parent, _, leaf = name.rpartition(".")
        place = network.get_submodule(parent)
        own = getattr(place, leaf)
        if isinstance(own, nn.Parameter) and own.dtype != dtype:
            own = nn.Parameter(torch.empty(own.shape, dtype=dtype))
            place.register_parameter(leaf, own)
        _copy(own.detach(), named[name], weights)
        if leaf == "weight" and parent in layers:
            above, _, called = parent.rpartition(".")
            assert isinstance(place, nn.Linear)
            setattr(network.get_submodule(above), called, AdaptedLinear(place, frozen))
            del place, own
            trim_heap(ROUNDED)

    # A bias goes with its matrix into what takes the place of both, so that all of them are there
    # first. Only names: whoever held the tensors would keep every matrix that has been rounded.
    names = list(network.state_dict())
    matrices = [name for name in names if name.endswith(".weight")]
    others = [name for name in names if not name.endswith(".weight")]
    # Reading and decoding wait for memory, and not for each other.
    with ThreadPoolExecutor(min(torch.get_num_threads(), READERS)) as pool:
        for several in (others, matrices):
            for done in [pool.submit(read, name) for name in several]:
                done.result()


def _copy(own: Tensor, weight: Weight, weights: StoredWeights) -> None:
    if weight.layout is not None:
        own.copy_(weight.layout.read(weights[weight.theirs[0][0]]))
        return
    pieces = _stack(own).split([shape[0] for _, shape in weight.theirs])
    for (name, _), piece in zip(weight.theirs, pieces, strict=True):
        weights.copy_to(piece, name)


def _stack(tensor: Tensor) -> Tensor:
    """Experts above each other, as if they were one matrix.  [E, O, I] -> [E·O, I]"""
    return tensor.flatten(0, 1) if tensor.ndim == 3 else tensor
