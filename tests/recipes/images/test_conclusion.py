"""What the summary says of a sheet, and how the page shows it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fledge.algorithms.images.protocol import Sheet
from fledge.recipes.images.conclusion import keep_sheet
from fledge.report.sheets import read_sheets


@pytest.mark.parametrize(("columns", "wide"), [(10, True), (9, False), (None, False)])
def test_ten_frames_in_a_row_take_the_whole_page(
    columns: int | None, wide: bool, tmp_path: Path
) -> None:
    x = torch.zeros(20, 1, 24, 24, dtype=torch.uint8)
    said = keep_sheet(tmp_path, Sheet("films", "Films", "of mazes", x, 256, columns))
    (shown,) = read_sheets(tmp_path, {"sheets": [said]})
    assert (shown.title, shown.note, shown.wide) == ("Films", "of mazes", wide)
