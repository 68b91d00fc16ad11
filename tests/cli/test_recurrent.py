"""A recurrent model goes the same road as a transformer, by real command lines; what only the one
or the other has is refused in a sentence.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.commands import PRETRAIN, REINFORCE, TUNE, Cli, Models

LSTM = PRETRAIN.replace(" heads=2", " architecture=lstm")


def test_from_raw_text_to_an_aligned_policy(cli: Cli, models: Models, tmp_path: Path) -> None:
    def call(words: str) -> str:
        done = cli(models.fill(words), folder=tmp_path)
        assert done.code == 0, done.stderr
        return done.stdout

    call(f"{LSTM} out=text")
    call(TUNE.replace("{pretrain}", "text") + " out=tune")
    call(REINFORCE.replace("{tune}", "tune") + " out=align")
    said = json.loads(call("sample base=align prompt=abc max_new_tokens=5 --json"))
    assert said
    scored = json.loads(call("evaluate base=align data={text} --json"))
    assert scored["bits_per_byte"] > 0
    config = json.loads((tmp_path / "align" / "model" / "config.json").read_text())
    assert config["model_type"] == "fledge_recurrent"
    assert config["cell"] == "lstm"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (f"{LSTM} heads=2", "architecture=lstm has no heads"),
        (f"{LSTM} mlp_width=8", "architecture=lstm has no mlp_width"),
        (f"{PRETRAIN} dropout=0.1", "dropout= is of a recurrent model's layers"),
        (f"{PRETRAIN} carry=true", "carry=true carries a recurrent model's state"),
        (f"{LSTM} gradient_checkpointing=true", "no blocks whose activations are computed again"),
    ],
)
def test_what_it_has_not(
    words: str, sentence: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    done = cli(models.fill(words), folder=tmp_path)
    assert done.code == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_what_cannot_be_done_to_it(cli: Cli, models: Models, tmp_path: Path) -> None:
    assert cli([*models.fill(LSTM), "out=lstm"], folder=tmp_path).code == 0
    text = models.fill("{text}")[0]
    for words, sentence in {
        "export run=lstm format=gguf": "writes no GGUF file",
        f"compress base=lstm method=structured data={text}": "cuts heads and MLP channels",
        "tune base=lstm task=reverse adapter=lora": "this model has none",
        "show attention base=lstm text=abc": "attends in a way of its own",
    }.items():
        done = cli(words, folder=tmp_path)
        assert done.code == 2, (words, done)
        assert sentence in done.stderr
