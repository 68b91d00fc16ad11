"""`fledge fit` of posteriors, as it is typed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.cli.commands import Cli

MINE = """import torch
dim = 1

def log_joint(z, data):
    return -0.5 * (data.x[:, 0] - z).square().sum(1) - 0.5 * z.square().sum(1)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    label = np.arange(120) % 2
    x = random.normal(size=(120, 2)) + 4 * label[:, None]
    kind = np.where(random.random(120) < 0.1, 1 - label, label)
    rows = [f"{a:.4f},{b:.4f},{'yes' if k else 'no'}" for (a, b), k in zip(x, kind, strict=True)]
    (tmp_path / "points.csv").write_text("left,right,kind\n" + "\n".join(rows) + "\n")
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


def test_a_bayesian_mixture_and_its_bound(cli: Cli, folder: Path) -> None:
    done = cli("fit points.csv labels=kind model=bayes_gmm k=5 prior=process --json", folder=folder)
    assert done.code == 0, done.stderr
    weight = load_file(folder / "runs/fit/model/model.safetensors")["degrees"]
    assert int((weight > 12).sum()) == 2  # two clusters, however many components
    text = (folder / "runs/fit/metrics.jsonl").read_text()
    assert "elbo_components" in text
    assert (folder / "runs/fit/film.svg").is_file()
    blocks = "fit points.csv model=bayes_gmm k=3 labels=kind inference=svi block_points=20 steps=30"
    assert cli(f"{blocks} out=svi", folder=folder).code == 0


def test_black_box_inference_of_labels_and_of_a_file(cli: Cli, folder: Path) -> None:
    words = "fit points.csv labels=kind model=bbvi steps=12 gradients=20"
    result = cli(f"{words} --json", folder=folder).result
    posterior = result["posterior"]
    assert posterior["names"] == ["intercept", "left", "right"]
    assert posterior["log_evidence"] > posterior["bound"]
    kept = result["gradient_variances"]
    assert kept["step"] == [0, 1, 2, 4, 8]
    assert set(kept) == {"samples", "step", "score", "score less baseline", "pathwise"}
    assert all(p < s for p, s in zip(kept["pathwise"], kept["score"], strict=True))
    assert cli("report runs/fit", folder=folder).code == 0
    page = next(folder.glob("**/report.html")).read_text()
    assert "Variance of a gradient of 16 samples" in page
    own = cli(f"{words} target=mine.py out=own", folder=folder)
    assert own.code == 0, own.stderr
    assert "k̂ = " in own.stdout
    assert "mine.py" in (folder / "own/lineage.json").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("model=bayes_gmm degrees=0.5", "a Wishart needs more than"),
        ("model=bayes_gmm block_points=10", "inference=cavi, which takes all points a step"),
        ("model=bbvi", "give labels=COLUMN of two kinds"),
        (
            "model=bbvi labels=kind family=independent estimator=score rao_blackwell=true "
            "importance=3",
            "rao_blackwell knows one sample",
        ),
        ("model=bbvi labels=kind target=logistics", "give logistic, mixture, or a FILE.py"),
        ("model=bbvi target=none.py", "no task file none.py"),
    ],
)
def test_a_mistake_is_one_sentence(words: str, said: str, cli: Cli, folder: Path) -> None:
    also = "" if "labels" in words or "bbvi" in words else "labels=kind "
    data = "points.csv" if "labels" in words or also else "left.csv"
    text = (folder / "points.csv").read_text().splitlines()
    (folder / "left.csv").write_text("\n".join(row.split(",")[0] for row in text) + "\n")
    assert said in cli(f"fit {data} {also}{words}", folder=folder).complaint
    assert not (folder / "runs").exists()
