"""What is planned: a model's tensors by shape, a step's rows, and how ranks divide both."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import torch

from fledge.errors import UserError
from fledge.models.language.transformer import Transformer
from fledge.models.language.transformer_config import TransformerConfig

Shape = tuple[int, ...]


@dataclass(frozen=True)
class RankLayout:
    """Of replicas × shards × tensor ranks. A row of a step belongs to one of replicas × shards
    groups; shards divide all weights (FSDP2), tensor ranks the products of blocks.

    half: whether weights that are divided travel, and are computed with, in bfloat16. rows: that
    are differentiated at a time.
    """

    replicas: int = 1
    shards: int = 1
    tensor: int = 1
    half: bool = False
    gradient_checkpointing: bool = False
    rows: int = 1

    @property
    def ranks(self) -> int:
        return self.replicas * self.shards * self.tensor

    @property
    def divides(self) -> bool:
        """Whether a rank holds parts of the network."""
        return self.shards > 1 or self.tensor > 1

    @property
    def groups(self) -> int:
        """How many ranks or groups of them have rows of their own."""
        return self.replicas * self.shards

    def describe(self) -> str:
        parts = {"replicas": self.replicas, "shards": self.shards, "tensor": self.tensor}
        said = [f"{name} {number}" for name, number in parts.items() if number > 1]
        again = ", activations computed again" if self.gradient_checkpointing else ""
        rows = f"{self.rows} row{'s' * (self.rows > 1)} at a time"
        return f"{' × '.join(said) or 'one rank'}{again}, {rows}"


@dataclass(frozen=True)
class Tensors:
    """Shapes of what a network learns, in its order: all of it, what is outside of blocks, and of
    each kind of block, with the number of such blocks.
    """

    every: tuple[Shape, ...]
    outside: tuple[Shape, ...]
    blocks: tuple[tuple[tuple[Shape, ...], int], ...]

    @property
    def matrices(self) -> int:
        """Numbers of the blocks' matrices."""
        return sum(n * count_numbers([s for s in b if len(s) > 1]) for b, n in self.blocks)


@cache
def list_tensors(sizes: TransformerConfig) -> Tensors:
    """Of the network itself, made without memory for its numbers."""
    with torch.device("meta"):
        network = Transformer(sizes)
    blocks = Counter(tuple(tuple(p.shape) for p in block.parameters()) for block in network.blocks)
    inside = {id(p) for block in network.blocks for p in block.parameters()}
    every = tuple(tuple(p.shape) for p in network.parameters())
    outside = tuple(tuple(p.shape) for p in network.parameters() if id(p) not in inside)
    return Tensors(every, outside, tuple(blocks.items()))


def count_numbers(shapes: Sequence[Shape]) -> int:
    return sum(map(math.prod, shapes))


@dataclass(frozen=True)
class Work:
    """One optimizer step of `rows` rows of `tokens` tokens each, over all ranks.

    slots, positions: prompts that a rank answers side by side, and tokens of each; 0 without.
    """

    sizes: TransformerConfig
    rows: int
    tokens: int
    precision: Literal["bf16", "fp32"] = "bf16"
    optimizer: Literal["adamw", "muon"] = "adamw"
    slots: int = 0
    positions: int = 0
    layout: RankLayout = RankLayout()

    def under(self, layout: RankLayout) -> Work:
        return replace(self, layout=layout)

    @property
    def tensors(self) -> Tensors:
        return list_tensors(self.sizes)

    @property
    def width(self) -> int:
        """Bytes of a number in a matrix product."""
        return 2 if self.precision == "bf16" else 4

    @property
    def gathered(self) -> int:
        """Bytes of a number of a divided block as it is computed with."""
        return 2 if self.layout.half else 4

    @property
    def stream(self) -> int:
        """Bytes of a number of the residual stream: a divided block reads it as it computes."""
        return 2 if self.layout.half and self.layout.divides else 4

    @property
    def own_rows(self) -> int:
        """Of the rank with the most."""
        return math.ceil(self.rows / self.layout.groups)

    @property
    def pieces(self) -> int:
        """How many micro-batches a rank differentiates."""
        return math.ceil(self.own_rows / self.layout.rows)

    @property
    def piece_tokens(self) -> int:
        return min(self.layout.rows, self.own_rows) * self.tokens

    def count_padded(self, shapes: Sequence[Shape], tensor: int = 1) -> int:
        """Numbers as shards gather them: each tensor's first dimension is divided into equal parts,
        the last of them padded. tensor: ranks that divide the matrices before.
        """
        shards = self.layout.shards
        return sum(
            math.ceil(first / shards) * shards * math.prod(rest) // (tensor if rest else 1)
            for first, *rest in shapes
        )

    @property
    def outside(self) -> int:
        """Numbers of embeddings, head and last norm, which no tensor rank divides, as gathered."""
        return self.count_padded(self.tensors.outside)

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """Of each kind of block the numbers of one as it is gathered, and how many there are."""
        tensor = self.layout.tensor
        return [(self.count_padded(block, tensor), n) for block, n in self.tensors.blocks]

    @property
    def largest_block(self) -> int:
        """Numbers, as it is gathered."""
        return max(numbers for numbers, _ in self.blocks)

    @property
    def held(self) -> int:
        """Numbers of the weights that a rank holds."""
        inside = sum(numbers * number for numbers, number in self.blocks)
        return (self.outside + inside) // self.layout.shards


def check_layout(work: Work) -> None:
    """Raises UserError for rows or tensors that cannot be divided so."""
    sizes, layout = work.sizes, work.layout
    if layout.groups > work.rows:
        raise UserError(
            f"{work.rows} rows a step cannot be divided among {layout.groups} ranks: give a larger "
            "tokens_per_step, a smaller context, or fewer gpus."
        )
    if layout.divides and work.optimizer == "muon":
        raise UserError(
            "optimizer=muon steps whole matrices, and a divided network has none: give "
            "optimizer=adamw, or shard=none."
        )
    for given, what in (
        (sizes.experts is not None, "experts"),
        (sizes.qk_norm and sizes.qk_norm_whole, "norms over all heads together"),
    ):
        if layout.tensor > 1 and given:
            raise UserError(f"{what} are not divided by tensor_parallel: leave it out.")
    for name, number in (
        ("heads", sizes.heads), ("kv_heads", sizes.kv_heads), ("mlp_width", sizes.mlp_width)
    ):  # fmt: skip
        if number % layout.tensor:
            raise UserError(
                f"tensor_parallel={layout.tensor} does not divide the {name} of this model "
                f"({number}): give a number that does."
            )
