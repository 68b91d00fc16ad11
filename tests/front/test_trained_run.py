"""What a training returns: figures, picture, model, folder, and how it looks in a notebook."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import fledge
from tests.cli.commands import Models


@pytest.fixture
def run(models: Models) -> fledge.TrainedRun:
    return fledge.open_run(models.folder / "pretrain")


def test_figures_are_the_log(run: fledge.TrainedRun) -> None:
    lines = (run.folder / "metrics.jsonl").read_text().splitlines()
    assert run.metrics == [json.loads(line) for line in lines]
    assert run.metrics.column("loss")[0][0] == 1
    with pytest.raises(fledge.UserError, match="no figure `los` here: there are"):
        run.metrics.column("los")
    frame = run.metrics.to_pandas()
    assert list(frame["loss"].dropna()) == [row["loss"] for row in run.metrics if "loss" in row]
    assert run.summary == json.loads((run.folder / "summary.json").read_text())
    assert run.samples


def test_without_pandas_one_sentence(
    run: fledge.TrainedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(fledge.UserError, match="needs pandas, which is not installed"):
        run.metrics.to_pandas()


def test_a_plot_is_matplotlib_s_or_the_report_s(
    run: fledge.TrainedRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    figure = run.plot("loss")
    [line] = figure.axes[0].lines
    assert list(line.get_ydata()) == [value for _, value in run.metrics.column("loss")]
    assert figure._repr_svg_().count("<svg") == 1
    figure.savefig(tmp_path / "loss.png")
    [headline] = run.plot().axes[0].lines
    assert headline.get_label() == "validation bits per byte"
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    drawn = run.plot()
    assert drawn._repr_svg_().startswith("<svg")
    assert drawn.save(tmp_path / "loss.svg").read_text() == drawn.svg
    with pytest.raises(fledge.UserError, match="no figure `los`"):
        run.plot("los")


def test_how_it_looks(run: fledge.TrainedRun, models: Models, tmp_path: Path) -> None:
    assert repr(run).startswith("TrainedRun(pretrain, 12 steps, test bits per byte ")
    assert repr(run).endswith(f"{run.folder})")
    assert run.report(tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert isinstance(fledge.open_run(models.folder / "reward").model, fledge.RewardModel)
    assert isinstance(run.model, fledge.Model)
    assert run.model is run.model


def test_verbose_is_what_the_command_line_prints(
    models: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fields = {"steps": 1, "precision": "fp32", "compile": "no"}
    rows = models.folder / "rows.jsonl"
    quiet = fledge.tune(models.folder / "tune", rows, out=tmp_path / "a", **fields)
    assert capsys.readouterr() == ("", "")
    fledge.tune(models.folder / "tune", rows, out=tmp_path / "b", verbose=True, **fields)
    printed = capsys.readouterr().out
    assert printed.replace(str(tmp_path / "b"), str(tmp_path / "a")) == quiet.notes


def test_a_run_that_is_not_finished_says_so(models: Models, tmp_path: Path) -> None:
    run = fledge.tune(
        models.folder / "tune", models.folder / "rows.jsonl", steps=1, compile="no",
        precision="fp32", out=tmp_path / "run",
    )  # fmt: skip
    (run.folder / "summary.json").unlink()
    with pytest.raises(fledge.UserError, match="is not finished, and has no summary"):
        fledge.open_run(run.folder).summary  # noqa: B018
    assert "unfinished" in repr(fledge.open_run(run.folder))
    with pytest.raises(fledge.UserError, match="is not a run"):
        fledge.open_run(tmp_path / "nothing")
