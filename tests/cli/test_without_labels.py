"""`fledge imagine` of tasks without labels and of the next frame, as it is typed: summary, sheets
and page; the same bits after a kill; what cannot be done in one sentence.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
from tests.cli.commands import Cli, outcome

QUICK = "width=16 layers=1 heads=2 rows_per_step=16 precision=fp32 compile=no evaluate_every=4"


def write_films(folder: Path, label: bool = True) -> None:
    """A bright square goes right by one pixel a frame where it is told 1, and stays where 0."""
    random = np.random.default_rng(0)
    frames = np.zeros((60, 5, 3, 8, 16), np.uint8)
    action = random.integers(0, 2, (60, 4))
    labels = np.zeros((60, 5), np.int64)
    for n in range(60):
        row, column = random.integers(0, 6), random.integers(0, 8)
        for t in range(5):
            frames[n, t, n % 3, row : row + 3, column : column + 3] = 250
            labels[n, t] = n % 3
            column += 0 if t == 4 else int(action[n, t])
    arrays = {"frames": frames, "action": action, **({"label": labels} if label else {})}
    np.savez(folder / "films.npz", **arrays)


def test_a_run_tells_how_well_labels_are_read_beside_pixels(cli: Cli, tmp_path: Path) -> None:
    done = cli(f"imagine model=mae data=digits out=run steps=8 {QUICK}", folder=tmp_path)
    assert done.code == 0, done.stderr
    assert "Beside it, on the same pictures: pixels" in done.stdout
    assert "fledge sample" not in done.stdout
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    measured = {"learned": summary["test"], **summary["yardsticks"]}
    assert set(measured) == {"learned", "pixels", "untrained"}
    for each in measured.values():
        for way in ("probe_accuracy", "neighbour_accuracy"):
            assert 0 < each[way] <= 1
    assert measured["pixels"]["probe_accuracy"] > 0.7
    assert {sheet["file"] for sheet in summary["sheets"]} == {"data.png", "hidden.png"}
    page = cli("report run=run out=page.html", folder=tmp_path)
    assert page.code == 0, page.stderr
    text = (tmp_path / "page.html").read_text()
    assert "A linear probe" in text
    assert "svg.bars .before" in text  # or bars would be black
    assert f"pixels {100 * measured['pixels']['probe_accuracy']:.1f} %" in text
    drawn = cli("sample run out=x.png", folder=tmp_path)
    assert "draws nothing" in drawn.complaint


@pytest.mark.parametrize("model", ["frame_order", "arrow_of_time", "colour_tracking", "mae"])
def test_films_of_the_users_own_are_read(model: str, cli: Cli, tmp_path: Path) -> None:
    write_films(tmp_path)
    done = cli(f"imagine films.npz model={model} out=run steps=3 {QUICK}", folder=tmp_path)
    assert done.code == 0, done.stderr
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert 0 < summary["test"]["probe_accuracy"] <= 1


def test_the_next_frame_is_learned_and_judged(cli: Cli, tmp_path: Path) -> None:
    write_films(tmp_path, label=False)
    words = (
        "imagine films.npz model=next_frame out=run steps=250 width=32 layers=1 patch=4 "
        "rows_per_step=32 learning_rate=3e-3 precision=fp32 compile=no"
    )
    done = cli(words, folder=tmp_path)
    assert done.code == 0, done.stderr
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    before, after = summary["before"], summary["after"]
    assert before["validation_next_error"] == pytest.approx(before["validation_copied_error"])
    assert after["validation_next_error"] < 0.8 * after["validation_copied_error"]
    assert after["validation_next_error"] < after["validation_shuffled_error"]
    assert {sheet["file"] for sheet in summary["sheets"]} == {"data.png", "imagined.png"}


@pytest.mark.parametrize("model", ["dino", "next_frame"])
def test_a_killed_run_ends_with_the_same_bits(model: str, cli: Cli, tmp_path: Path) -> None:
    write_films(tmp_path)
    quick = QUICK if model == "dino" else QUICK.replace("heads=2", "")
    # Long enough to be killed on a fast machine: a step takes 2 ms there.
    words = f"imagine films.npz model={model} out=killed steps=200 save_every_s=0 {quick}"
    words = words.replace("evaluate_every=4", "evaluate_every=100")
    ended = cli(
        words, folder=tmp_path, signal=signal.SIGKILL, after_s=0.1,
        once=tmp_path / "killed/metrics.jsonl",
    )  # fmt: skip
    assert ended.code == -signal.SIGKILL, ended
    assert cli("resume killed", folder=tmp_path).code == 0
    whole = cli(words.replace("out=killed", "out=whole"), folder=tmp_path)
    assert whole.code == 0, whole.stderr
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("model=frame_order data=digits", "learns from films, and digits holds pictures"),
        ("model=mae data=film:Pong", "there are no films film:Pong"),
        ("model=colourisation data=digits", "these have 1 channel"),
        ("model=arrow_of_time data=films.npz augment=shift", "films are not changed by it"),
        ("model=colour_tracking data=films.npz binarise=hash", "binarise= was given"),
        ("model=next_frame data=still.npz", "nobody acts in"),
        ("model=frame_order data=films.npz frames=9", "less than or equal to 5"),
        ("model=arrow_of_time data=films.npz frames=9", "films have 5: give fewer"),
        ("model=mae data=bad.npz", "films are `frames`"),
        ("model=frame_order data=few.npz", "fewer than 20 different films"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    words: str, sentence: str, cli: Cli, tmp_path: Path
) -> None:
    write_films(tmp_path)
    made = np.load(tmp_path / "films.npz")
    np.savez(tmp_path / "still.npz", frames=made["frames"])
    np.savez(tmp_path / "few.npz", frames=made["frames"][:9])
    np.savez(tmp_path / "bad.npz", frames=made["frames"].astype(float))
    assert sentence in cli(f"imagine {words}", folder=tmp_path).complaint


@pytest.mark.parametrize("model", ["mae", "next_frame"])
def test_a_run_is_measured_again_with_the_same_figures(
    model: str, cli: Cli, tmp_path: Path
) -> None:
    write_films(tmp_path)
    quick = QUICK if model == "mae" else QUICK.replace("heads=2", "")
    done = cli(f"imagine films.npz model={model} out=run steps=3 {quick}", folder=tmp_path)
    assert done.code == 0, done.stderr
    tested = json.loads((tmp_path / "run/summary.json").read_text())["test"]
    figures = cli("evaluate run --json", folder=tmp_path).result
    assert {name: figures[name] for name in tested} == pytest.approx(tested, rel=1e-6)
