"""The weights of a model folder, in one safetensors file or in several with an index: what each
tensor is, and a tensor when it is asked for, read through the memory map of its file.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator, Mapping
from io import RawIOBase
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fledge.errors import UserError
from fledge.hub.family import Family, Part
from fledge.json_file import open_regular, read_json

_OF_NO_TRUNK = ("lm_head.", "embed_out.", "score.")
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
}  # fmt: skip
PIECE = 2**20  # numbers that become another precision at a time
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


class Held(NamedTuple):
    """What a header says of one tensor."""

    dtype: str
    shape: tuple[int, ...]
    file: Path
    name: str  # in the file
    start: int | None = None  # its first byte, where the file holds it as memory would


class Index(Part):
    """Of a model in several files: which tensor is in which."""

    weight_map: dict[str, str]


class StoredWeights(Mapping[str, Tensor]):
    """Tensors by the names that their family knows; none is read before it is asked for, and none
    is kept.

    place: the file that what is wrong with them is said of.
    """

    def __init__(self, place: Path, header: Mapping[str, Held]) -> None:
        self.place, self.header = place, header
        self._open: dict[Path, Any] = {}

    def __getitem__(self, name: str) -> Tensor:
        held = self.header[name]
        try:
            if held.file not in self._open:
                self._open[held.file] = safe_open(held.file, "pt").__enter__()
            return self._open[held.file].get_tensor(held.name)
        except SafetensorError as error:
            raise _damaged(held.file, error) from error

    def copy_to(self, own: Tensor, name: str) -> None:
        """Into a tensor of the same shape, in its precision. Where the file holds the numbers as
        memory would, their bytes are read in place, or a piece at a time into the other precision:
        through the memory map they would be in memory a second time, and each page of it costs a
        fault.
        """
        held = self.header[name]
        dtype = DTYPES.get(held.dtype)
        plain = own.is_contiguous() and own.device.type == "cpu" and own.numel()
        if held.start is None or dtype is None or not plain:
            own.copy_(self[name])
            return
        flat = own.detach().view(-1)
        with held.file.open("rb", buffering=0) as file:
            file.seek(held.start)
            if dtype == own.dtype:
                _read_into(flat, file, held.file)
                return
            room = torch.empty(min(len(flat), PIECE), dtype=dtype)
            for part in flat.split(PIECE):
                _read_into(room[: len(part)], file, held.file)
                part.copy_(room[: len(part)])

    def __iter__(self) -> Iterator[str]:
        return iter(self.header)

    def __len__(self) -> int:
        return len(self.header)


def _read_into(own: Tensor, file: RawIOBase, path: Path) -> None:
    """Its bytes, from where the file stands."""
    content = own.view(torch.uint8).numpy().data
    while content:
        size = file.readinto(content)
        if not size:
            raise UserError(f"{path} is cut off: write or download it again.")
        content = content[size:]


def has_weights(folder: Path) -> bool:
    """Whether there is a file that says where a model's weights are."""
    return (folder / SINGLE).is_file() or (folder / INDEX).is_file()


def open_weights(folder: Path, family: Family) -> StoredWeights:
    """Read the headers of a model's weights. Raises UserError."""
    single = folder / SINGLE
    # Where both are there, `transformers` (5.24) takes the single file.
    place = single if single.is_file() else folder / INDEX
    header: dict[str, Held] = {}
    index = None if place == single else _read_index(place)
    files = [single] if index is None else _list_shards(place, index)
    for file in files:
        for name, held in _read_header(file).items():
            if name in header:
                raise UserError(
                    f"{name} is in {header[name].file} and in {file}: remove one that is not of "
                    "this model."
                )
            header[name] = held
    if index is not None:
        _check_index(place, index, header)
    return StoredWeights(place, _translate(header, family, place))


def open_file(path: Path) -> StoredWeights:
    """One safetensors file, by its own names. Raises UserError."""
    return StoredWeights(path, _read_header(path))


def _read_index(place: Path) -> Mapping[str, str]:
    """Name of a tensor to name of its file."""
    index = read_json(place, Index, mend="download it again").weight_map
    if not index:
        raise UserError(f"{place} names no file: download it again.")
    return index


def _list_shards(place: Path, index: Mapping[str, str]) -> list[Path]:
    """Every file that the index names. Raises UserError for one that is not there."""
    names = sorted(set(index.values()))
    for name in names:
        if Path(name).name != name or name in ("", ".", ".."):
            raise UserError(f"{place} names {name[:80]!r}: a shard lies beside its index.")
        if not (place.parent / name).is_file():
            raise UserError(
                f"{place.parent / name} is missing, which {place.name} names: download it, or the "
                "model again."
            )
    return [place.parent / name for name in names]


def _check_index(place: Path, index: Mapping[str, str], header: Mapping[str, Held]) -> None:
    """Raises UserError where the index and its files do not hold the same."""
    for name, file in index.items():
        if name not in header or header[name].file.name != file:
            raise UserError(
                f"{place} has {name[:80]} in {file}, where it is not: they are of two models, so "
                "download the model again."
            )
    if more := sorted(header.keys() - index.keys()):
        raise UserError(
            f"{header[more[0]].file} has {more[0]}, which {place.name} does not name: they are of "
            "two models, so download the model again."
        )


def _translate(header: Mapping[str, Held], family: Family, place: Path) -> dict[str, Held]:
    """By the family's names: those of a file of the bare trunk get their prefix, those of another
    version the name of this.
    """
    bare = family.prefix and not any(name.startswith(family.prefix) for name in header)
    known: dict[str, Held] = {}
    for name, held in header.items():
        own = family.renamed.get(name, name)
        if bare and own == name and not name.startswith(_OF_NO_TRUNK):
            own = family.prefix + name
        if own in known:
            raise UserError(
                f"{place} has {known[own].name} and {name}, which are one weight of {family.name}: "
                "remove one of them."
            )
        known[own] = held
    return known


def _read_header(path: Path) -> dict[str, Held]:
    """Name to dtype and shape of every tensor, of which none is read. Raises UserError."""
    # The library says of a file that may not be read that it does not exist.
    with open_regular(path):
        pass
    try:
        with safe_open(path, "pt") as file:
            names = file.keys()  # it is no dict, which would give them itself
            slices = {name: file.get_slice(name) for name in names}
            starts = _find_starts(path)
            return {
                name: Held(one.get_dtype(), tuple(one.get_shape()), path, name, starts.get(name))
                for name, one in slices.items()
            }
    except SafetensorError as error:
        raise _damaged(path, error) from error


def _find_starts(path: Path) -> dict[str, int]:
    """The first byte of each tensor in a file whose header the library has checked: eight bytes
    with its length, and JSON (https://github.com/huggingface/safetensors, Format).
    """
    if sys.byteorder != "little":
        return {}
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return {name: 8 + length + each["data_offsets"][0] for name, each in header.items()}


def _damaged(path: Path, error: SafetensorError) -> UserError:
    return UserError(
        f"{path} is damaged ({error}): write or download it again, or use another model."
    )
