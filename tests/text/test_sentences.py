"""Sentences out of files, and as rows of tokens."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch

from fledge.errors import UserError
from fledge.splits import split_of
from fledge.text.sentences import encode_sentences, read_sentences
from fledge.text.tokenizer import train_tokenizer

TEXTS = ("a b", "c", "d e f")


def test_a_file_of_lines_and_one_of_rows_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a b \n\n  c\nd e f")
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in TEXTS))
    with gzip.open(tmp_path / "a.txt.gz", "wt") as file:
        file.write("\n".join(TEXTS))
    for name in ("a.txt", "a.jsonl", "a.txt.gz"):
        assert read_sentences(tmp_path / name).texts == TEXTS
    (tmp_path / "b.txt").write_text("g")
    assert read_sentences(tmp_path / "[ab].txt").texts == (*TEXTS, "g")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", " \n\n", "holds no sentence"),
        ("a.jsonl", '{"texts": "a"}\n', "line 1 of .* has no `text` that is a string"),
        ("a.csv", "a", "is of no kind that is read"),
    ],
)
def test_what_holds_no_sentences_is_said(
    name: str, content: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=said):
        read_sentences(tmp_path / name)
    with pytest.raises(UserError, match="does not exist"):
        read_sentences(tmp_path / "none.txt")


def test_equal_sentences_are_on_the_side_of_their_content() -> None:
    parts = read_sentences("grammar").split()
    assert parts is not None
    assert sum(map(len, parts.values())) == 20_000
    for split, part in parts.items():
        assert {split_of(text) for text in part.texts} == {split}


def test_rows_have_what_opens_and_what_ends_each(tmp_path: Path) -> None:
    tokenizer = train_tokenizer("bytes", [])
    rows = encode_sentences(TEXTS, tokenizer, 5, "here")
    assert rows.length.tolist() == [5, 3, 7]
    assert rows.tokens.shape == (3, 7)
    for row, n, text in zip(rows.tokens.tolist(), rows.length.tolist(), TEXTS, strict=True):
        assert row[:n] == [tokenizer.begin, *tokenizer.encode(text), tokenizer.end]
    assert rows.said.sum(1).tolist() == [4, 2, 6]
    assert rows.count_actions() == 12
    short = rows[torch.tensor([0, 1])].trim()
    assert short.tokens.shape == (2, 5)
    assert short.said.sum(1).tolist() == [4, 2]
    with pytest.raises(UserError, match=r"1 of the 3 sentences of here .* 4 tokens.*longest=5"):
        encode_sentences(TEXTS, tokenizer, 4, "here")
