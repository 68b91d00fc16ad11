"""A counted model is a run as any other, of one pass, and says what it has no use for."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fledge
from fledge.errors import UserError


def some(count: int) -> np.ndarray:
    """Two rows of chance, and the same two again."""
    random = np.random.default_rng(0)
    x = random.integers(0, 2, (count, 4, 6)).astype(np.uint8)
    x[:, 2:] = x[:, :2]
    return x


def test_one_pass_and_exact_nats(tmp_path: Path) -> None:
    run = fledge.imagine(
        some(5000), model="chow_liu", rows_per_step=1000, samples=4, out=str(tmp_path / "run")
    )
    assert run.summary["steps"] == 5  # 4,500 or so of the 5,000 are learned from
    assert run.summary["test"]["nats"] == pytest.approx(12 * math.log(2), abs=0.05)
    assert run.summary["measure"] == "exact"
    assert run.summary["parameters"] == 47
    drawn = run.model.sample(50, torch.Generator().manual_seed(0))
    assert bool((drawn[:, 0, :2] == drawn[:, 0, 2:]).float().mean() > 0.95)


def test_every_picture_counted(tmp_path: Path) -> None:
    """Held-out pictures are other ones than those learned from: each has what was added alone."""
    x = np.random.default_rng(0).integers(0, 2, (2000, 2, 3)).astype(np.uint8)
    run = fledge.imagine(x, model="histogram", joint=True, samples=0, out=str(tmp_path / "run"))
    assert run.summary["parameters"] == 63
    held_out = sum(run.summary["held_out"].values())
    wanted = math.log((2000 - held_out + 64 * 0.5) / 0.5)
    assert run.summary["test"]["nats"] == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"steps": 50}, "steps=50 was given, and model=histogram is counted"),
        ({"augment": ("shift",)}, "is counted in one pass"),
        ({"joint": True}, r"joint=true counts whole pictures, and there are 2\^64"),
    ],
)
def test_what_it_has_no_use_for(fields: dict[str, Any], said: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(UserError, match=said):
        fledge.imagine("digits", model="histogram", binarise="threshold", out=str(out), **fields)
    assert not out.exists()
