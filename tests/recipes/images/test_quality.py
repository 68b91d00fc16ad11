"""A run's samples beside real pictures: in its summary, and again by `fledge evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fledge
from fledge.errors import UserError
from fledge.front.verbs import evaluate
from fledge.report.picture_quality import read_quality

QUICK: dict[str, Any] = {
    "steps": 3, "rows_per_step": 16, "width": 8, "layers": 1, "samples": 10, "judged_samples": 60,
    "precision": "fp32", "compile": "no",
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator by label, hardly begun."""
    folder = tmp_path_factory.mktemp("runs") / "gan"
    fledge.imagine(model="gan", by_label=True, out=str(folder), **QUICK)
    return folder


def summary_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "summary.json").read_text())


def test_a_run_says_how_good_its_samples_are(run: Path) -> None:
    quality = summary_of(run)["quality"]
    drawn, real = quality["drawn"], quality["held_out"]
    assert drawn["pictures"] == 60
    assert real["pictures"] == 60  # as many, of the 154 that are held out
    assert drawn["frechet"] > 10 * real["frechet"]
    assert drawn["told_apart"] > 0.9
    assert {"precision", "recall", "nearest_ratio", "labels_drawn", "read_right"} <= drawn.keys()
    assert "half of the training pictures" in quality["encoder"]
    sheets = {sheet["file"] for sheet in summary_of(run)["sheets"]}
    assert {"samples.png", "data.png", "nearest.png"} <= sheets
    assert (run / "nearest.png").is_file()
    table = read_quality(summary_of(run))
    assert table is not None
    assert [row[0] for row in table.rows][:2] == ["pictures", "Fréchet distance"]


def test_evaluate_says_the_same_by_the_encoder_that_the_run_keeps(
    run: Path, tmp_path: Path
) -> None:
    kept = run / "encoder" / "model.safetensors"
    before = kept.stat().st_mtime_ns
    said = evaluate(str(run), judged_samples=60, out=str(tmp_path / "near.png"))
    assert said["quality"] == summary_of(run)["quality"]
    assert kept.stat().st_mtime_ns == before
    assert (tmp_path / "near.png").read_bytes() == (run / "nearest.png").read_bytes()


def test_an_encoder_of_other_pictures_is_not_used(run: Path, tmp_path: Path) -> None:
    """Digits turned dark to bright are nothing like what is drawn by a model of digits."""
    from fledge.images.digits import load_digits

    digits = load_digits()
    x, y = 16 - digits.rows.x[:400, 0].numpy(), digits.rows.label[:400].numpy()
    np.savez(tmp_path / "other.npz", x=x, y=y)
    said = evaluate(str(run), data=str(tmp_path / "other.npz"), judged_samples=60)
    assert said["quality"]["held_out"] != summary_of(run)["quality"]["held_out"]


def test_what_cannot_be_judged_is_said(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="judged_samples=5 was given: so few say nothing"):
        evaluate(str(run), judged_samples=5)
    with pytest.raises(UserError, match="is a model without its run: say by data="):
        evaluate(str(run / "model"))
    with pytest.raises(UserError, match=r"a sheet of pictures is a \.png"):
        evaluate(str(run), out=str(tmp_path / "near.jpg"))
    np.save(tmp_path / "wide.npy", np.arange(40 * 9, dtype=np.uint8).reshape(40, 3, 3))
    with pytest.raises(UserError, match="makes pictures of 8 × 8 of 17 levels, and these are of"):
        evaluate(str(run), data=str(tmp_path / "wide.npy"))


def test_a_reader_is_judged_by_labels_and_draws_nothing(tmp_path: Path) -> None:
    quick = {key: QUICK[key] for key in ("rows_per_step", "precision", "compile")}
    made = fledge.imagine(
        model="classifier", policy="turn,noise", steps=60, width=2, out=str(tmp_path / "c"), **quick
    )
    assert made.summary["test"]["accuracy"] > 0.6
    assert "quality" not in made.summary
    assert evaluate(str(tmp_path / "c"))["accuracy"] == made.summary["test"]["accuracy"]
