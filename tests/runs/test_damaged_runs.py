"""One damaged run takes its own figures with it, and no other run, and no page: each is listed, and
says what is wrong.
"""

from __future__ import annotations

import io
import itertools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fledge.errors import UserError
from fledge.recipes.look.runs import RunsConfig, runs
from fledge.report.family_tree import Member, draw_guides
from fledge.report.report import render_report
from fledge.runs.folder import Run
from fledge.runs.show import Show

HEALTHY = "healthy"
SICK = "sick"
_DEEP = "[" * 150 + "]" * 150
# What may stand in the place of any value of any JSON file, as it is written there.
ODD = (
    *(
        "null",
        "[]",
        "{}",
        '"x"',
        "-1",
        "true",
        "1.5",
        "1e308",
        "-1e308",
        "5e-324",
        "9" * 200,
        "9" * 400,
    ),
    *(
        "1e400",
        "NaN",
        "-Infinity",
        _DEEP,
        '[[1], {"a": null}]',
        '"\\ud800\\u001b[2J"',
        '"a\\u0000b"',
        '"2026-01-01T00:00:00"',
    ),
)
# neighbouring places try different ones: all of them at all places take a minute, and said nothing
# more
_APART = 5


def make(root: Path) -> Run:
    """Two runs as they are written: the second has every file, and started from the first."""
    first = Run.create(root / HEALTHY, "pretrain", {"seed": 1}, seed=1)
    first.metrics.write({"step": 3, "loss": 0.5})
    first.finish({"seconds": 1.0})
    (root / "data.txt").write_text("text")
    run = Run.create(
        root / SICK, "tune", {"steps": 3, "sizes": {"width": 8}}, seed=2,
        parents=[root / HEALTHY], data=[root / "data.txt"],
    )  # fmt: skip
    for step in (0, 1):
        run.metrics.write(
            {"step": step, "loss": 1.5 - step, "world_steps": 10 * step, "evaluation_return": step}
        )
        run.timings.write({"step": step, "fit": 0.25, "total": 0.5, "tokens_per_second": 100.0})
        run.samples.write(
            {
                "step": step,
                "prompt": "a",
                "completion": "b",
                "answer": "b",
                "score": 0.5,
                "exact": True,
            }
        )
    compared = {
        "ppo": {"world_steps": [0, 5], "return": [1.0, 2.0], "low": [0.5, 1.0], "high": [1.5, 3.0]}
    }
    stage = {
        "name": "tune",
        "run": "x",
        "seconds": 2.0,
        "before": {"loss": 3.0},
        "after": {"loss": 0.5},
    }
    changes = {
        "before": {"loss": 2.0},
        "after": {"loss": 1.0},
        "stages": [stage],
        "compared": compared,
    }
    run.finish({"seconds": 2.0, "world": "w", "seeds": 2, **changes})
    run.checkpoints.save(1, {"a": 1}, score=0.5)
    run.close()
    return run


def listed(root: Path) -> tuple[dict[str, dict[str, Any]], str]:
    """What `fledge runs` gives to a program, by run, and what it shows to a person."""
    out = io.StringIO()
    rows = runs(RunsConfig(root=root), Show(Console(file=out, width=200)))["runs"]
    json.dumps(rows, allow_nan=False)
    return {row["run"]: row for row in rows}, out.getvalue()


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where each value of a nest stands, the whole first."""
    yield at
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for name, one in inner:
        yield from places(one, (*at, name))


def with_odd(value: Any, at: tuple[Any, ...], odd: str) -> str:
    """The JSON of `value` with the text `odd` in the place `at`."""
    if not at:
        return odd
    if isinstance(value, dict):
        parts = [
            f"{json.dumps(name)}: "
            f"{with_odd(one, at[1:], odd) if name == at[0] else json.dumps(one)}"
            for name, one in value.items()
        ]
        return "{" + ", ".join(parts) + "}"
    return (
        "["
        + ", ".join(
            with_odd(one, at[1:], odd) if i == at[0] else json.dumps(one)
            for i, one in enumerate(value)
        )
        + "]"
    )


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "lineage.json",
        "summary.json",
        "metrics.jsonl",
        "timings.jsonl",
        "samples.jsonl",
    ],
)
def test_no_value_of_any_file_hides_a_run_or_ends_in_a_traceback(tmp_path: Path, name: str) -> None:
    folder = make(tmp_path).folder
    *before, last = (
        (folder / name).read_text().splitlines()
        if name.endswith("l")
        else ["", (folder / name).read_text()]
    )
    value = json.loads(last)
    pages = itertools.cycle([True, *[False] * 6])  # a page takes ten times as long as the list
    for number, at in enumerate(places(value)):
        for odd in ODD[number % _APART :: _APART]:
            (folder / name).write_text("\n".join([*before, with_odd(value, at, odd)]) + "\n")
            rows, shown = listed(tmp_path)
            assert rows.keys() == {HEALTHY, SICK}
            assert rows[HEALTHY]["figure"] == "loss"
            assert not rows[HEALTHY]["damage"]
            for sentence in rows[SICK]["damage"]:
                assert str(folder / name) in sentence
                assert f"{SICK}: {sentence}" in shown
            if next(pages):
                render_report(folder)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replace_by_link(to: str) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        path.unlink()
        path.symlink_to(to)

    return replace


def replace_by_bytes(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


WAYS: dict[str, Callable[[Path], object]] = {
    "folder": replace_by_folder,
    "pipe": replace_by_pipe,
    "dangling": replace_by_link("gone"),
    "circle": replace_by_link("."),
    "device": replace_by_link("/dev/zero"),
    "zeros": replace_by_bytes(b"\0" * 512 + b"\n"),
    "binary": replace_by_bytes(b"\xff\xfe{\n"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["config.json", "lineage.json", "metrics.jsonl", "summary.json"])
def test_what_is_no_file_hides_no_run_and_is_waited_for_by_nobody(
    tmp_path: Path, name: str, way: str
) -> None:
    folder = make(tmp_path).folder
    WAYS[way](folder / name)
    rows, shown = listed(tmp_path)
    assert rows.keys() == {HEALTHY, SICK}
    assert any(str(folder / name) in sentence for sentence in rows[SICK]["damage"])
    assert "damaged" in shown
    assert "Damaged: " in render_report(folder)
    if name in ("config.json", "lineage.json"):
        with pytest.raises(UserError, match=name):
            Run.open(folder)


@pytest.mark.parametrize(
    "name", ["samples.jsonl", "timings.jsonl", "agent.png", "failed.txt", "notes"]
)
@pytest.mark.parametrize("way", WAYS)
def test_a_page_needs_none_of_its_files(tmp_path: Path, name: str, way: str) -> None:
    folder = make(tmp_path).folder
    (folder / "summary.json").unlink()  # failed.txt is read in an unfinished run only
    (folder / name).write_text("")
    WAYS[way](folder / name)
    assert "1.50 → 0.500" in render_report(folder)
    assert listed(tmp_path)[0].keys() == {HEALTHY, SICK}


def test_a_lost_config_is_said_and_the_run_is_listed(tmp_path: Path) -> None:
    folder = make(tmp_path).folder
    (folder / "config.json").unlink()
    rows, shown = listed(tmp_path)
    assert f"{folder} has no config.json" in rows[SICK]["damage"][0]
    assert rows[SICK]["value"] == 1.0
    assert "?" in shown
    with pytest.raises(UserError, match=r"no config\.json"):
        Run.open(folder)


@pytest.mark.parametrize("generations", [1, 2, 5])
def test_runs_that_descend_from_themselves_are_all_listed(tmp_path: Path, generations: int) -> None:
    names = [f"run-{i}" for i in range(generations)]
    for i, name in enumerate(names):
        run = Run.create(tmp_path / name, "tune", {}, seed=0)
        run.metrics.write({"step": 1, "loss": 2.0})
        lineage = {**run.lineage, "parents": [{"path": f"../{names[i - 1]}"}]}
        (run.folder / "lineage.json").write_text(json.dumps(lineage))
    Run.create(tmp_path / "child", "tune", {}, seed=0, parents=[tmp_path / names[0]])
    rows, shown = listed(tmp_path)
    assert rows.keys() == {*names, "child"}
    assert (
        sum("its own ancestor" in sentence for row in rows.values() for sentence in row["damage"])
        == 1
    )
    assert all(f"{name} " in shown for name in names)
    for folder in (tmp_path, tmp_path / "child", *(tmp_path / name for name in names)):
        assert "its own ancestor" in render_report(folder) or folder.name != names[0]


def test_a_tree_of_thousands_of_generations_is_drawn() -> None:
    youngest = Member(Path("3000"), None)
    for i in reversed(range(3000)):
        youngest = Member(Path(f"{i:04}"), None, [youngest])
    drawn = [(guide, member.folder.name) for guide, member in draw_guides([youngest])]
    assert drawn[:3] == [("", "0000"), ("└─ ", "0001"), ("   └─ ", "0002")]
    assert len(drawn) == 3001


@pytest.mark.parametrize(
    "values", [(1e308, -1e308), (0.0, 5e-324), (1e300, -1e300), (1.0, 1.0 + 2e-16)], ids=str
)
def test_figures_at_the_ends_of_the_floats_have_a_page(
    tmp_path: Path, values: tuple[float, float]
) -> None:
    run = Run.create(tmp_path / SICK, "tune", {}, seed=0)
    for step, value in enumerate(values):
        run.metrics.write({"step": step, "loss": value, "reward": 1.0})
    assert "reward" in render_report(run.folder)
    assert not listed(tmp_path)[0][SICK]["damage"]
