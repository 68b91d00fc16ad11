"""Runs as the page is told of them: curves that are read on as a log grows, numbers, lineage."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from fledge.errors import UserError
from fledge.report.charts import Series, draw_line_chart
from fledge.runs.folder import Run
from fledge.serve.api_errors import ApiError
from fledge.serve.growing_curves import GrowingCurves
from fledge.serve.runs_view import RunsView, find_reference, take_apart


def append(path: Path, *rows: str) -> None:
    with path.open("a") as file:
        file.writelines(rows)


def row(step: int, loss: float) -> str:
    return json.dumps({"step": step, "loss": loss}) + "\n"


def read_losses(growing: GrowingCurves) -> list[tuple[float, float]]:
    figures = growing.read().figures
    if "loss" not in figures:
        return []
    series = figures["loss"].series("loss")
    return list(zip(series.x, series.y, strict=True))


def test_only_what_is_new_is_added_and_a_torn_line_waits(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    growing = GrowingCurves(log)
    assert read_losses(growing) == []
    append(log, row(0, 3.0), row(1, 2.0)[:-5])
    assert read_losses(growing) == [(0, 3.0)]
    append(log, row(1, 2.0)[-5:], row(2, 1.0))
    assert read_losses(growing) == [(0, 3.0), (1, 2.0), (2, 1.0)]
    assert read_losses(growing) == [(0, 3.0), (1, 2.0), (2, 1.0)]


def test_a_log_that_was_cut_back_and_grew_beyond_is_read_anew(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    append(log, row(0, 3.0), row(1, 2.0))
    growing = GrowingCurves(log)
    growing.read()
    os.truncate(log, len(row(0, 3.0)))
    append(log, row(1, 2.5), row(2, 1.5), row(3, 1.25))
    assert read_losses(growing) == [(0, 3.0), (1, 2.5), (2, 1.5), (3, 1.25)]
    log.unlink()
    assert read_losses(growing) == []


def test_a_broken_line_is_a_sentence(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    append(log, row(0, 3.0), "{]\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl"):
        GrowingCurves(log).read()


def make_run(folder: Path, verb: str, *parents: Path, finished: bool = True) -> Path:
    with Run.create(folder, verb, {}, seed=0, parents=parents, command="fledge") as run:
        run.metrics.write({"step": 0, "loss": 2.0})
        if finished:
            run.finish({"steps": 1})
    (folder / "model").mkdir()
    (folder / "model" / "model.safetensors").write_bytes(b"weights")
    return folder


def test_lineage_goes_from_parents_to_children_with_what_is_elsewhere(tmp_path: Path) -> None:
    base = make_run(tmp_path / "base", "pretrain")
    tune = make_run(tmp_path / "tune", "tune", base)
    judge = make_run(tmp_path / "judge", "reward", tune)
    align = make_run(tmp_path / "align", "align", tune, judge, finished=False)
    view = RunsView([align])
    told = view.tell_lineage()
    by_name = {Path(one["name"]).name: one for one in told}
    assert set(by_name) == {"base", "tune", "judge", "align"}
    assert [by_name[name]["depth"] for name in ("base", "tune", "align")] == [0, 1, 2]
    keys = {one["key"]: Path(one["name"]).name for one in told}
    assert keys[by_name["align"]["parent"]] == "tune"
    assert [keys[key] for key in by_name["align"]["also"]] == ["judge"]
    assert by_name["align"]["status"] == "unfinished"
    assert by_name["base"]["figure"] == "loss 2.00"
    number = by_name["tune"]["number"]
    curves = view.tell_curves(number, None)
    assert curves["pictures"][0]["title"] == "Loss"
    assert view.tell_curves(number, curves["rows"])["pictures"] is None
    for other in (0, 99):
        with pytest.raises(ApiError):
            view.tell_curves(other, None)


def test_the_reference_is_the_nearest_that_is_served_be_it_a_run_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"weights")
    base = make_run(tmp_path / "base", "tune", file)
    align = make_run(tmp_path / "align", "align", base)
    served = {file.resolve(): "the file", align.resolve(): "aligned"}
    assert find_reference(align / "model", served) == "the file"
    assert find_reference(file, served) is None
    assert find_reference(align / "model", served | {base.resolve(): "the base"}) == "the base"


def test_a_drawing_is_told_as_nodes_and_their_text(tmp_path: Path) -> None:
    name = "<script>\x1b</script>"
    chart = draw_line_chart([Series(name, [0, 1], [1, 2])], x_label=name, description=name)
    told = take_apart(chart)
    assert told[0] == "svg"
    assert told[1]["aria-label"] == "<script>\\x1b</script>"

    def list_tags(node: list) -> set[str]:
        inside = [list_tags(child) for child in node[2:] if isinstance(child, list)]
        return {node[0]}.union(*inside)

    assert list_tags(told) <= {"svg", "g", "path", "line", "circle", "text"}
