"""`fledge ladder mixture`: what is richer comes nearer to the exact posterior."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.commands import Cli


@pytest.mark.slow
def test_every_rung_comes_nearer(cli: Cli, tmp_path: Path) -> None:
    done = cli("ladder mixture points=5 gradients=150 --json", folder=tmp_path)
    assert done.code == 0, done.stderr
    result = done.result
    rungs = {one["method"]: one for one in result["rungs"]}
    assert rungs["coordinate ascent"]["distance"] < rungs["EM"]["distance"]
    assert rungs["Metropolis"]["distance"] < 0.05
    assert rungs["importance-weighted"]["distance"] < 0.1
    bounds = {name: one["bound"] for name, one in rungs.items()}
    assert bounds["coordinate ascent"] < result["log_evidence"]
    assert bounds["black box, independent"] < result["log_evidence"] + 0.3  # a mean of samples
    assert all(len(one["curve"][0]) == len(one["curve"][1]) > 1 for one in result["rungs"])
    page = (tmp_path / "ladder.html").read_text()
    assert page.count('<svg viewBox="0 0 400 220"') == 2
    assert "every assignment" in page


def test_a_page_of_somebody_elses(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "ladder.html").write_text("mine")
    assert "no page of `fledge ladder`" in cli("ladder mixture", folder=tmp_path).complaint
    assert "no folder" in cli("ladder mixture out=a/b.html", folder=tmp_path).complaint
