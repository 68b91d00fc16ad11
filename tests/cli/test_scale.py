"""`fledge scale`: a law of runs in a file, and of runs that it makes; stopped, it repeats none."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.cli.commands import Cli, Models, outcome

from fledge.evaluate.scaling.law import Points
from fledge.evaluate.scaling.point_file import read_points, write_points

SWEEP = (
    "scale data={text} minutes=60 context=16 tokens_per_step=64 budgets=3 resamples=50 out=swept"
)
SIZES = ((1, 16, 4), (1, 24, 4), (2, 16, 4))  # quicker than what is planned


def write_runs(path: Path) -> None:
    """Of L = 1.5 + 100 / N^0.4 + 200 / D^0.4, with a little luck."""
    random = np.random.default_rng(0)
    n, d = np.exp(random.uniform(10, 15, 24)), np.exp(random.uniform(14, 19, 24))
    loss = (1.5 + 100 / n**0.4 + 200 / d**0.4) * np.exp(0.003 * random.normal(size=24))
    write_points(path, Points(n, d, loss))


def test_a_law_of_runs_that_there_are(cli: Cli, tmp_path: Path) -> None:
    write_runs(tmp_path / "runs.csv")
    words = "scale runs.csv budget=1e15 resamples=100 out=law"
    told = cli(f"{words} --json", folder=tmp_path).result
    # Intervals for 90 %, as wide again to either side (4.9 σ): a false alarm in 10⁶.
    for name, true in {"E": 1.5, "alpha": 0.4, "beta": 0.4}.items():
        _, low, high = told["law"][name]
        assert abs(true - (low + high) / 2) < 1.5 * (high - low), name
    # α = β: N* = √(A C / 6 B) where A and B are 100 and 200
    size, low, high = told["optimum"]["parameters"]
    true = (1e15 / 6) ** 0.5 * 0.5 ** (1 / 0.8)
    assert abs(true - (low + high) / 2) < 1.5 * (high - low)
    assert 6 * size * told["optimum"]["tokens"] == pytest.approx(1e15)
    [held] = told["held"]
    assert held["parameters"] == read_points(tmp_path / "runs.csv").parameters.max()
    assert held["loss"] == pytest.approx(held["foretold"][0], rel=0.03)
    page = (tmp_path / "law/report.html").read_text()
    assert "What a budget deserves" in page
    assert "Held against runs" in page
    again = cli("resume law --json", folder=tmp_path).result
    assert again == told
    served = cli(f"{words}2 serve_tokens=1e9 --json", folder=tmp_path).result
    assert served["optimum"]["parameters"][0] < size


def test_runs_that_saw_their_tokens_again_tell_what_that_is_worth(cli: Cli, tmp_path: Path) -> None:
    """D' = U + U R* (1 − exp(−R / R*)) of R* = 6, in the law of the runs before; sizes are no
    larger than unique tokens deserve, so that R*_N is not told.
    """
    write_runs(tmp_path / "runs.csv")
    lines = [f"{line},1" for line in (tmp_path / "runs.csv").read_text().split()[1:]]
    for unique in (1e7, 4e7):
        for epochs in (3, 8, 20, 50):
            data = unique * (1 + 6 * (1 - np.exp(-(epochs - 1) / 6)))
            loss = 1.5 + 100 / 1e5**0.4 + 200 / data**0.4
            lines.append(f"1e5,{unique * epochs},{loss},{epochs}")
    (tmp_path / "again.csv").write_text("\n".join(["parameters,tokens,loss,epochs", *lines]))
    done = cli("scale again.csv resamples=100 out=again --json", folder=tmp_path).result
    value, low, high = done["repeats"]["data"]
    assert low - (high - low) < 6 < high + (high - low)
    assert value == pytest.approx(6, rel=0.5)
    assert done["repeats"]["parameters"] is None
    assert done["steps"] == 24  # the law itself is of runs that saw each token once
    assert "Repeated data" in (tmp_path / "again/report.html").read_text()
    both = (tmp_path / "again.csv").read_text().replace("loss,epochs", "loss,unique_tokens")
    (tmp_path / "more.csv").write_text(both.replace(",1\n", ",9e99\n"))
    assert "unique tokens of" in cli("scale more.csv", folder=tmp_path).complaint


def write_rewards(folder: Path, seed: int, rows: int = 160) -> None:
    """Shares of right answers that rise to 0.8: 0.3 + 0.5 / (1 + (20,000 / C)^1.5), 1,000 tokens a
    row; and a row of an evaluation that has no compute yet.
    """
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"verb": "align", "config": {}}))
    luck = np.random.default_rng(seed).normal(size=rows)
    lines: list[dict[str, Any]] = [{"step": 0, "sampled_exact_match": 0.3, "tokens": 0}]
    for step in range(1, rows + 1):
        right = 0.3 + 0.5 / (1 + (20 / step) ** 1.5) + 0.02 * luck[step - 1]
        lines.append({"step": step, "tokens": 1000, "sampled_exact_match": right, "name": "x"})
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def test_reward_over_the_compute_of_runs(cli: Cli, tmp_path: Path) -> None:
    for seed in (0, 1):
        write_rewards(tmp_path / f"run{seed}", seed)
    words = "scale run0,run1 figure=sampled_exact_match beyond=4 out=law --json"
    told = cli(words, folder=tmp_path).result
    assert told["unit"] == "completion tokens"
    assert told["steps"] == 320
    for name, true in {"start": 0.3, "ceiling": 0.8}.items():
        _, low, high = told["law"][name]
        # as wide again to either side: 4.9 σ, a false alarm in 10⁶
        assert abs(true - (low + high) / 2) < 1.5 * (high - low), name
    assert told["law"]["ceiling"][2] <= 1  # a share
    assert told["foretold"]["compute"] == 4 * 160_000
    assert told["foretold"]["reward"][0] == pytest.approx(0.79, abs=0.03)
    assert told["held"]["reward"] == pytest.approx(0.775, abs=0.02)
    page = (tmp_path / "law/report.html").read_text()
    assert "Held against the end" in page
    assert cli("resume law --json", folder=tmp_path).result == told
    for words, said in (
        ("scale run0", "run0 has no row with figure=reward: give one of sampled_exact_match"),
        ("scale run0 minutes=3", "minutes: not of runs, which data=run0 is"),
        ("scale run0 budget=1e9", "budget: not of runs"),
    ):
        assert said in cli(words, folder=tmp_path).complaint


def test_how_often_a_budget_should_read_what_there_is(cli: Cli, tmp_path: Path) -> None:
    """Between one time and the sixty that a size of no loss to itself would read it."""
    write_runs(tmp_path / "runs.csv")
    lines = [f"{line},1" for line in (tmp_path / "runs.csv").read_text().split()[1:]]
    for epochs in (3, 8, 20, 50):
        data = 1e7 * (1 + 6 * (1 - np.exp(-(epochs - 1) / 6)))
        lines.append(f"1e5,{1e7 * epochs},{1.5 + 100 / 1e5**0.4 + 200 / data**0.4},{epochs}")
    (tmp_path / "again.csv").write_text("\n".join(["parameters,tokens,loss,epochs", *lines]))
    words = "scale again.csv resamples=100 budget=1.2e14 unique_tokens=1e7"
    told = cli(f"{words} out=law --json", folder=tmp_path).result
    epochs, low, high = told["epochs"]["epochs"]
    size = told["epochs"]["parameters"][0]
    assert epochs == pytest.approx(1.2e14 / 6 / size / 1e7)
    # by the law itself, over the sizes that ten million tokens deserve: (A / B)^(1 / 0.4) U
    sizes = np.geomspace(1e4, 0.5 ** (1 / 0.4) * 1e7, 2001)
    seen = 1.2e14 / 6 / sizes / 1e7
    worth = 1e7 * (1 + 6 * (1 - np.exp(-(seen - 1) / 6)))
    true = seen[int(np.argmin(1.5 + 100 / sizes**0.4 + 200 / worth**0.4))]
    assert low / 1.5 < true < high * 1.5
    assert "each token seen" in (tmp_path / "law/report.html").read_text()
    said = cli("scale runs.csv budget=1e14 unique_tokens=1e7", folder=tmp_path).complaint
    assert "no run of runs.csv saw a token again" in said
    assert "give budget=" in cli("scale again.csv unique_tokens=1e7", folder=tmp_path).complaint


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("scale nothing.csv", "nothing.csv does not exist"),
        ("scale few.csv", "few.csv has 1 size and 3 different numbers of tokens"),
        ("scale none.csv", "none.csv has 0 different sizes and 0 different numbers of tokens"),
        ("scale few.csv minutes=3", "minutes: not of a .csv of runs"),
        ("scale few.csv without_worst=3", "without_worst=3 leaves nothing of the 3 runs"),
        ("scale data=python huber=0.1", "huber: not of text"),
        ("scale data=python serve_tokens=1e9", "serve_tokens= is paid out of a budget"),
        ("scale data=python context=100", "tokens_per_step=512 is no multiple of context=100"),
        ("scale data=python tokenizer=bpe", "tokenizer=bpe would be learned anew by every run"),
        ("scale data=python minutes=0.01", "minutes=0.01 is too short: the smallest sweep"),
    ],
)
def test_what_gives_no_law(words: str, said: str, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "few.csv").write_text("parameters,tokens,loss\n10,20,3\n10,30,3\n10,40,2\n")
    (tmp_path / "none.csv").write_text("parameters,tokens,loss\n")
    assert said in cli(words, folder=tmp_path).complaint
    assert {path.name for path in tmp_path.iterdir()} <= {"few.csv", "none.csv", "runs"}
    assert not list(tmp_path.glob("runs/*"))


def test_a_sweep_that_is_killed_repeats_no_finished_run(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    words, plan = models.fill(SWEEP), tmp_path / "swept/plan.json"
    done = cli(words, folder=tmp_path, signal=signal.SIGKILL, once=plan)
    assert done.code == -signal.SIGKILL
    write_small_plan(plan)
    first, second = (tmp_path / "swept" / name for name in ("1x16-4", "1x16-8"))
    done = cli(
        "resume swept", folder=tmp_path, signal=signal.SIGKILL, once=second / "metrics.jsonl"
    )
    assert done.code == -signal.SIGKILL
    before = {path: path.stat().st_mtime_ns for path in first.rglob("*") if path.is_file()}
    told = cli("resume swept --json", folder=tmp_path).result
    for path, written in before.items():
        if path.name != ".lock":
            assert path.stat().st_mtime_ns == written, path
    check_against_its_own_command(second, cli, tmp_path)
    # the law is of these runs, and of what was said before the last was trained
    points = read_points(tmp_path / "swept/points.csv")
    assert len(points) == told["steps"] == 9
    own = json.loads((second / "summary.json").read_text())
    assert own["test"]["loss"] in points.loss
    said = json.loads((tmp_path / "swept/prediction.json").read_text())
    [held] = told["held"]
    assert held["foretold"] == [said["value"], said["low"], said["high"]]
    last = json.loads((tmp_path / "swept/2x24-12/summary.json").read_text())
    assert held["loss"] == last["test"]["loss"]
    assert held["inside"] == (said["low"] <= held["loss"] <= said["high"])


def check_against_its_own_command(run: Path, cli: Cli, folder: Path) -> None:
    """Every run of a sweep is what its own command makes of it."""
    config = json.loads((run / "config.json").read_text())["config"]
    given = ("data", "tokenizer", "context", "tokens_per_step", "steps", "learning_rate", "layers",
             "parameterization", "warmup_steps", "evaluation_rows", "precision", "compile", "width",
             "heads", "kv_heads", "mlp_width")  # fmt: skip
    alone = [f"{name}={config[name]}" for name in given]
    assert cli(["pretrain", *alone, "out=alone"], folder=folder).code == 0
    assert outcome(folder / "alone") == outcome(run)


def write_small_plan(path: Path) -> None:
    """Nine runs of seconds, in the place of what sixty minutes would buy."""
    plan: dict[str, Any] = json.loads(path.read_text())
    count = {(one["layers"], one["width"]): one["parameters"] for one in plan["runs"]}
    runs = [
        {"layers": layers, "width": width, "steps": steps * times,
         "parameters": count.get((layers, width), 1)}
        for layers, width, steps in SIZES for times in (1, 2, 3)
    ]  # fmt: skip
    last = {"layers": 2, "width": 24, "steps": 12, "parameters": 20_000}
    path.write_text(json.dumps({"runs": runs, "foretold": last}))
