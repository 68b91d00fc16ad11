"""Densities of pictures that are counted, not learned by gradient: every number for itself, whole
pictures where they are tiny, and the best tree (Chow & Liu 1968, doi 10.1109/TIT.1968.1054142).

Counts are of a training set; α is added to each cell, so that nothing has probability 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.images.pictures import PictureShape
from fledge.models.images.autoregressive import Advance, Autoregressive

MOST_PICTURES = 2**20  # that a table of whole pictures has a cell for
MOST_CELLS = 4096  # D·L of a tree, whose counts of pairs are the square of that


class Counted(Autoregressive):
    """settings: add (α)."""

    def __init__(self, shape: PictureShape, settings: Mapping[str, Any]) -> None:
        super().__init__(shape, settings)
        self.add: float = self.settings["add"]


class Histogram(Counted):
    """p(x) = Π_d p(x_d): what is known of a picture without any other pixel."""

    name = "histogram"

    def __init__(self, shape: PictureShape, settings: Mapping[str, Any]) -> None:
        super().__init__(shape, settings)
        table = torch.zeros(self.length, self.values, dtype=torch.float64)
        self.register_buffer("table", table)  # [D, L] counts
        self.table: Tensor

    def count_in(self, x: Tensor) -> None:
        """More pictures of the training set.  [B, D]"""
        place = torch.arange(self.length) * self.values + x
        self.table.view(-1).index_add_(
            0, place.flatten(), torch.ones(place.numel(), dtype=torch.float64)
        )

    def logits(self) -> Tensor:
        return (self.table + self.add).log()

    def conditionals(self, x: Tensor, label: Tensor | None) -> Tensor:
        return self.logits().expand(len(x), -1, -1)

    def begin(self, count: int, label: Tensor | None) -> Advance:
        logits = self.logits()
        return lambda t, before: logits[t].expand(count, -1)

    def count_parameters(self) -> int:
        return self.length * (self.values - 1)


class PictureTable(Counted):
    """A cell for each of the L^D pictures that there are: everything that counting can know."""

    name = "picture_table"

    def __init__(self, shape: PictureShape, settings: Mapping[str, Any]) -> None:
        super().__init__(shape, settings)
        cells = self.values**self.length
        if cells > MOST_PICTURES:
            raise UserError(
                f"joint=true counts whole pictures, and there are {self.values}^{self.length} of "
                f"{shape.describe()}: at most {MOST_PICTURES:,} are counted. Leave it out."
            )
        self.register_buffer("table", torch.zeros(cells, dtype=torch.float64))
        self.table: Tensor  # [L^D], the number said first being the most significant

    def count_in(self, x: Tensor) -> None:
        """More pictures of the training set.  [B, D]"""
        cell = self.number_of(x)
        self.table.index_add_(0, cell, torch.ones(len(x), dtype=torch.float64))

    def number_of(self, x: Tensor) -> Tensor:
        """The cell of the rows that begin so, among all that do.  [B, T] -> [B]"""
        power = self.values ** torch.arange(x.shape[1] - 1, -1, -1)
        return (x * power).sum(1)

    def logits(self, said: Tensor) -> Tensor:
        """Of the next number, given those said.  [B, T] -> [B, L]"""
        rest = self.values ** (self.length - said.shape[1] - 1)
        each = (self.table + self.add).view(-1, self.values, rest).sum(2).log()
        return each[self.number_of(said)]

    def conditionals(self, x: Tensor, label: Tensor | None) -> Tensor:
        return torch.stack([self.logits(x[:, :t]) for t in range(self.length)], 1)

    def begin(self, count: int, label: Tensor | None) -> Advance:
        said = torch.zeros(count, 0, dtype=torch.long)

        def advance(t: int, before: Tensor | None) -> Tensor:
            nonlocal said
            if before is not None:
                said = torch.cat([said, before[:, None]], 1)
            return self.logits(said)

        return advance

    def count_parameters(self) -> int:
        return len(self.table) - 1


class ChowLiu(Counted):
    """p(x) = Π_d p(x_d | x_parent(d)): of all trees the one of highest likelihood, a maximum
    spanning tree of mutual information.
    """

    name = "chow_liu"

    def __init__(self, shape: PictureShape, settings: Mapping[str, Any]) -> None:
        super().__init__(shape, settings)
        D, L = self.length, self.values
        if D * L > MOST_CELLS:
            raise UserError(
                f"model=chow_liu counts pairs of levels, and pictures of {shape.describe()} have "
                f"{D * L:,} levels together, of at most {MOST_CELLS:,}: give binarise=hash, or "
                "smaller pictures."
            )
        self.order = torch.arange(D)  # from the root on
        self.register_buffer("parent", torch.zeros(D, dtype=torch.long))  # its place in that order
        self.register_buffer("table", torch.full((D, L, L), 1.0 / L, dtype=torch.float64).log())
        self.parent: Tensor
        self.table: Tensor  # log p of a number (last) given its parent's; the root's are all alike

    def settle(self, pairs: Tensor) -> None:
        """The tree and its tables.  pairs: [D, L, D, L], how often two numbers had two levels"""
        L = self.values
        smooth = add_to_pairs(pairs, self.add)
        order, parent = grow_tree(mutual_information(smooth))
        self.order, self.parent = order, parent
        above = order[parent]
        joint = smooth[above, :, order]  # [D, L of the parent, L]
        self.table = (joint / joint.sum(2, keepdim=True)).log()
        root = smooth[order[0], :, order[0]].diagonal()
        self.table[0] = (root / root.sum()).log().expand(L, L)

    def conditionals(self, x: Tensor, label: Tensor | None) -> Tensor:
        return self.table[torch.arange(self.length), x[:, self.parent]]

    def begin(self, count: int, label: Tensor | None) -> Advance:
        row = torch.zeros(count, self.length, dtype=torch.long)

        def advance(t: int, before: Tensor | None) -> Tensor:
            if before is not None:
                row[:, t - 1] = before
            return self.table[t, row[:, self.parent[t]]]

        return advance

    def count_parameters(self) -> int:
        return (self.values - 1) * (1 + (self.length - 1) * self.values)


def count_pairs(x: Tensor, levels: int) -> Tensor:
    """How often two numbers have two levels.  [B, D] -> [D, L, D, L] float64"""
    D = x.shape[1]
    one_hot = torch.nn.functional.one_hot(x, levels).flatten(1).float()  # exact below 2^24 rows
    return (one_hot.T @ one_hot).double().view(D, levels, D, levels)


def add_to_pairs(pairs: Tensor, add: float) -> Tensor:
    """α more of every pair of levels; of a number with itself L·α of each level, so that all
    margins agree.
    """
    D, L = pairs.shape[:2]
    smooth = pairs + add
    own = torch.arange(D)
    smooth[own, :, own] = pairs[own, :, own] + L * add * torch.eye(L, dtype=pairs.dtype)
    return smooth


def mutual_information(pairs: Tensor) -> Tensor:
    """In nats, of each two numbers; 0 of one with itself.  [D, L, D, L] -> [D, D]"""
    D = len(pairs)
    joint = pairs / pairs.sum((1, 3), keepdim=True)
    alone = joint[torch.arange(D), :, torch.arange(D)].diagonal(dim1=1, dim2=2)  # [D, L]
    entropy = -torch.special.xlogy(alone, alone).sum(1)
    together = -torch.special.xlogy(joint, joint).sum((1, 3))
    information = entropy[:, None] + entropy[None] - together
    return information.fill_diagonal_(0.0)


def grow_tree(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A maximum spanning tree from the first node on (Prim 1957).  [D, D] -> the nodes in the order
    in which they came in, and the place in it of each one's parent; the root's is 0
    """
    D = len(weight)
    order, parent = [0], [0]
    best = weight[0].clone()  # of the edge that would bring a node in
    via = torch.zeros(D, dtype=torch.long)
    best[0] = -torch.inf
    for place in range(1, D):
        node = int(best.argmax())
        order.append(node)
        parent.append(int(via[node]))
        best[node] = -torch.inf
        nearer = (weight[node] > best) & (best > -torch.inf)
        best = torch.where(nearer, weight[node], best)
        via[nearer] = place
    return torch.tensor(order), torch.tensor(parent)
