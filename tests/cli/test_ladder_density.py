"""`fledge ladder density`: each rung a run of its own, judged on the same pictures; the page shows
them.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.cli.commands import Cli


def write_copies(path: Path) -> None:
    """Of 3 × 4: a row of chance and two copies of it, with a pixel in thirty turned over."""
    random = np.random.default_rng(0)
    first = random.integers(0, 2, (600, 1, 4))
    turned = random.random((600, 3, 4)) < 1 / 30
    np.save(path, (first ^ turned).astype(np.uint8))


def test_some_rungs(cli: Cli, tmp_path: Path) -> None:
    write_copies(tmp_path / "x.npy")
    done = cli(
        "ladder density data=x.npy rungs=histogram,chow_liu,made,vae seconds=0.1 samples=4 "
        "runs=rungs --json",
        folder=tmp_path,
    )
    assert done.code == 0, done.stderr
    rungs = {one["rung"]: one for one in done.result["rungs"]}
    assert [one["measure"] for one in rungs.values()] == ["exact"] * 3 + ["bound"]
    assert rungs["chow_liu"]["nats"] < rungs["histogram"]["nats"] - 2
    assert rungs["made"]["steps"] >= 8
    # Told of every run in its own folder, by its own summary.
    for name, one in rungs.items():
        summary = json.loads((tmp_path / "rungs" / name / "summary.json").read_text())
        assert summary["test"]["nats"] == one["nats"]
        assert len(one["curve"][0]) == len(one["curve"][1]) > 1
    page = (tmp_path / "ladder.html").read_text()
    assert page.count("data:image/png;base64") == 5
    for one in rungs.values():
        assert f'<td class="number">{one["nats"]:.2f}</td>' in page
    assert "bound" in page
    again = cli("ladder density data=x.npy rungs=histogram runs=rungs", folder=tmp_path)
    assert "exists" in again.complaint


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("rungs=histogram,pixel", "names 'pixel': give some of histogram"),
        ("out=nowhere/l.html", "there is no folder nowhere"),
        ("data=nothing.npy", "there is no nothing.npy"),
    ],
)
def test_what_is_wrong_is_said(cli: Cli, tmp_path: Path, words: str, said: str) -> None:
    assert said in cli(f"ladder density {words}", folder=tmp_path).complaint
    assert not (tmp_path / "runs").exists()
