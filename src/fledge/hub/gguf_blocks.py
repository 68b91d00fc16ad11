"""How GGUF holds numbers: blocks of them with a scale, read into float32 and written.

The layouts are those of ggml (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md and
src/ggml-common.h). The usual ones are computed here; every other one that the `gguf` package can
decode is left to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.models.language.quantisation import INT4, INT8, Rounded, round_to_nearest


class BlockType(NamedTuple):
    """A tensor type of ggml."""

    number: int
    name: str
    numbers: int  # in a block
    bytes: int  # of a block


_LIST = (
    (0, "F32", 1, 4), (1, "F16", 1, 2), (2, "Q4_0", 32, 18), (3, "Q4_1", 32, 20),
    (6, "Q5_0", 32, 22), (7, "Q5_1", 32, 24), (8, "Q8_0", 32, 34), (9, "Q8_1", 32, 40),
    (10, "Q2_K", 256, 84), (11, "Q3_K", 256, 110), (12, "Q4_K", 256, 144), (13, "Q5_K", 256, 176),
    (14, "Q6_K", 256, 210), (15, "Q8_K", 256, 292), (16, "IQ2_XXS", 256, 66),
    (17, "IQ2_XS", 256, 74), (18, "IQ3_XXS", 256, 98), (19, "IQ1_S", 256, 50),
    (20, "IQ4_NL", 32, 18), (21, "IQ3_S", 256, 110), (22, "IQ2_S", 256, 82),
    (23, "IQ4_XS", 256, 136), (28, "F64", 1, 8), (29, "IQ1_M", 256, 56), (30, "BF16", 1, 2),
    (34, "TQ1_0", 256, 54), (35, "TQ2_0", 256, 66), (39, "MXFP4", 32, 17),
)  # fmt: skip
TYPES: Mapping[int, BlockType] = {row[0]: BlockType(*row) for row in _LIST}
BY_NAME: Mapping[str, BlockType] = {kind.name: kind for kind in TYPES.values()}
WRITTEN = ("F32", "F16", "BF16", "Q8_0", "Q4_0")
_PLAIN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64}


def decode(content: Tensor, kind: BlockType) -> Tensor:
    """The numbers of some blocks, in float32.  uint8 [bytes] -> [numbers]

    Raises UserError for a type that needs the `gguf` package, where that is not installed or does
    not know it.
    """
    if kind.name in _PLAIN:
        return content.view(_PLAIN[kind.name]).float()
    if kind.name in _DECODERS:
        return _DECODERS[kind.name](content.view(-1, kind.bytes)).flatten()
    return _decode_by_package(content, kind)


def _scale(blocks: Tensor, at: int) -> Tensor:
    """The float16 at a byte of every block.  -> [blocks, 1]"""
    return blocks[:, at : at + 2].contiguous().view(torch.float16).float()


def _nibbles(packed: Tensor) -> Tensor:
    """The lower halves of all bytes, then the upper ones.  [blocks, 16] -> [blocks, 32]"""
    return torch.cat([packed & 15, packed >> 4], dim=1).float()


def _decode_q8_0(blocks: Tensor) -> Tensor:
    return blocks[:, 2:].contiguous().view(torch.int8) * _scale(blocks, 0)


def _decode_q4_0(blocks: Tensor) -> Tensor:
    return (_nibbles(blocks[:, 2:]) - 8) * _scale(blocks, 0)


def _decode_q4_1(blocks: Tensor) -> Tensor:
    return _nibbles(blocks[:, 4:]) * _scale(blocks, 0) + _scale(blocks, 2)


_DECODERS: dict[str, Callable[[Tensor], Tensor]] = {
    "Q8_0": _decode_q8_0, "Q4_0": _decode_q4_0, "Q4_1": _decode_q4_1,
}  # fmt: skip


def _decode_by_package(content: Tensor, kind: BlockType) -> Tensor:
    try:
        import gguf
    except ImportError:
        raise UserError(
            f"the file holds weights of type {kind.name}, which the gguf package reads: "
            "pip install gguf, or take a file in F16, Q8_0 or Q4_0."
        ) from None
    blocks = content.view(-1, kind.bytes).numpy()
    try:
        numbers = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType(kind.number))
    except (NotImplementedError, ValueError):
        raise UserError(
            f"the file holds weights of type {kind.name}, which the installed gguf package does "
            "not decode: take a file in F16, Q8_0 or Q4_0."
        ) from None
    return torch.from_numpy(np.ascontiguousarray(numbers, dtype=np.float32)).flatten()


def encode(tensor: Tensor, kind: BlockType, scale: Tensor | None = None) -> Tensor:
    """The blocks of a tensor whose last axis is a whole number of them.  -> uint8 [bytes]

    scale: of each block, of numbers that are whole codes times it; by default that by which
    rounding to the nearest is done.
    """
    numbers = tensor.detach().cpu().contiguous()
    if kind.name in _PLAIN:
        return numbers.to(_PLAIN[kind.name]).flatten().view(torch.uint8)
    grid = _GRIDS[kind.name]
    if scale is None:
        rounded = round_to_nearest(numbers, grid)
    else:
        blocks = numbers.float().unflatten(-1, (-1, kind.numbers))
        codes = grid.round(blocks, scale.float()[..., None]).to(torch.int8).flatten(-2)
        rounded = Rounded(grid, codes, scale)
    halves = rounded.scale.to(torch.float16).contiguous().view(torch.uint8).view(-1, 2)
    return torch.cat(
        [halves, _PACKERS[kind.name](rounded.codes.view(-1, kind.numbers))], 1
    ).flatten()


def _pack_bytes(codes: Tensor) -> Tensor:
    return codes.view(torch.uint8)


def _pack_nibbles(codes: Tensor) -> Tensor:
    steps = (codes + 8).to(torch.uint8)
    return steps[:, :16] | steps[:, 16:] << 4


_GRIDS = {grid.name: grid for grid in (INT8, INT4)}
_PACKERS = {"Q8_0": _pack_bytes, "Q4_0": _pack_nibbles}
