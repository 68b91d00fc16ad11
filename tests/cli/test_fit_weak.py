"""`fledge fit model=weak`: functions in a file, soft labels out, and what is wrong with either."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.cli.commands import Cli

from fledge import open_run
from fledge.errors import UserError

RULES = """
LABELS = ["bad", "good"]
EXPECTED = {"likes": 0.9}

def likes(row):
    return "good" if "fine" in row["text"] else None

def dislikes(row):
    return "bad" if "poor" in row["text"] else None

def shouts(row):
    return "bad" if "!" in row["text"] else None
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random, rows = np.random.default_rng(0), []
    for n in range(300):
        good = bool(random.random() < 0.5)
        words = [str(random.choice(["film", "plot", "cast", "scene"])) for _ in range(3)]
        if random.random() < 0.5:
            words.append("fine" if good == (random.random() < 0.85) else "poor")
        words.append("warm" if good else "cold")
        if random.random() < 0.2:
            words.append("!")
        rows.append({"text": f"{' '.join(words)} {n}", "label": "good" if good else "bad"})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "rules.py").write_text(RULES)
    return tmp_path


@pytest.mark.parametrize("method", ["em", "constraints"])
def test_soft_labels_and_what_they_teach(method: str, cli: Cli, folder: Path) -> None:
    words = f"fit rows.jsonl model=weak functions=rules.py method={method} judged_on=rows.jsonl"
    (folder / "new.jsonl").write_text('{"text": "fine warm film"}\n{"text": "poor cold film"}\n')
    done = cli(f"{words} classify=new.jsonl --json", folder=folder)
    assert done.code == 0, done.stderr
    accuracy = done.result["accuracy"]
    assert accuracy["words, of the label model"] > accuracy["majority vote"]
    assert accuracy["words, of true labels"] > 0.95
    lines = [json.loads(line) for line in (folder / "runs/fit/labels.jsonl").open()]
    assert len(lines) > 200
    assert all(abs(sum(line["chance"].values()) - 1) < 1e-5 for line in lines)
    likely = [line for line in lines if "fine" in line["text"] and "!" not in line["text"]]
    assert likely
    assert all(line["label"] == "good" for line in likely)
    held = [json.loads(line) for line in (folder / "rows.jsonl").open()]
    classifier = open_run(folder / "runs/fit").classifier
    said = classifier.predict([row["text"] for row in held])
    right = sum(a == row["label"] for a, row in zip(said, held, strict=True)) / len(held)
    assert right == pytest.approx(accuracy["words, of the label model"], abs=1e-12)
    chance = classifier.predict_proba(["fine warm film", "poor cold film", ""])
    assert chance.shape == (3, 2)
    assert chance.sum(1) == pytest.approx(1)
    assert classifier.labels == ("bad", "good")
    assert classifier.predict(["fine warm film", "poor cold film"]) == ["good", "bad"]
    asked = [json.loads(line) for line in (folder / "runs/fit/classified.jsonl").open()]
    assert [row["label"] for row in asked] == ["good", "bad"]
    assert [row["chance"]["bad"] for row in asked] == pytest.approx(chance[:2, 0], abs=1e-6)
    assert (
        "none.jsonl cannot be read" in cli(f"{words} classify=none.jsonl", folder=folder).complaint
    )
    with pytest.raises(UserError, match="give a list of texts"):
        classifier.predict("one text")


@pytest.mark.parametrize(
    ("rules", "row", "said"),
    [
        ("LABELS = ['a', 'b']", "", "has no function"),
        ("def f(row): return None", "", "LABELS is None"),
        ("LABELS = ['a', 'b']\ndef f(row): return 'c'", "", "f returned 'c' on row 1"),
        ("LABELS = ['a', 'b']\ndef f(row): return row['x']", "", "line 2: f"),
        ("LABELS = ['a', 'b']\ndef f(row): return None", "", "no function votes"),
        ("LABELS = ['a', 'b']\nEXPECTED = {'f': 2}\ndef f(row): return 'a'", "", "EXPECTED is"),
        ("LABELS = ['a', 'b']\ndef f(row): return 'a'", "{}", "line 1 is no row"),
        ("LABELS = ['a', 'b']\ndef f(row): return 'a'", '{"text": "t", "label": 3}', "label 3"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(
    rules: str, row: str, said: str, cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "rules.py").write_text(rules)
    (tmp_path / "rows.jsonl").write_text((row or '{"text": "t"}') + "\n")
    done = cli("fit rows.jsonl model=weak functions=rules.py", folder=tmp_path)
    assert said in done.complaint
    assert not (tmp_path / "runs").exists()
