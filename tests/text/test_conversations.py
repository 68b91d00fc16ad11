"""Instruction data of every usual shape gives the same conversation, and a wrong row is named by its line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from fledge.errors import UserError
from fledge.text.conversations import conversation, rows_from_jsonl

EXPECTED = [{"role": "user", "content": "Say hi"}, {"role": "assistant", "content": "hi"}]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": EXPECTED},
        {"prompt": "Say hi", "completion": "hi"},
        {"prompt": "Say hi", "answer": "hi"},
        {"prompt": "Say hi", "response": "hi", "score": 3},
        {"instruction": "Say hi", "input": "", "output": "hi"},
        {"instruction": "Say hi", "output": "hi"},
        {"conversations": [{"from": "human", "value": "Say hi"}, {"from": "gpt", "value": "hi"}]},
    ],
)
def test_every_shape_gives_the_same_conversation(row: dict) -> None:
    assert conversation(row, "here") == EXPECTED


def test_an_input_stands_below_its_instruction() -> None:
    row = {"instruction": "Translate.", "input": "Haus", "output": "house"}
    assert conversation(row, "here")[0]["content"] == "Translate.\n\nHaus"


def test_several_turns_and_a_system_message_are_kept_in_order() -> None:
    turns = [("system", "Be kind."), ("human", "a"), ("gpt", "b"), ("human", "c"), ("gpt", "d")]
    read = conversation({"conversations": [{"from": who, "value": what} for who, what in turns]}, "here")
    assert [message["role"] for message in read] == ["system", "user", "assistant", "user", "assistant"]
    assert [message["content"] for message in read] == ["Be kind.", "a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"completion": "hi"}, "line 3 of .* has no `prompt`; it has `completion`"),
        ({}, "line 3 of .* has no `prompt`; it has nothing"),
        ({"prompt": "Say hi"}, "line 3 of .* no `completion`"),
        ({"prompt": 7, "completion": "hi"}, "the `prompt` of line 3 .* is not a string"),
        ({"prompt": "Say hi", "completion": None}, "the `completion` of line 3 .* is not a string"),
        ({"instruction": "Say hi"}, "line 3 of .* has no `output`"),
        ({"instruction": "Say hi", "input": 4, "output": "hi"}, "the `input` of line 3"),
        ({"messages": []}, "the `messages` of line 3"),
        ({"messages": "Say hi"}, "the `messages` of line 3"),
        ({"messages": ["Say hi"]}, "turn 1 of line 3"),
        ({"messages": [EXPECTED[0], {"role": "tool", "content": "b"}]}, "turn 2 of line 3 .* 'tool'"),
        ({"messages": [{"role": "user"}]}, "turn 1 of line 3 .* has no `content`"),
        ({"conversations": [{"from": "observation", "value": "x"}]}, "turn 1 of line 3 .* 'observation'"),
    ],
)  # fmt: skip
def test_a_row_of_another_shape_is_named_by_its_line_and_field(row: dict, message: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    good = json.dumps({"prompt": "a", "completion": "b"})
    path.write_text(f"{good}\n\n{json.dumps(row)}\n")
    with pytest.raises(UserError, match=message):
        rows_from_jsonl(path)


def test_rows_are_read_plain_and_gzipped(tmp_path: Path) -> None:
    content = "".join(json.dumps({"prompt": "é", "completion": str(i)}) + "\r\n" for i in range(3)).encode()
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + content)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(content))
    read = rows_from_jsonl(tmp_path / "a.jsonl")
    assert [row[1]["content"] for row in read] == ["0", "1", "2"]
    assert read == rows_from_jsonl(str(tmp_path / "a.jsonl.gz"))


def test_the_broken_line_37_is_named(tmp_path: Path) -> None:
    lines = [json.dumps({"prompt": "a", "completion": "b"})] * 50
    lines[36] = '{"prompt": "a", '
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"line 37 of .*a\.jsonl is not JSON"):
        rows_from_jsonl(tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"", "is empty"),
        ("a.jsonl", b"\n \n", "is empty"),
        ("a.jsonl", b"[1]\n", "line 1 .* is a list"),
        ("a.jsonl", b'"text"\n', "line 1 .* is a string"),
        ("a.jsonl", b"null\n", "line 1 .* is null"),
        ("a.jsonl", b'{"prompt": "\\ud83d", "completion": "x"}\n', "line 1 .* surrogate"),
        ("a.jsonl", b'{"prompt": "\xe9"}\n', "not UTF-8: byte 0xe9 at byte offset 12 .line 1."),
        ("a.jsonl", b"[" * 200_000, "line 1 .* nested"),
        ("a.json", b"[]", "of a kind that is not read"),
    ],
)
def test_a_wrong_file_is_a_user_error(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        rows_from_jsonl(tmp_path / name)


def test_a_whole_surrogate_pair_is_one_character(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "\\ud83d\\ude00", "completion": "x"}\n')
    assert rows_from_jsonl(tmp_path / "a.jsonl")[0][0]["content"] == "😀"


def test_a_missing_file_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        rows_from_jsonl(tmp_path / "none.jsonl")
