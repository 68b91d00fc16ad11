"""`fledge fit` as it is typed: files of every kind, what goes wrong in one sentence, the choice of
k, labels, weights.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tests.cli.commands import Cli

TRUE = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]])


@pytest.fixture
def x(tmp_path: Path) -> np.ndarray:
    """Three clusters as points.csv, .npy, .npz, .safetensors."""
    random = np.random.default_rng(0)
    label = np.arange(150) % 3
    x = TRUE[label] + random.normal(size=(150, 2))
    rows = [f"{float(a)!r},{float(b)!r},c{k}" for (a, b), k in zip(x, label, strict=True)]
    (tmp_path / "points.csv").write_text("left,right,kind\n" + "\n".join(rows) + "\n")
    np.save(tmp_path / "points.npy", x)
    np.savez(tmp_path / "points.npz", x=x, often=np.ones(150))
    save_file({"points": x}, tmp_path / "points.safetensors")
    return x


def test_every_kind_of_file_gives_the_same_model(cli: Cli, x: np.ndarray, tmp_path: Path) -> None:
    models = []
    for file, also in {
        "points.csv": "labels=kind", "points.npy": "", "points.npz": "weights=often",
        "points.safetensors": "",
    }.items():  # fmt: skip
        out = file.replace(".", "-")
        done = cli(f"fit {file} k=3 {also} out={out}", folder=tmp_path)
        assert done.code == 0, done.stderr
        assert "fit: step 1: bound " in done.stdout
        assert "test part, read once" in done.stdout
        models.append(load_file(tmp_path / out / "model/model.safetensors"))
    for other in models[1:]:
        np.testing.assert_allclose(other["mean"], models[0]["mean"], rtol=1e-9)
    means = sorted(models[0]["mean"].round().tolist())
    assert means == sorted(TRUE.tolist())


def test_k_is_chosen_by_bic(cli: Cli, x: np.ndarray, tmp_path: Path) -> None:
    result = cli("fit points.npy k=1..5 --json", folder=tmp_path).result
    table = result["table"]
    assert [row["k"] for row in table] == [1, 2, 3, 4, 5]
    assert min(table, key=lambda row: row["bic"])["k"] == 3
    assert result["parameters"] == 17
    model = load_file(tmp_path / "runs/fit/model/model.safetensors")
    assert model["mean"].shape == (3, 2)


def test_known_labels_are_the_components(cli: Cli, x: np.ndarray, tmp_path: Path) -> None:
    done = cli("fit points.csv labels=kind supervised=true k=3 --json", folder=tmp_path)
    assert done.result["steps"] == 2
    rows = [json.loads(line) for line in (tmp_path / "runs/fit/metrics.jsonl").open()]
    assert sum("elbo" in row for row in rows) == 2


def test_missing_values_under_every_model(cli: Cli, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    rows = [[f"{v:.3f}" for v in row] for row in random.normal(size=(80, 3))]
    for n in range(0, 80, 3):
        rows[n][n % 2] = random.choice(["", "NA", "nan", "?"])
    (tmp_path / "holes.csv").write_text("".join(";".join(row) + "\n" for row in rows))
    kinds = [f"k=2 covariance={kind}" for kind in ("full", "tied", "diagonal", "spherical")]
    models = [f"model={name} factors=1" for name in ("fa", "ppca")]
    models += [f"model={name} k=2" for name in ("kmeans", "bayes_gmm")]
    for words in [*kinds, *models]:
        done = cli(f"fit holes.csv {words} steps=5", folder=tmp_path)
        assert done.code == 0, done.stderr
        assert "some values missing" in done.stdout


@pytest.mark.parametrize(
    ("content", "words", "said"),
    [
        ("a,b\n1,2\n3,x\n", "k=1", "row 3: column b holds 'x', which is no number"),
        ("a,b\n1,2\n3\n", "k=1", "row 3: 1 values, and 2 columns"),
        ("a,b\n1,2\n", "k=2", "k=2 and 1 point to learn from"),
        ("", "k=1", "is empty: give one point a line"),
        ("a,b\n", "k=1", "give a table of one point or more"),
        ("a,b\n1,inf\n", "k=1", "point 1: b is infinite"),
        ("a,b\n1,\n2,\n", "k=1", "no point has a value of b"),
        ("a,b\n1,2\n3,4\n", "k=1 labels=c", "has no column c: it has a, b"),
        ("a,b\n1,2\n3,4\n", "k=1 weights=z", "has no column z"),
        ("a,b\n1,2\n3,-4\n", "k=1 weights=b", "a weight is negative or no number"),
        ("a,b\n1,2\n3,4\n", "k=0", "give a number of components"),
        ("a,b\n1,2\n3,4\n", "k=4..2", "give a number of components"),
        ("a,b\n1,2\n3,4\n", "block_points=1", "em=batch, which takes all points a step"),
        ("a,b\n1,2\n3,4\n", "model=gnm", "there is no algorithm gnm: perhaps you meant gmm"),
        ("a,b\n1,2\n3,4\n", "supervised=true", "give labels=COLUMN"),
        ("a,b\n1,2\n3,\n", "model=bbvi target=mixture", "point 2: b is missing (NaN), and target="),
        ("a,b\n1,2\n3,4\n", "model=fa factors=3", "give as many as columns, or fewer"),
        ("a,b\n1,2\n1,4\n", "model=fa factors=1", "a is the same for every point"),
        ("a,b\n1,2\n3,4\n", "model=kmeans k=1..2", "no likelihood by which to choose k=1..2"),
        ("a,b\n1,2\n3,4\n", "factors=1", "factors is a setting of model=fa, mfa, ppca"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(
    content: str, words: str, said: str, cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "points.csv").write_text(content)
    assert said in cli(f"fit points.csv {words}", folder=tmp_path).complaint
    assert not (tmp_path / "runs").exists()


def test_files_that_are_no_points(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"no array")
    np.save(tmp_path / "words.npy", np.array(["a", "b"]))
    np.savez(tmp_path / "two.npz", left=np.ones((3, 2)), right=np.ones((3, 2)))
    for words, said in {
        "none.csv": "there is no file none.csv",
        ".": "is a folder: give one file",
        "a.npy": "holds no arrays of numbers",
        "words.npy": "is an array of <U1: give one of numbers",
        "two.npz": "call the one of the points `x`",
    }.items():
        assert said in cli(f"fit {words}", folder=tmp_path).complaint


def test_words_are_values_of_a_categorical(cli: Cli, tmp_path: Path) -> None:
    """Two kinds of rows that never share a word: each becomes a component."""
    rows = [("red", "sour"), ("blue", "sweet")] * 30 + [("red", ""), ("", "sweet")]
    (tmp_path / "words.csv").write_text("colour,taste\n" + "\n".join(map(",".join, rows)))
    for model in ("categorical", "bernoulli"):
        done = cli(f"fit words.csv model={model} k=2 smoothing=0 out={model}", folder=tmp_path)
        assert done.code == 0, done.stderr
    card = json.loads((tmp_path / "categorical/model/config.json").read_text())
    assert card["levels"] == [["blue", "red"], ["sour", "sweet"]]
    chance = load_file(tmp_path / "categorical/model/model.safetensors")["chance"]
    np.testing.assert_allclose(sorted(chance.round(6).tolist()), [[0, 1, 1, 0], [1, 0, 0, 1]])


OWN = '''
from dataclasses import dataclass
import torch

class Mine:
    """A normal with the unit covariance, whose mean goes half of the way at every step."""

    @dataclass(frozen=True)
    class Settings:
        share: float = 0.5

    def __init__(self, settings, seed):
        self.settings, self.mean = settings, None

    def update(self, x):
        if self.mean is None:
            self.mean = torch.zeros(x.shape[1], dtype=x.dtype)
        elbo = self.log_prob(x).mean()
        self.mean = self.mean + self.settings.share * (x.mean(0) - self.mean)
        return {"elbo": elbo}

    def log_prob(self, x):
        mean = torch.zeros(x.shape[1], dtype=x.dtype) if self.mean is None else self.mean
        return -0.5 * ((x - mean) ** 2).sum(1) - x.shape[1] * 0.9189385332046727

    def state_dict(self):
        return {"mean": self.mean}

    def load_state_dict(self, state):
        self.mean = state["mean"]
'''


def test_a_model_of_ones_own(cli: Cli, x: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    done = cli("fit points.npy model=./mine.py:Mine share=0.7 steps=50 --json", folder=tmp_path)
    assert done.result["steps"] < 50
    mean = load_file(tmp_path / "runs/fit/model/model.safetensors")["mean"]
    np.testing.assert_allclose(mean, x.mean(0), atol=0.5)
    (tmp_path / "mine.py").write_text(OWN.replace("def log_prob", "def log_likelihood"))
    said = cli("fit points.npy model=./mine.py:Mine", folder=tmp_path).complaint
    assert "Mine has no log_prob" in said
    (tmp_path / "mine.py").write_text(OWN.replace('"elbo": elbo', '"loss": elbo'))
    said = cli("fit points.npy model=./mine.py:Mine", folder=tmp_path).complaint
    assert 'update(x) returned no "elbo"' in said
    (tmp_path / "mine.py").write_text(OWN.replace("share * (", "share / 0 * ("))
    said = cli("fit points.npy model=./mine.py:Mine", folder=tmp_path).complaint
    assert "mine.py" in said
    assert "division by zero" in said


def test_the_report_shows_the_film(cli: Cli, x: np.ndarray, tmp_path: Path) -> None:
    """Of three columns the first two principal axes; none where it is not wanted."""
    wide = np.concatenate([x, x[:, :1] ** 2], 1)
    np.save(tmp_path / "wide.npy", wide)
    assert cli("fit wide.npy k=2 starts=1 out=a", folder=tmp_path).code == 0
    assert cli("fit points.npy k=2 film=false out=b", folder=tmp_path).code == 0
    assert cli("report a", folder=tmp_path).code == 0
    assert "first principal axis" in (tmp_path / "a/film.svg").read_text()
    page = (tmp_path / "a/report.html").read_text()
    assert "data:image/svg+xml;base64," in page
    assert "Step by step" in page
    assert not (tmp_path / "b/film.svg").exists()
