"""`fledge fit` of sequences as it is typed: tables and texts, classes of letters, and what goes
wrong in one sentence.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.cli.commands import Cli

import fledge


def write_text(folder: Path) -> None:
    """Made words, a consonant and a vowel by turns, in paragraphs of several lengths."""
    draw = random.Random(0)
    paragraphs = []
    for _ in range(60):
        words = (
            "".join(
                draw.choice("bdgklmnprst") + draw.choice("aeiou") for _ in range(draw.randint(1, 3))
            )
            for _ in range(draw.randint(5, 40))
        )
        paragraphs.append(" ".join(words).capitalize() + ".")
    (folder / "novel.txt").write_text("\n\n".join(paragraphs) + "\n\nÉ.\n")


def test_vowels_and_consonants_of_a_text(cli: Cli, tmp_path: Path) -> None:
    write_text(tmp_path)
    done = cli("fit model=hmm data=novel.txt k=2 unit=letters", folder=tmp_path)
    assert done.code == 0, done.stderr
    assert "17 symbols" in done.stdout  # 11, 5, and all others
    classes = [set(line.split()[2:]) for line in done.stdout.splitlines() if line[:5] == "class"]
    classes = sorted((each - {"<other>"} for each in classes), key=len)
    assert classes == [set("aeiou"), set("bdgklmnprst")]
    run = fledge.open_run(tmp_path / "runs/fit")
    assert run.model.card()["symbols"][-1] == "<other>"
    page = tmp_path / "report.html"
    assert cli(f"report run=runs/fit out={page}", folder=tmp_path).code == 0
    shown = page.read_text()
    for number, symbols in enumerate(run.summary["classes"], 1):
        cell = f'<th scope="row">class {number}</th><td class="text">{" ".join(symbols)}</td>'
        assert cell.replace("<other>", "&lt;other&gt;") in shown


def test_words_are_told_apart_as_far_as_asked(cli: Cli, tmp_path: Path) -> None:
    write_text(tmp_path)
    words = "fit model=hmm data=novel.txt k=3 unit=words vocabulary=20 steps=5 starts=1 --json"
    result = cli(words, folder=tmp_path).result
    assert len(result["classes"]) == 3
    model = load_file(tmp_path / "runs/fit/model/model.safetensors")
    assert model["emission_probability"].shape == (3, 21)
    np.testing.assert_allclose(model["emission_probability"].sum(1), 1)


def test_a_table_of_sequences(cli: Cli, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    rows = ["run,x,y"]
    for number in range(40):
        state = 0
        for _ in range(draw.integers(1, 30)):
            state = state if draw.random() < 0.9 else 1 - state
            x = 5 * state + draw.normal(size=2)
            rows.append(f"r{number:02},{x[0]:.4f},{x[1]:.4f}")
    (tmp_path / "runs.csv").write_text("\n".join(rows) + "\n")
    result = cli("fit data=runs.csv model=hmm sequence=run k=1..3 --json", folder=tmp_path).result
    assert min(result["table"], key=lambda row: row["bic"])["k"] == 2
    assert result["parameters"] == 1 + 2 + 2 * 5
    assert result["held_out"]["validation"] >= 1
    done = cli("fit data=runs.csv model=kalman sequence=run state_size=1", folder=tmp_path)
    assert done.code == 0, done.stderr
    assert "sequences of" in done.stdout
    assert "of the test part, read once" in done.stdout
    states, band = (tmp_path / f"runs/{name}/film.svg" for name in ("fit", "fit-2"))
    assert "<rect" in states.read_text()
    assert "<polygon" in band.read_text()


def test_a_table_that_lacks_values(cli: Cli, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    wave = np.sin(np.arange(80) / 6)[:, None] + 0.1 * draw.normal(size=(80, 2))
    rows = [",".join("" if draw.random() < 0.2 else f"{v:.3f}" for v in row) for row in wave]
    (tmp_path / "wave.csv").write_text("\n".join(["a,b", "0,0", *rows]) + "\n")
    for words in ("model=hmm k=2 starts=1", "model=kalman state_size=2 steps=20"):
        done = cli(f"fit data=wave.csv {words}", folder=tmp_path)
        assert done.code == 0, done.stderr
        said = [line for line in done.stdout.splitlines() if line.startswith("fit: step ")]
        assert said[0].startswith("fit: step 1: bound ")
        rose = [float(line.split("bound ")[1].split()[0]) for line in said]
        assert len(rose) > 2
        assert rose == sorted(rose)


def test_a_table_of_symbols(cli: Cli, tmp_path: Path) -> None:
    draw = random.Random(3)
    days = [draw.choice(["dry", "dry", "wet"]) for _ in range(90)]
    rows = [f"y{number // 30},{day}" for number, day in enumerate(days)]
    (tmp_path / "days.csv").write_text("year,day\n" + "\n".join(rows) + "\n")
    result = cli("fit days.csv model=hmm emission=symbols sequence=year --json", folder=tmp_path)
    assert result.code == 0, result.stderr
    assert sorted(day for each in result.result["classes"] for day in each) == ["dry", "wet"]
    assert json.loads((tmp_path / "runs/fit/model/config.json").read_text())["symbols"] == [
        "dry",
        "wet",
    ]


@pytest.mark.parametrize(
    ("content", "words", "said"),
    [
        ("a,b\n1,2\n3,4\n5,1\n", "model=hmm sequence=c", "has no column c: it has a, b"),
        ("s,b\nu,2\nv,4\nu,1\n", "model=hmm sequence=s", "rows with s=u do not stand together"),
        ("s,b\nu,2\n,4\nu,1\n", "model=hmm sequence=s", "point 2: s is missing"),
        ("a,b\n1,2\n3,4\n", "model=hmm k=3", "k=3 states of 1 and 2 steps to learn from"),
        ("a,b\n1,2\n3,4\n5,0\n", "model=hmm emission=symbols", "sequence of symbols has one"),
        ("a,b\n1,2\n3,4\n", "model=hmm unit=letters", "points.csv"),
        ("a,b\n1,2\n3,4\n", "model=hmm weights=a", "model=hmm knows no weights"),
        ("a,b\n1,2\n3,4\n", "model=kalman k=2", "k is a setting of model="),
        ("a,b\n1,2\n3,4\n", "model=kalman state_size=2", "state_size=2 and 2 steps to learn from"),
        ("a,b\n1,2\n3,2\n4,2\n", "model=kalman", "b is the same at every step"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(
    content: str, words: str, said: str, cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "points.csv").write_text(content)
    assert said in cli(f"fit points.csv {words}", folder=tmp_path).complaint
    assert not (tmp_path / "runs").exists()


def test_a_text_without_a_unit(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "novel.txt").write_text("Once upon a time.\n")
    for words, said in {
        "model=hmm": "is a text: give model=hmm with unit=letters or unit=words",
        "model=kalman": "is a text: give model=hmm",
        "model=hmm unit=letters sequence=a": "a text's sequences are its paragraphs",
    }.items():
        assert said in cli(f"fit novel.txt {words}", folder=tmp_path).complaint
    (tmp_path / "novel.txt").write_text("1234\n")
    assert (
        "has no letters" in cli("fit novel.txt model=hmm unit=letters", folder=tmp_path).complaint
    )
