"""A foreign JSON file is the shape that was asked for, or one sentence with its name."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

from fledge.errors import UserError
from fledge.json_file import DEEPEST, LARGEST, read_json


@with_config(ConfigDict(extra="allow"))
class Point(TypedDict):
    x: int
    y: float


def said(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_json(path, Point, mend="draw it again")
    sentence = str(caught.value)
    assert sentence.startswith(str(path))
    assert sentence.endswith(": draw it again.")
    assert "\n" not in sentence
    assert len(sentence) < len(str(path)) + 200
    return sentence


def test_what_json_wrote_is_read(tmp_path: Path) -> None:
    value = {"x": -(2**53), "y": 0.1, "more": [None, True, "ü\ud83d", {"deep": [1e-300, 10**299]}]}
    path = tmp_path / "point.json"
    path.write_text(json.dumps(value))
    assert read_json(path, Point) == value
    path.write_text("\ufeff" + json.dumps(value), encoding="utf-8")  # as some editors save it
    assert read_json(path, Point) == value


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b'{"x": 1, "y": NaN}', "holds NaN"),
        (b'{"x": 1, "y": -Infinity}', "holds -Infinity"),
        (b'{"x": 1, "y": 1e400}', "1e400 is larger than any float"),
        (b'{"x": 1, "y": -1e400}', "-1e400 is larger than any float"),
        (b'{"x": 1, "y": ' + b"9" * 400 + b"}", "an integer has 400 digits"),
        (b'{"x": 1, "y": ' + b"9" * 9000 + b"}", "an integer has 9000 digits"),
        (b'{"x": 1, "x": 2, "y": 0}', 'names "x" twice'),
        (b'{"x": 1, "y": 0, "z": "\xff"}', "not UTF-8 at byte 23"),
        ('{"x": 1, "y": 0}'.encode("utf-16"), "not UTF-8 at byte 0"),
        (b"[" * 100_000, f"nested deeper than {DEEPEST}"),
        (
            b'{"x": 1, "y": 0, "z": ' + b"[" * 101 + b"]" * 101 + b"}",
            f"nested deeper than {DEEPEST}",
        ),
        (b"\0" * 100, "Expecting value"),
        (b"null", "it is null: should be"),
        (b"[]", "it is []: should be"),
        (b'{"y": 0}', "`x` is missing"),
        (b'{"x": true, "y": 0}', "`x` is true: should be a valid integer"),
        (b'{"x": 1.0, "y": 0}', "`x` is 1.0: should be a valid integer"),
        (b'{"x": "1", "y": 0}', '`x` is "1": should be a valid integer'),
        (
            b'{"x": 1, "y": [[0], "' + b"long" * 99 + b'"]}',
            "`y` is a list of 2: should be a valid number",
        ),
    ],
)
def test_any_other_content_is_a_sentence(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "point.json"
    path.write_bytes(content)
    assert reason in said(path)


def test_the_deepest_nest_that_is_read(tmp_path: Path) -> None:
    inner: Any = 0
    for _ in range(DEEPEST - 1):
        inner = [inner]
    path = tmp_path / "point.json"
    path.write_text(json.dumps({"x": 1, "y": 2, "inner": inner}))
    assert read_json(path, Point)["x"] == 1
    path.write_text(json.dumps({"x": 1, "y": 2, "inner": [inner]}))
    assert "nested" in said(path)


def test_what_is_no_file_is_a_sentence_and_nobody_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "nowhere").symlink_to("gone.json")
    (tmp_path / "round").symlink_to("about")
    (tmp_path / "about").symlink_to("round")
    (tmp_path / "piped").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        assert "a socket" in said(tmp_path / "socket")
    assert "a folder" in said(tmp_path / "folder")
    assert "a named pipe" in said(tmp_path / "pipe")
    assert "a named pipe" in said(tmp_path / "piped")
    assert "a device" in said(tmp_path / "device")
    assert "a link to gone.json, where nothing is" in said(tmp_path / "nowhere")
    assert "in a circle" in said(tmp_path / "round")
    (tmp_path / "file").write_text("{}")
    assert "not a directory" in said(tmp_path / "file" / "point.json")
    assert "too long" in said(tmp_path / ("x" * 300))


def test_a_size_that_no_such_file_has_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "point.json"
    with path.open("wb") as file:
        file.truncate(LARGEST + 1)  # of holes: it takes no room
    assert f"has {LARGEST + 1:,} bytes" in said(path)


def test_nothing_there_is_left_to_the_one_who_asked(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "point.json", Point)


def test_a_name_that_no_file_has(tmp_path: Path) -> None:
    for name in ("a\0b", "\ud800"):
        with pytest.raises(UserError, match="no file can be called"):
            read_json(tmp_path / name, Point)


def test_a_pipe_that_takes_a_files_place_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was a file when it was looked at, and is a pipe when it is opened."""
    (tmp_path / "file").write_text("{}")
    os.mkfifo(tmp_path / "pipe")
    looked = os.stat(tmp_path / "file")
    monkeypatch.setattr(os, "stat", lambda path: looked)
    assert "a named pipe" in said(tmp_path / "pipe")
