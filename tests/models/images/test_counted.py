"""What is counted is held to counts made one by one, and the tree to all trees that there are."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator

import pytest
import torch

from fledge.errors import UserError
from fledge.images.pictures import PictureShape, make_set
from fledge.models.images import counted
from fledge.models.images.counted import (
    ChowLiu,
    Histogram,
    PictureTable,
    count_pairs,
    grow_tree,
    mutual_information,
)
from tests.models.images.small_pictures import every_picture

SHAPE = PictureShape(1, 2, 2, 3)
ADD = 0.25


def some_rows(count: int, seed: int) -> list[tuple[int, ...]]:
    """Of four numbers of three levels that hang together, though not as they lie."""
    random = torch.Generator().manual_seed(seed)
    first = torch.randint(3, (count,), generator=random)
    rows = [first]
    for parent, noise in ((0, 0.3), (1, 0.5), (0, 0.6)):
        own = torch.randint(3, (count,), generator=random)
        rows.append(torch.where(torch.rand(count, generator=random) < noise, own, rows[parent]))
    return [tuple(row) for row in torch.stack(rows, 1).tolist()]


def as_tensor(rows: list[tuple[int, ...]]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.uint8).view(-1, 1, 2, 2)


def settle(rows: list[tuple[int, ...]], add: float) -> ChowLiu:
    model = ChowLiu(SHAPE, {"add": add})
    model.settle(count_pairs(as_tensor(rows).flatten(1).long(), 3))
    return model


def every_tree(nodes: int) -> Iterator[list[tuple[int, int]]]:
    """Every set of edges that joins all nodes without a circle: Cayley's n^(n−2)."""
    edges = list(itertools.combinations(range(nodes), 2))
    for chosen in itertools.combinations(edges, nodes - 1):
        joined = {0}
        for _ in range(nodes):
            for a, b in chosen:
                if a in joined or b in joined:
                    joined |= {a, b}
        if len(joined) == nodes:
            yield list(chosen)


def tree_log_likelihood(rows: list[tuple[int, ...]], edges: list[tuple[int, int]]) -> float:
    """Σ log p(x_i, x_j) over edges − Σ (degree − 1) log p(x_i), of shares of counts."""
    N = len(rows)
    total = 0.0
    degree = Counter(node for edge in edges for node in edge)
    for a, b in edges:
        both = Counter((row[a], row[b]) for row in rows)
        total += sum(n * math.log(n / N) for n in both.values())
    for node, its in degree.items():
        alone = Counter(row[node] for row in rows)
        total -= (its - 1) * sum(n * math.log(n / N) for n in alone.values())
    return total


def test_a_histogram_is_counts() -> None:
    rows = some_rows(50, 0)
    model = Histogram(SHAPE, {"add": ADD})
    for piece in (rows[:20], rows[20:]):
        model.count_in(model.to_row(as_tensor(piece)))
    for x, nats in zip(
        every_picture(SHAPE).x.flatten(1).tolist(), model.nats(every_picture(SHAPE)), strict=True
    ):
        wanted = 0.0
        for place, level in enumerate(x):
            seen = sum(row[place] == level for row in rows)
            wanted -= math.log((seen + ADD) / (50 + 3 * ADD))
        assert float(nats) == pytest.approx(wanted, rel=1e-5)


def test_a_table_of_pictures_is_counts() -> None:
    rows = some_rows(50, 1)
    model = PictureTable(SHAPE, {"add": ADD})
    model.count_in(model.to_row(as_tensor(rows)))
    seen = Counter(rows)
    pictures = every_picture(SHAPE)
    for x, nats in zip(pictures.x.flatten(1).tolist(), model.nats(pictures), strict=True):
        wanted = -math.log((seen[tuple(x)] + ADD) / (50 + 81 * ADD))
        assert float(nats) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_the_tree_is_the_best_of_all(seed: int) -> None:
    rows = some_rows(200, seed)
    trees = {tuple(edges): tree_log_likelihood(rows, edges) for edges in every_tree(4)}
    assert len(trees) == 16
    best = max(trees, key=trees.__getitem__)
    model = settle(rows, 1e-9)
    assert model.order is not None
    order = model.order.tolist()
    edges = {
        tuple(sorted((order[place], order[int(model.parent[place])]))) for place in range(1, 4)
    }
    assert edges == set(best)
    nats = model.nats(make_set(as_tensor(rows), None, 3, (), "").rows).double()
    assert -float(nats.sum()) == pytest.approx(trees[best], rel=1e-6)


def test_another_tree_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counted, "grow_tree", lambda weight: grow_tree(-weight))
    with pytest.raises(AssertionError):
        test_the_tree_is_the_best_of_all(0)


def test_information_is_that_of_the_counts() -> None:
    rows = some_rows(80, 5)
    information = mutual_information(count_pairs(as_tensor(rows).flatten(1).long(), 3))
    for a, b in itertools.permutations(range(4), 2):
        both = Counter((row[a], row[b]) for row in rows)
        one, other = Counter(row[a] for row in rows), Counter(row[b] for row in rows)
        wanted = sum(n / 80 * math.log(n * 80 / (one[i] * other[j])) for (i, j), n in both.items())
        assert float(information[a, b]) == pytest.approx(wanted, abs=1e-9)
    assert bool((information.diagonal() == 0).all())


def test_what_is_added_keeps_margins_whole() -> None:
    """A conditional is then a share of (n + α), and the root's of its counts + L·α."""
    rows = some_rows(60, 6)
    model = settle(rows, ADD)
    assert model.order is not None
    order = model.order.tolist()
    root = Counter(row[order[0]] for row in rows)
    for level in range(3):
        wanted = math.log((root[level] + 3 * ADD) / (60 + 9 * ADD))
        assert float(model.table[0, 0, level]) == pytest.approx(wanted)
    for place in range(1, 4):
        node, above = order[place], order[int(model.parent[place])]
        both = Counter((row[above], row[node]) for row in rows)
        parent = Counter(row[above] for row in rows)
        for i, j in itertools.product(range(3), repeat=2):
            wanted = math.log((both[i, j] + ADD) / (parent[i] + 3 * ADD))
            assert float(model.table[place, i, j]) == pytest.approx(wanted)


def test_too_many_cells() -> None:
    with pytest.raises(UserError, match=r"2\^64 of 8 × 8"):
        PictureTable(PictureShape(1, 8, 8, 2), {"add": 1.0})
    with pytest.raises(UserError, match="give binarise=hash"):
        ChowLiu(PictureShape(1, 28, 28, 256), {"add": 1.0})
