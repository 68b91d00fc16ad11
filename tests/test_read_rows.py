"""A table's gradient that is gathered by rows is the one that is summed as a whole, in one piece or
in several, and whatever else reads the table.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fledge.read_rows import gather_by_row
from tests.subjects import seeded


class Reader(nn.Module):
    """tied: all rows are read too, as an unembedding is."""

    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.tied = tied
        self.table = nn.Embedding(11, 3, dtype=torch.float64)
        with torch.no_grad():
            self.table.weight.normal_(generator=seeded(0))

    def forward(self, tokens: Tensor) -> Tensor:
        read = self.table(tokens).sin()
        return (read @ self.table.weight.T).cos() if self.tied else read


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("pieces", [1, 3])
def test_rows_add_up_to_the_whole(tied: bool, pieces: int) -> None:
    """By central differences of the sum, number by number; tokens stand in several pieces."""
    reader, tokens = Reader(tied), torch.tensor([4, 7, 4, 1, 7, 4, 0, 10, 4])
    with gather_by_row([reader.table]):
        for piece in tokens.chunk(pieces):
            reader(piece).sum().backward()
        kept_by_row = reader.table.weight.grad
        assert kept_by_row is not None
        assert kept_by_row.is_sparse is not tied
    gradient, weight, step = reader.table.weight.grad, reader.table.weight.data, 1e-6
    assert gradient is not None
    assert not gradient.is_sparse
    assert not reader.table.sparse
    with torch.no_grad():
        for place in range(weight.numel()):
            before = float(weight.view(-1)[place])
            sides = []
            for moved in (before + step, before - step):
                weight.view(-1)[place] = moved
                sides.append(float(reader(tokens).sum()))
            weight.view(-1)[place] = before
            slope = (sides[0] - sides[1]) / (2 * step)
            assert float(gradient.view(-1)[place]) == pytest.approx(slope, abs=1e-6)


def test_what_fails_leaves_the_table_as_it_was() -> None:
    reader = Reader(tied=False)
    with pytest.raises(RuntimeError, match="stop"), gather_by_row([reader.table]):
        raise RuntimeError("stop")
    assert not reader.table.sparse
