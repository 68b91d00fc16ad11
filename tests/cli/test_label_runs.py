"""An encoder is taught to label, by real command lines: what it says is what `transformers` makes
of its folder, it goes on after a kill with the same bits, and what cannot be done is one sentence.
"""

from __future__ import annotations

import json
import re
import shlex
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.cli.commands import Cli, outcome
from tests.encoder_folder import make_encoder, write_rows

import fledge

TASKS = ("classify", "pair", "tag", "choose", "embed")
HEADLINES = {"tag": "entity_f1", "embed": "retrieval"}
QUICK = "epochs=6 learning_rate=4e-3 warmup_steps=5 rows_per_step=16 precision=fp32 compile=no"


def tune(task: str, out: str, more: str = "") -> str:
    return f"tune task={task} base=encoder data={task}.jsonl out={out} {QUICK} {more}"


@pytest.fixture(scope="module")
def place(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an encoder, rows for each task, and a run of each, named after it."""
    folder = tmp_path_factory.mktemp("labels")
    make_encoder(folder / "encoder")
    for task in TASKS:
        write_rows(folder / f"{task}.jsonl", task)
        words = tune(task, task, "evaluate_every=10")
        if task == "choose":  # which looks at two texts at once
            words = words.replace("epochs=6", "epochs=14")
        done = cli(words, folder=folder)
        assert done.code == 0, done.stderr
        (folder / f"{task}.said").write_text(done.stdout)
    return folder


@pytest.mark.parametrize("task", TASKS)
def test_it_learns_what_a_glance_at_words_tells(task: str, place: Path, cli: Cli) -> None:
    """From what chance says at the most; held-out rows are measured again from the file."""
    summary = json.loads((place / task / "summary.json").read_text())
    headline = HEADLINES.get(task, "accuracy")
    assert summary["test"][headline] > 0.9
    assert summary["after"][headline] > 0.9
    again = cli(["evaluate", task, f"data={task}.jsonl", "--json"], folder=place).result
    assert again[headline] == pytest.approx(summary["test"][headline], abs=1e-6)
    assert again["rows"] == summary["held_out"]["test"]
    [proposed] = re.findall("^Next: fledge (.+)$", (place / f"{task}.said").read_text(), re.M)
    assert cli(shlex.split(proposed), folder=place).code == 0


def read_theirs(folder: Path, rows: list[Any], kind: str) -> list[torch.Tensor]:
    """Probabilities by `transformers`, of rows of arguments of its tokenizer."""
    transformers: Any = pytest.importorskip("transformers")
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    model = getattr(transformers, f"AutoModelFor{kind}").from_pretrained(folder).eval()
    said = []
    for row in rows:
        read = tokenizer(*row, return_tensors="pt", return_token_type_ids=True, padding=True)
        if kind == "MultipleChoice":
            read = {name: value[None] for name, value in read.items()}
        with torch.no_grad():
            said.append(model(**read).logits[0].softmax(-1))
    return said


def test_texts_and_pairs_are_labelled_as_transformers_does(place: Path, cli: Cli) -> None:
    for task, words, row in (
        ("classify", ["text=the quick fox"], ["the quick fox"]),
        ("pair", ["text=the quick fox", "second=dog"], ["the quick fox", "dog"]),
    ):
        said = cli(["label", task, *words, "--json"], folder=place).result["answers"][0]
        theirs = read_theirs(place / task / "model", [row], "SequenceClassification")[0]
        config = json.loads((place / task / "model" / "config.json").read_text())
        names = [config["id2label"][str(n)] for n in range(len(theirs))]
        assert said["label"] == names[int(theirs.argmax())]
        assert list(said["chance"]) == names
        assert list(said["chance"].values()) == pytest.approx(theirs.tolist(), abs=1e-5)
    words = ["label", "pair", "text=a fox", "second=dog"]
    said = cli([*words, "--json"], folder=place).result["answers"][0]
    likeliest = max(said["chance"].values())
    line = cli(words, folder=place).stdout
    assert line.startswith(f"{said['label']} {likeliest:.1%}, ")
    assert line.endswith(": a fox\n")
    said = fledge.load_encoder(place / "classify").label("the quick fox")
    assert said["label"] == "FOX"


def test_words_are_tagged_as_the_pipeline_of_transformers_does(place: Path, cli: Cli) -> None:
    transformers: Any = pytest.importorskip("transformers")
    text = "three quick dog jumps high"
    said = cli(["label", "tag", f"text={text}", "--json"], folder=place).result["answers"][0]
    assert said["marked"] == "three quick [dog PET] jumps high"
    pipeline = transformers.pipeline(
        "token-classification", str(place / "tag" / "model"), aggregation_strategy="first",
        tokenizer=transformers.PreTrainedTokenizerFast.from_pretrained(place / "tag" / "model"),
    )  # fmt: skip
    marked = pipeline(text)
    assert [(each["entity_group"], each["word"]) for each in marked] == [("PET", "dog")]
    assert marked[0]["score"] == pytest.approx(said["chance"][2], abs=1e-5)


def test_choices_are_weighed_as_transformers_does(place: Path, cli: Cli) -> None:
    words = ["text=a quick fox", 'choices=["dog", "fox"]']
    said = cli(["label", "choose", *words, "--json"], folder=place).result["answers"][0]
    rows = [[["a quick fox"] * 2, ["dog", "fox"]]]
    theirs = read_theirs(place / "choose" / "model", rows, "MultipleChoice")[0]
    assert list(said["chance"].values()) == pytest.approx(theirs.tolist(), abs=1e-5)


def test_a_file_is_labelled_and_the_report_shows_what_is_confused(place: Path, cli: Cli) -> None:
    (place / "plain.jsonl").write_text('{"text": "fox"}\n{"text": "a dog", "label": "FOX"}\n')
    done = cli(["label", "classify", "data=plain.jsonl", "out=said.jsonl"], folder=place)
    assert done.code == 0, done.stderr
    said = [json.loads(line) for line in (place / "said.jsonl").read_text().splitlines()]
    assert [(each["label"], each.get("true")) for each in said] == [("FOX", None), ("DOG", "FOX")]
    assert cli(["report", "classify"], folder=place).code == 0
    page = (place / "classify" / "report.html").read_text()
    assert "An encoder learns to tell texts apart" in page
    assert "Confusions" in page
    summary = json.loads((place / "classify" / "summary.json").read_text())
    table = torch.tensor(summary["confusions"])
    assert int(table.sum()) == summary["held_out"]["test"]
    assert float(table.diagonal().sum() / table.sum()) == pytest.approx(summary["test"]["accuracy"])


@pytest.mark.parametrize("task", ["tag", "embed"])
def test_a_killed_run_goes_on_with_the_same_bits(
    task: str, place: Path, cli: Cli, tmp_path: Path
) -> None:
    words = tune(task, "killed", "evaluate_every=10 save_every_s=0 rows_per_micro_batch=5")
    words = words.replace("epochs=6", f"steps=40{' dropout=0.2' if task == 'tag' else ''}")
    words = words.replace("base=", f"base={place}/").replace("data=", f"data={place}/")
    killed = tmp_path / "killed"
    ended = cli(
        words, folder=tmp_path, signal=signal.SIGKILL, after_s=0.3, once=killed / "metrics.jsonl"
    )
    assert ended.code == -signal.SIGKILL, ended
    assert cli("resume killed", folder=tmp_path).code == 0
    whole = cli(words.replace("out=killed", "out=whole"), folder=tmp_path)
    assert whole.code == 0, whole.stderr
    assert outcome(killed) == outcome(tmp_path / "whole")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("tune task=classify base=encoder data=tag.jsonl", "has no `text`"),
        ("tune task=classify base=encoder data=classify.jsonl shard=fsdp", "an encoder is tuned"),
        ("tune task=classify base=encoder data=classify.jsonl temperature=1", "is no field of"),
        ("tune task=embed base=encoder data=embed.jsonl dimensions=99", "from 1 to 32"),
        ('tune task=classify base=encoder data=classify.jsonl labels=["DOG"]', "label FOX, which"),
        ("tune task=classify base=encoder data=classify.jsonl steps=3 epochs=1", "were both given"),
        ("label encoder text=a", "labels nothing: `fledge tune task=classify`"),
        ("label pair text=a", "which has a second=: give it too"),
        ("label classify text=a second=b", "which has no second=: leave it out"),
        ("label classify", "needs either text=… or data=FILE"),
        ("sample classify prompt=a", "which has no next token"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    words: str, sentence: str, place: Path, cli: Cli
) -> None:
    assert sentence in cli(words, folder=place).complaint


def test_held_out_files_may_have_labels_that_nobody_learned(place: Path, cli: Cli) -> None:
    rows = (place / "classify.jsonl").read_text().splitlines(keepends=True)
    (place / "dev.jsonl").write_text("".join(rows[:9]) + '{"text": "high", "label": "OWL"}\n')
    words = tune("classify", "own-parts", "validation=dev.jsonl steps=1").replace("epochs=6 ", "")
    done = cli(words, folder=place)
    assert done.code == 0, done.stderr
    assert "1 of the validation part are labelled OWL, which no training row is" in done.stdout
    assert "9 rows of classify.jsonl stand in a held-out file too" in done.stdout
    summary = json.loads((place / "own-parts" / "summary.json").read_text())
    assert summary["held_out"]["validation"] == 10


def test_rows_in_several_files_teach_what_one_file_teaches(cli: Cli, tmp_path: Path) -> None:
    make_encoder(tmp_path / "encoder")
    lines = write_rows(tmp_path / "classify.jsonl", "classify").read_text().splitlines(True)
    (tmp_path / "part-1.jsonl").write_text("".join(lines[:3]))
    (tmp_path / "part-2.jsonl").write_text("".join(lines[3:]))
    said = {}
    for data, out in (("classify.jsonl", "one"), ("part-*.jsonl", "several")):
        words = tune("classify", out).replace("data=classify.jsonl", f"data={data}")
        done = cli(words.replace("epochs=6", "epochs=1"), folder=tmp_path)
        assert done.code == 0, done.stderr
        said[out] = cli(f"evaluate {out} data={data}", folder=tmp_path).stdout
    assert outcome(tmp_path / "several") == outcome(tmp_path / "one")
    # of the rows that it has learned from the test part alone, whichever way they are named
    assert "rows of the test part of part-*.jsonl" in said["several"]
    assert said["several"].replace("part-*", "classify") == said["one"]
    counts = json.loads((tmp_path / "several" / "summary.json").read_text())["rows"]
    read = {name: each["read"] for name, each in counts.items()}
    assert read == {"part-1.jsonl": 3, "part-2.jsonl": 157}
