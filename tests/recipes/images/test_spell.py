"""What `fledge spell` writes is whole or not there; its readers learn from different pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fledge.images.digits import load_digits
from fledge.images.pictures import centre
from fledge.models.images.remembering_readers import KernelReader, NeighbourReader
from fledge.recipes.images.readers import teach_readers
from fledge.recipes.images.spell import whole_folder


def test_a_folder_has_its_name_when_all_is_written(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "said"
    with whole_folder(out) as folder:
        (folder / "text.jsonl").write_text("all")
        assert not out.exists()
    assert [each.name for each in out.parent.iterdir()] == ["said"]
    assert (out / "text.jsonl").read_text() == "all"


def test_nothing_is_left_of_a_folder_that_failed_half_way(tmp_path: Path) -> None:
    def fail() -> None:
        with whole_folder(tmp_path / "said") as folder:
            (folder / "text.jsonl").write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_who_rewards_and_who_reports_have_learned_different_pictures() -> None:
    given = load_digits().take(slice(0, 400))
    readers = teach_readers(given, 2, 0)
    neighbours, witness = readers["neighbours"], readers["witness"]
    assert isinstance(neighbours, NeighbourReader)
    assert isinstance(witness, KernelReader)
    assert len(neighbours.kept) + len(witness.kept) == 400
    plain = centre(given.rows.x, given.shape.levels).flatten(1)
    blurred = neighbours.blur(given.rows.x)
    rewarding, reporting = (
        torch.cdist(every, kept).amin(1) < 1e-3
        for every, kept in ((blurred, neighbours.kept), (plain, witness.kept))
    )
    assert (rewarding ^ reporting).all()  # each picture is on one side, none on both
    assert 150 < int(rewarding.sum()) < 250
