"""Points as files have them: delimiters, headers, what is missing, words, weights, and what side a
row falls on.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fledge.errors import UserError
from fledge.rows.point_csv import BLOCK
from fledge.rows.point_files import read_points
from fledge.rows.points import Points, as_levels, from_array, split_points
from fledge.splits import split_of


def write(folder: Path, text: str, name: str = "points.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,2\n3,4\n",
        "\ufeffa;b\n1;2\n\n3;4\n",
        "a\tb\r\n1\t2\r\n3\t4",
        "\n a | b \n 1 | 2 \n 3 | 4 \n",
        '"a","b"\n"1","2"\n3, 4\n',
        "a b\n1 2\n3 4\n",
    ],
)
def test_every_way_to_write_a_table(text: str, tmp_path: Path) -> None:
    points = read_points(write(tmp_path, text))
    assert points.columns == ("a", "b")
    assert points.x.tolist() == [[1, 2], [3, 4]]


def test_a_table_without_a_header_has_columns_by_number(tmp_path: Path) -> None:
    points = read_points(write(tmp_path, "1,NA\n-2.5e3,?\n,4\n"))
    assert points.columns == ("x1", "x2")
    np.testing.assert_array_equal(points.x.numpy(), [[1, np.nan], [-2500, np.nan], [np.nan, 4]])
    assert points.has_missing


def test_labels_and_weights_are_no_columns(tmp_path: Path) -> None:
    path = write(tmp_path, "k,x,w\nb,1,2\na,2,0.5\n,3,1\n")
    points = read_points(path, labels="k", weights="w")
    assert points.columns == ("x",)
    assert points.names == ("a", "b")
    assert points.label is not None
    assert points.label.tolist() == [1, 0, -1]
    assert points.total == 3.5


def test_words_are_codes_in_their_order(tmp_path: Path) -> None:
    """Numbers by size, then text; also across the blocks that a long file is read in."""
    rows = [f"{n % 3 * 10},{'yz'[n % 2]}\n" for n in range(BLOCK + 5)]
    path = write(tmp_path, "size,letter\n" + "".join(rows) + "NA,y\n")
    points = read_points(path, words=True)
    assert points.levels == (("0", "10", "20"), ("y", "z"))
    assert len(points) == BLOCK + 6
    assert points.x[:4].tolist() == [[0, 0], [1, 1], [2, 0], [0, 1]]
    assert points.x[-1].isnan().tolist() == [True, False]


def test_values_of_an_array_become_codes() -> None:
    points = as_levels(from_array(torch.tensor([[5.0, 1], [2, torch.nan], [5, 3]]).double()))
    assert points.levels == (("2", "5"), ("1", "3"))
    np.testing.assert_array_equal(points.x.numpy(), [[1, 0], [0, np.nan], [1, 1]])
    with pytest.raises(UserError, match="x1 has 1500 different values"):
        as_levels(from_array(torch.arange(1500).double()))


def test_a_long_table_names_the_row_of_its_mistake(tmp_path: Path) -> None:
    path = write(tmp_path, "a\n" + "1\n" * (BLOCK + 10) + "one\n")
    with pytest.raises(UserError, match=rf"row {BLOCK + 12}: column a holds 'one'"):
        read_points(path)


def test_equal_rows_fall_on_one_side_whatever_comes_and_goes() -> None:
    x = torch.from_numpy(np.random.default_rng(0).integers(0, 40, (600, 1)).astype(float))
    parts = split_points(from_array(x))
    assert parts is not None
    values = {split: set(part.x.flatten().tolist()) for split, part in parts.items()}
    assert not values["train"] & (values["validation"] | values["test"])
    assert sum(len(part) for part in parts.values()) == 600
    fewer = split_points(from_array(x[x[:, 0] < 35]))
    assert fewer is not None
    # the sides of 20 and more are by hash: they stay, but for those that fill an empty side
    moved = values["train"] & {
        value for split in ("validation", "test") for value in fewer[split].x.flatten().tolist()
    }
    assert len(moved) <= 2
    assert split_points(from_array(x[:5])) is None
    assert split_of("x") in parts


def test_a_point_keeps_its_weight_and_label_where_it_goes() -> None:
    x = torch.arange(6).double()[:, None]
    points = Points(x, ("a",), x[:, 0] + 1, torch.arange(6) % 2, ("p", "q"))
    some = points.take(torch.tensor([4, 1]))
    assert some.weight is not None
    assert some.label is not None
    assert some.weight.tolist() == [5, 2]
    assert some.label.tolist() == [0, 1]
    assert points.without_labels().label is None
