"""The two tokenizer commands: what they write, what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tokenizers
from pydantic import ValidationError

from fledge.errors import UserError
from fledge.recipes.language.tokenizer import (
    TokenizerShowConfig,
    TokenizerTrainConfig,
    tokenizer_show,
    tokenizer_train,
)


class Lines:
    """Keeps what a recipe says."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def cars(tmp_path: Path) -> Path:
    path = tmp_path / "cars.jsonl"
    path.write_text(
        "".join(json.dumps({"text": text}) + "\n" for text in ("the car", "the cat", "the rat"))
    )
    return path


def test_training_writes_a_file_that_the_library_reads(cars: Path, tmp_path: Path) -> None:
    out, said = tmp_path / "out", Lines()
    result = tokenizer_train(
        TokenizerTrainConfig(data=str(cars), vocab_size=265, out=str(out)), said
    )
    library = tokenizers.Tokenizer.from_file(str(out / "tokenizer.json"))
    assert library.get_vocab_size() == result["vocab_size"] == 265
    assert json.loads((out / "tokenizer.json").read_text())["model"]["merges"] == [
        ["t", "h"],
        ["th", "e"],
        ["c", "a"],
    ]
    assert (result["documents"], result["bytes"], result["merges"]) == (3, 21, 3)
    json.dumps(result, allow_nan=False)
    assert any("tokenizer.json" in line for line in said.lines)


def test_a_text_too_small_for_the_vocabulary_is_told(cars: Path, tmp_path: Path) -> None:
    said = Lines()
    result = tokenizer_train(
        TokenizerTrainConfig(data=str(cars), vocab_size=500, out=str(tmp_path)), said
    )
    assert result["vocab_size"] < 500
    assert any("nothing left to merge" in line for line in said.lines)


def test_showing_tells_the_merges_in_order_and_how_a_text_splits(
    cars: Path, tmp_path: Path
) -> None:
    tokenizer_train(
        TokenizerTrainConfig(data=str(cars), vocab_size=265, out=str(tmp_path)), Lines()
    )
    said = Lines()
    result = tokenizer_show(TokenizerShowConfig(tokenizer=str(tmp_path), text="the cat é"), said)
    assert result["merges"] == [["t", "h"], ["th", "e"], ["c", "a"]]
    assert [token["piece"] for token in result["tokens"]] == [
        "the",
        " ",
        "ca",
        "t",
        " ",
        "bytes c3",
        "bytes a9",
    ]
    assert [token["id"] for token in result["tokens"]] == [263, 38, 264, 122, 38, 201, 175]
    assert [step["pieces"] for step in result["steps"]] == [["th", "e"], ["the"], [" ", "ca", "t"]]
    merges = [line for line in said.lines if "->" in line]
    assert [line.split() for line in merges] == [
        ["1", "'t'", "+", "'h'", "->", "'th'"],
        ["2", "'th'", "+", "'e'", "->", "'the'"],
        ["3", "'c'", "+", "'a'", "->", "'ca'"],
    ]
    json.dumps(result)


def test_only_the_merges_asked_for_are_shown(cars: Path, tmp_path: Path) -> None:
    tokenizer_train(
        TokenizerTrainConfig(data=str(cars), vocab_size=265, out=str(tmp_path)), Lines()
    )
    said = Lines()
    assert tokenizer_show(TokenizerShowConfig(tokenizer=str(tmp_path), merges=1), said)[
        "merges"
    ] == [["t", "h"]]
    assert any("2 more" in line for line in said.lines)


@pytest.mark.parametrize("kind", ["bytes", "characters"])
def test_the_other_kinds_are_trained_and_shown(kind: str, cars: Path, tmp_path: Path) -> None:
    config = TokenizerTrainConfig.model_validate(
        {"data": str(cars), "kind": kind, "out": str(tmp_path)}
    )
    assert tokenizer_train(config, Lines())["bytes_per_token"] == 1.0
    result = tokenizer_show(TokenizerShowConfig(tokenizer=str(tmp_path), text="the cat"), Lines())
    assert [token["piece"] for token in result["tokens"]] == list("the cat")


def test_wrong_fields_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        TokenizerTrainConfig.model_validate({"size": 3})
    with pytest.raises(UserError, match="does not exist"):
        tokenizer_train(
            TokenizerTrainConfig(data=str(tmp_path / "none.txt"), out=str(tmp_path)), Lines()
        )
    with pytest.raises(UserError, match=r"no tokenizer\.json"):
        tokenizer_show(TokenizerShowConfig(tokenizer=str(tmp_path)), Lines())
