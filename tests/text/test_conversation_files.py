"""Files of conversations: every line is named or counted, what is kept is what was read, and none
of it is silent.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from fledge.errors import UserError
from fledge.rows.census import Reading
from fledge.text.chat import render
from fledge.text.conversations import read_conversations, rows_from_jsonl
from fledge.text.tokenizer import train_tokenizer

BYTES = train_tokenizer("bytes", [])
GOOD = {"prompt": "a", "completion": "b"}
NO_ANSWER = {"messages": [{"role": "user", "content": "a"}]}
# 26 tokens: two texts, <|begin|>, two roles and two <|end|>
LONG = {
    "prompt": "a" * 20,
    "completion": "b",
}


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_are_read_plain_and_gzipped(tmp_path: Path) -> None:
    content = "".join(
        json.dumps({"prompt": "é", "completion": str(i)}) + "\r\n" for i in range(3)
    ).encode()
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + content)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(content))
    read = rows_from_jsonl(tmp_path / "a.jsonl")
    assert [row[1]["content"] for row in read] == ["0", "1", "2"]
    assert read == rows_from_jsonl(str(tmp_path / "a.jsonl.gz"))


def test_what_is_kept_is_what_the_template_renders(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [GOOD | {"completion": "b" * i} for i in range(1, 9)])
    rows, _ = read_conversations(path, BYTES, 64, Reading())
    assert list(rows) == [render(BYTES, turns) for turns in rows_from_jsonl(path)]


def test_the_broken_line_37_is_named(tmp_path: Path) -> None:
    lines = [json.dumps(GOOD)] * 50
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
        (
            "a.jsonl",
            b'\n{"prompt": "a", "completion": "b", "weihgt": 1}\n',
            "line 2 of .* has the key `weihgt`",
        ),
        ("a.json", b"[]", "of a kind that is not read"),
    ],
)
def test_a_wrong_file_is_a_user_error(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        rows_from_jsonl(tmp_path / name)


def test_a_whole_surrogate_pair_is_one_character(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "\\ud83d\\ude00", "completion": "x"}\n')
    assert rows_from_jsonl(tmp_path / "a.jsonl")[0][0]["content"] == "😀"


def test_a_missing_file_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        rows_from_jsonl(tmp_path / "none.jsonl")


def test_rows_that_cannot_be_used_are_counted_by_reason_and_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [GOOD, NO_ANSWER, LONG, *[NO_ANSWER] * 4, GOOD])
    with pytest.raises(UserError) as error:
        read_conversations(path, BYTES, 16, Reading(truncate="no"))
    assert str(error.value) == (
        f"6 of the 8 rows of {path} cannot be used (no turn of the assistant's: 5, lines 2, 4, 5, "
        "…; longer than the context of 16 tokens: 1, line 3): mend them, or leave them out with "
        "bad_rows=skip, or cut long ones with truncate=left or right"
    )


def test_rows_that_are_skipped_are_counted_and_said(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [NO_ANSWER, GOOD | {"id": 3}, LONG, GOOD])
    rows, [census] = read_conversations(path, BYTES, 16, Reading(bad_rows="skip"))
    assert len(rows) == 2
    reasons = (
        "no turn of the assistant's: 1, line 1; longer than the context of 16 tokens: 1, line 3"
    )
    assert census.notes() == [
        f"2 of the 4 rows of {path} are left out ({reasons}).",
        f"{path} has keys that are not read: id.",
    ]
    assert census.summary() == {
        "read": 4,
        "left_out": {
            "longer than the context of 16 tokens": {"count": 1, "first_lines": [3]},
            "no turn of the assistant's": {"count": 1, "first_lines": [1]},
        },
        "truncated": 0,
        "keys_not_read": {"id": 1},
    }


def test_a_pattern_is_all_files_that_fit_each_with_a_count_of_its_own(tmp_path: Path) -> None:
    def say(text: str) -> dict[str, str]:
        return {"prompt": "a", "completion": text}

    write(tmp_path / "rows-2.jsonl", [say("c"), NO_ANSWER])
    write(tmp_path / "rows-1.jsonl", [say("b")])
    write(tmp_path / "other.jsonl", [say("d")])
    (tmp_path / "rows-3.jsonl").mkdir()
    rows, censuses = read_conversations(
        tmp_path / "rows-?.jsonl", BYTES, 16, Reading(bad_rows="skip")
    )
    said = [BYTES.decode([i for i, own in zip(*row, strict=True) if own]) for row in rows]
    assert said == ["b", "c"]
    names = [Path(each.source).name for each in censuses]
    assert names == ["rows-1.jsonl", "rows-2.jsonl"]
    assert [(each.read, each.left_out) for each in censuses] == [(1, 0), (2, 1)]
    with pytest.raises(UserError, match=r"1 of the 2 rows of \S*rows-2.jsonl cannot be used"):
        read_conversations(tmp_path / "rows-?.jsonl", BYTES, 16, Reading())
    with pytest.raises(UserError, match=r"none-\*.jsonl does not exist"):
        read_conversations(tmp_path / "none-*.jsonl", BYTES, 16, Reading())
    # a name that exists as it stands is no pattern
    write(tmp_path / "rows-[12].jsonl", [say("e"), say("f"), say("g")])
    rows, _ = read_conversations(tmp_path / "rows-[12].jsonl", BYTES, 16, Reading())
    assert len(rows) == 3


def test_a_file_of_which_no_row_is_left_is_refused_though_they_may_be_skipped(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "a.jsonl", [NO_ANSWER] * 3)
    with pytest.raises(UserError, match=r"none of the 3 rows of .* can be used"):
        read_conversations(path, BYTES, 16, Reading(bad_rows="skip"))
