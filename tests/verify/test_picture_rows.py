"""The rows of densities of pictures hold, and a fault that is planted breaks one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fledge.models.images import counted, pixelcnn, wavenet
from fledge.verify.picture_rows import picture_rows


def broken() -> set[str]:
    return {row.id for row in picture_rows() if not row.holds}


def test_every_row_holds() -> None:
    rows = picture_rows()
    assert [row.id for row in rows] == [f"G9.{n}" for n in range(1, 8)]
    assert all(row.holds for row in rows), [row.statement for row in rows]


def test_a_layer_that_looks_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wavenet, "shift", lambda x, first=None: x)
    assert broken() == {"G9.3"}


def test_a_cache_that_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    true = pixelcnn.PixelDrawing.begin_row

    def begin_row(self: Any, i: int) -> None:
        true(self, i)
        self.links = [torch.zeros_like(link) for link in self.links]

    monkeypatch.setattr(pixelcnn.PixelDrawing, "begin_row", begin_row)
    assert broken() == {"G9.4"}


def test_another_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    true = counted.grow_tree
    monkeypatch.setattr(counted, "grow_tree", lambda weight: true(-weight))
    assert broken() == {"G9.7"}
