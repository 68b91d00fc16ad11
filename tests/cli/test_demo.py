"""The whole road in one command, as long as it takes: what it promises is in its summary."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_demo_leaves_something_to_win_and_wins_it(seed: int, tmp_path: Path) -> None:
    given = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [Path(sys.executable).with_name("fledge"), "demo", f"seed={seed}", "--json"],
        cwd=tmp_path, env=given, capture_output=True, text=True, check=True,
    )  # fmt: skip
    summary = json.loads(done.stdout)
    assert summary == json.loads((tmp_path / "runs" / "demo" / "summary.json").read_text())
    assert summary["base_bits_per_byte"] < 2.2
    assert 0.3 <= summary["tuned_exact_match"] <= 0.6
    assert summary["reward_pair_accuracy"] > 0.55
    assert summary["aligned_exact_match"] >= 0.9
    assert [stage["name"] for stage in summary["stages"]][-1] == "align by verifier"
    page = (tmp_path / "runs" / "demo" / "report.html").read_text()
    assert "<svg" in page
    assert "http" not in page.replace("http://www.w3.org", "")  # it needs no network
