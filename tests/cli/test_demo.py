"""The whole road in one command, as long as it takes: what it promises is in its summary."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from fledge.recipes.language.demo import draw_road_table


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_demo_leaves_something_to_win_and_wins_it(seed: int, tmp_path: Path) -> None:
    given = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [Path(sys.executable).with_name("fledge"), "demo", f"seed={seed}", "--json"],
        cwd=tmp_path, env=given, capture_output=True, text=True, check=True,
    )  # fmt: skip
    talk = re.search(r"Talk to it: +(fledge .+?) +# try: (.+)", done.stderr)
    assert talk is not None
    answered = subprocess.run(
        [Path(sys.executable).with_name("fledge"), *shlex.split(talk[1])[1:]],
        cwd=tmp_path, input=f"{talk[2]}\n", capture_output=True, text=True, check=True,
    )  # fmt: skip
    _, _, word = talk[2].partition(": ")
    assert answered.stdout.strip() == word[::-1]  # it is proposed as one that is answered right
    summary = json.loads(done.stdout)
    assert summary == json.loads((tmp_path / "runs" / "demo" / "summary.json").read_text())
    assert summary["base_bits_per_byte"] < 2.4
    assert 0.3 <= summary["tuned_exact_match"] <= 0.6
    assert summary["reward_pair_accuracy"] > 0.55
    assert summary["aligned_exact_match"] >= 0.9
    assert [stage["name"] for stage in summary["stages"]][-1] == "align by verifier"
    page = (tmp_path / "runs" / "demo" / "report.html").read_text()
    assert "<svg" in page
    assert "http" not in page.replace("http://www.w3.org", "")  # it needs no network


def test_the_table_of_the_road_is_whole_on_80_columns() -> None:
    figures = {"exact_match": 1.0, "true_score": 0.55, "reward_model_score": 12.05, "kl": 19.33}
    stage = {
        "name": "align by reward model",
        "seconds": 1234.0,
        "before": figures,
        "after": figures,
        "test": figures,
    }
    page = Console(width=80, file=StringIO(), record=True)
    page.print(draw_road_table({"seconds": 600.0, "stages": [stage]}))
    text = page.export_text()
    assert "…" not in text
    assert [line.split() for line in text.splitlines() if line.startswith("stage")] == [
        ["stage", "seconds", "what", "it", "learned", "before", "after", "test"]
    ]
