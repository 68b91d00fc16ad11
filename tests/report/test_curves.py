"""Curves of logs of any length: short ones point by point, long ones by means, lows and highs that
numpy finds too; memory stays bounded.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from fledge.report import curves as curve_module
from fledge.report.chapter import read_curves
from fledge.report.charts import Series
from fledge.report.curves import MOST, Curve, Curves
from fledge.report.report import render_report
from fledge.report.samples import compare_answers
from fledge.runs.folder import Run


def curve_of(values: list[float] | np.ndarray) -> Curve:
    curve = Curve()
    for x, y in enumerate(values):
        curve.add(x, y)
    return curve


@pytest.mark.parametrize("length", [1, 2, 1000, MOST])
def test_a_short_log_is_drawn_point_by_point(length: int) -> None:
    values = [random.Random(3).random() for _ in range(length)]
    series = curve_of(values).series("loss")
    assert series == Series("loss", list(range(length)), values)
    assert all(type(x) is int for x in series.x)  # as they are written into the page


@pytest.mark.parametrize("length", [MOST + 1, 3 * MOST, 100_000, 300_001])
def test_a_long_log_is_means_of_stretches_between_their_lowest_and_highest(length: int) -> None:
    values = np.random.default_rng(length).standard_normal(length)
    series = curve_of(values).series("loss")
    assert len(series.x) <= 2 * MOST
    # Each stretch has a power of two of points, but for the last.
    stride = 2
    while -(-length // stride) > 2 * MOST:
        stride *= 2
    candidates = [s for s in (stride // 2, stride, stride * 2) if -(-length // s) == len(series.x)]
    (stride,) = candidates
    starts = np.arange(0, length, stride)
    counts = np.diff(np.append(starts, length))
    np.testing.assert_allclose(series.y, np.add.reduceat(values, starts) / counts, atol=1e-12)
    np.testing.assert_allclose(series.x, starts + (counts - 1) / 2)
    lowest, highest = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
    peaks = np.array(series.peaks)
    assert (np.sort(peaks[:, 1]) == np.sort(np.concatenate([lowest, highest]))).all()
    assert all(values[int(x)] == y for x, y in series.peaks)
    assert (np.diff(peaks[:, 0]) >= 0).all()


def test_a_spike_in_a_long_log_is_drawn(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", "tune", {}, seed=0)
    with (run.folder / "metrics.jsonl").open("w") as log:
        for step in range(20_000):
            log.write(json.dumps({"step": step, "loss": 900.0 if step == 12_345 else 1.0}) + "\n")
    page = render_report(run.folder)
    (raw,) = (line for line in page.split("<path ") if line.startswith('class="raw s1"'))
    heights = [float(point.split()[1]) for point in raw.split('d="M')[1].split('"')[0].split("L")]
    # the axis ends at 0.95 of the picture's height above the lowest value
    assert sorted(set(heights))[0] < 25 < sorted(set(heights))[1]
    assert "1.00 → 1.00" in page
    assert "19,999 steps" in page


def test_what_is_no_number_is_counted_and_what_is_no_figure_is_left_out() -> None:
    curves = Curves()
    for step in range(3):
        curves.add({"step": step, "tokens": 5, "loss": None if step else 2, "lost": None})
    curves.add({"step": None, "loss": 7.0})
    assert list(curves.list_figures()) == ["loss"]
    loss = curves.figures["loss"]
    assert (loss.first, loss.last, loss.lost, curves.rows, curves.steps) == (2, 2, 2, 4, 2)


def test_samples_are_those_of_the_first_and_the_last_step_of_a_prompt() -> None:
    rows = [
        {"step": step, "prompt": f"p{prompt}", "completion": f"{step} {prompt} {n}"}
        for step in (3, 1, 9, 5)
        for prompt in range(4)
        for n in range(2)
        if prompt or step == 5
    ]
    said = [
        (one.prompt, one.before.text, one.after and one.after.text)
        for one in compare_answers(iter(rows))
    ]
    twice = [(f"p{p}", f"1 {p} {n}", f"9 {p} {n}") for p in (1, 2, 3) for n in range(2)]
    assert said == [*twice, ("p0", "5 0 0", None), ("p0", "5 0 1", None)]


def write_long_run(folder: Path, rows: int) -> Run:
    """Rows as a long run of `align` writes, and as many of samples and of timings."""
    run = Run.create(folder, "align", {}, seed=0)
    figures = ", ".join(f'"figure_{i}": {{0}}.{i}' for i in range(8))
    with (
        (folder / "metrics.jsonl").open("w") as metrics,
        (folder / "samples.jsonl").open("w") as samples,
        (folder / "timings.jsonl").open("w") as timings,
    ):
        for step in range(rows):
            metrics.write(f'{{"step": {step}, ' + figures.replace("{0}", str(step % 97)) + "}\n")
            samples.write(
                f'{{"step": {step}, "prompt": "question {step}", "completion": "{"so " * 20}"}}\n'
            )
            timings.write(
                f'{{"step": {step}, "fit": 0.5, "total": 1, "tokens_per_second": {step % 89}}}\n'
            )
    return run


def test_memory_does_not_grow_with_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curve_module, "MOST", 512)
    peaks = []
    for rows in (4 * 512, 16 * 512):
        tracemalloc.start()
        try:
            curves, *_ = read_curves(
                {"step": step, "loss": step / 7, "reward": step % 11, "lost": None}
                for step in range(rows)
            )
            assert len(curves.figures["loss"].series("loss").y) <= 2 * 512
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] < 2e6


@pytest.mark.slow
@pytest.mark.parametrize("command", [["report"], ["runs", "--json"]])
def test_a_log_of_two_million_lines_takes_less_than_a_gigabyte(
    tmp_path: Path, command: list[str]
) -> None:
    run = write_long_run(tmp_path / "run", 2_000_000)
    run.close()
    measured = (
        "import resource, runpy, sys\n"
        "sys.argv[0] = 'fledge'\n"
        "try: runpy.run_module('fledge', run_name='__main__')\n"
        "except SystemExit as ended: assert not ended.code, ended.code\n"
        "print('MAXRSS', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    words = ["run=run"] if command == ["report"] else ["root=."]
    done = subprocess.run(
        [sys.executable, "-c", measured, *command, *words],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stdout.split("MAXRSS ")[1]) < 1e6  # KiB
