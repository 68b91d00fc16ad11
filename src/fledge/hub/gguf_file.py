"""A GGUF file: what it says of itself, and its tensors, mapped into memory and decoded when asked.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Nothing in the header is believed: every
length is compared with the size of the file before anything of that length is read or made.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fledge.disk import sync
from fledge.errors import UserError
from fledge.hub.gguf_blocks import BY_NAME, TYPES, BlockType, decode, encode
from fledge.json_file import open_regular

MAGIC, VERSION, ALIGNMENT = b"GGUF", 3, 32
_READ_VERSIONS = (2, 3)
_MOST_AXES = 8
# number of a value's type -> struct's letter; 8 is a text, 9 a list
_NUMBERS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_TEXT, _LIST = 8, 9


class TensorPlace(NamedTuple):
    """Where a tensor lies in the file. shape: as torch has it, the slowest axis first."""

    shape: tuple[int, ...]
    kind: BlockType
    start: int
    bytes: int


class GgufFile:
    """fields: name -> number, text, or list of these. tensors: name -> place."""

    def __init__(self, path: Path) -> None:
        """Raises UserError for a file that is none, is cut off, or says more than it holds."""
        self.path = path
        with open_regular(path) as file:
            self.size = path.stat().st_size
            if file.read(4) != MAGIC:
                raise UserError(f"{path} is no GGUF file: give a .gguf file, or a model folder.")
        self._content = torch.from_file(str(path), shared=False, size=self.size, dtype=torch.uint8)
        reader = _Reader(self._content, path)
        version = reader.number("I")
        if version not in _READ_VERSIONS:
            raise UserError(
                f"{path} is of version {version} of GGUF, or of the other byte order: fledge reads "
                f"versions {' and '.join(map(str, _READ_VERSIONS))}, little-endian."
            )
        tensors, fields = reader.number("Q"), reader.number("Q")
        self.fields: dict[str, Any] = {}
        for _ in range(fields):
            name = reader.text()
            self.fields[name] = reader.value(reader.number("I"))
        self.tensors = dict(reader.tensor() for _ in range(tensors))
        self._place(reader.at)

    def _place(self, end_of_header: int) -> None:
        """Offsets are counted from where the data begins: the first multiple of the alignment."""
        alignment = self.fields.get("general.alignment", ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1:
            raise UserError(f"{self.path} is damaged (general.alignment={alignment!r}).")
        begin = -(-end_of_header // alignment) * alignment
        for name, place in self.tensors.items():
            placed = place._replace(start=begin + place.start)
            if placed.start + placed.bytes > self.size:
                raise UserError(
                    f"{self.path} is cut off: {name} ends at byte {placed.start + placed.bytes:,} "
                    f"and the file has {self.size:,}. Fetch it again."
                )
            self.tensors[name] = placed

    def read(self, name: str, number: int | None = None) -> Tensor:
        """In float32. number: of several matrices that are one tensor, this one alone."""
        place = self.tensors[name]
        start, size, shape = place.start, place.bytes, place.shape
        if number is not None:
            shape, size = shape[1:], size // shape[0]
            start += number * size
        # A tensor may begin anywhere, numbers only where their size divides the address.
        return decode(self._content[start : start + size].clone(), place.kind).view(shape)


class _Reader:
    """Reads a header from its beginning on."""

    def __init__(self, content: Tensor, path: Path) -> None:
        self._content, self._path = content.numpy().data, path
        self.at = len(MAGIC)

    def _advance(self, size: int) -> int:
        start = self.at
        if size > len(self._content) - start:
            raise UserError(f"{self._path} is cut off or damaged in its header: fetch it again.")
        self.at += size
        return start

    def number(self, letter: str) -> Any:
        start = self._advance(struct.calcsize(f"<{letter}"))
        return struct.unpack_from(f"<{letter}", self._content, start)[0]

    def text(self) -> str:
        size = self.number("Q")
        start = self._advance(size)
        # A vocabulary may hold bytes that are no UTF-8.
        return bytes(self._content[start : start + size]).decode("utf-8", "surrogateescape")

    def value(self, kind: int) -> Any:
        if kind == _TEXT:
            return self.text()
        if kind in _NUMBERS:
            return self.number(_NUMBERS[kind])
        if kind != _LIST:
            raise UserError(f"{self._path} is damaged (a value of type {kind}): fetch it again.")
        inner, length = self.number("I"), self.number("Q")
        if inner in _NUMBERS:
            size = struct.calcsize(f"<{_NUMBERS[inner]}")
            start = self._advance(size * length)
            return list(struct.unpack_from(f"<{length}{_NUMBERS[inner]}", self._content, start))
        if inner != _TEXT:  # lists of lists are in nobody's files
            raise UserError(f"{self._path} is damaged (a list of type {inner}): fetch it again.")
        return self._texts(length)

    def _texts(self, length: int) -> list[str]:
        """As `text` reads them one by one: a vocabulary of 49,152 words with its merges in a fifth
        of the time.
        """
        content, at, end = self._content, self.at, len(self._content)
        read_size, texts = struct.Struct("<Q").unpack_from, list[str]()
        for _ in range(length):
            begin = at + 8
            at = begin + (read_size(content, at)[0] if begin <= end else 0)
            if at > end or begin > end:
                self._advance(end + 1)  # raises
            texts.append(bytes(content[begin:at]).decode("utf-8", "surrogateescape"))
        self.at = at
        return texts

    def tensor(self) -> tuple[str, TensorPlace]:
        name, axes = self.text(), self.number("I")
        if axes > _MOST_AXES:
            raise UserError(f"{self._path} is damaged ({name[:60]} has {axes} axes).")
        shape = tuple(self.number("Q") for _ in range(axes))[::-1]
        number, offset = self.number("I"), self.number("Q")
        if number not in TYPES:
            raise UserError(
                f"{name[:60]} in {self._path} is of tensor type {number}, which fledge does not "
                f"know: it reads {', '.join(BY_NAME)}."
            )
        kind = TYPES[number]
        if shape and shape[-1] % kind.numbers:
            raise UserError(f"{self._path} is damaged ({name[:60]} {shape} in {kind.name}).")
        size = math.prod(shape) // kind.numbers * kind.bytes
        return name, TensorPlace(shape, kind, offset, size)


class Written(NamedTuple):
    """A tensor as it will lie in a file. scale: as `encode` takes it."""

    name: str
    tensor: Tensor
    kind: BlockType
    scale: Tensor | None = None


def write_gguf(path: Path, fields: Mapping[str, Any], tensors: Sequence[Written]) -> None:
    """Write and sync. Of a field's number the type is i32 or f32; `Typed` says another. Raises
    OSError.
    """
    with path.open("wb") as file:
        file.write(MAGIC + struct.pack("<IQQ", VERSION, len(tensors), len(fields)))
        for name, value in fields.items():
            file.write(_pack_text(name) + _pack_value(value))
        offset = 0
        for name, tensor, kind, _ in tensors:
            shape = tuple(tensor.shape)[::-1]
            axes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
            file.write(_pack_text(name) + axes + struct.pack("<IQ", kind.number, offset))
            size = tensor.numel() // kind.numbers * kind.bytes
            offset += -(-size // ALIGNMENT) * ALIGNMENT
        for _, tensor, kind, scale in tensors:
            file.write(b"\0" * (-file.tell() % ALIGNMENT))
            file.write(encode(tensor, kind, scale).numpy().tobytes())
        file.write(b"\0" * (-file.tell() % ALIGNMENT))
    sync(path)


class Typed(NamedTuple):
    """A number, or a list of numbers, with the type that a reader expects: uint32, say."""

    number: int  # of the type
    value: Any


def uint32(value: Any) -> Typed:
    return Typed(4, value)


def _pack_text(text: str) -> bytes:
    content = text.encode("utf-8", "surrogateescape")
    return struct.pack("<Q", len(content)) + content


def _pack_value(value: Any) -> bytes:
    """With its type before it."""
    kind, value = value if isinstance(value, Typed) else (_type_of(value), value)
    if isinstance(value, list):
        inner = b"".join(_pack_plain(kind, each) for each in value)
        return struct.pack("<IIQ", _LIST, kind, len(value)) + inner
    return struct.pack("<I", kind) + _pack_plain(kind, value)


def _type_of(value: Any) -> int:
    one = value[0] if isinstance(value, list) else value
    return _TEXT if isinstance(one, str) else {bool: 7, int: 5, float: 6}[type(one)]


def _pack_plain(kind: int, value: Any) -> bytes:
    return _pack_text(value) if kind == _TEXT else struct.pack(f"<{_NUMBERS[kind]}", value)
