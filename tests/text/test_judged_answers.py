"""Single answers with a verdict: the mask is on the answer alone, the label is kept, and turns say
the same as text.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fledge.errors import UserError
from fledge.rows.census import Reading
from fledge.text.packed import TokenRow
from fledge.text.pairs import is_judged, read_judged_answers, read_pairs
from fledge.text.tokenizer import train_tokenizer

BYTES = train_tokenizer("bytes", [])
TEXT: list[dict[str, object]] = [
    {"prompt": "one", "completion": "good", "label": True},
    {"prompt": "two", "completion": "bad", "label": False},
]
TURNS: list[dict[str, object]] = [
    {
        "prompt": [{"role": "user", "content": row["prompt"]}],
        "completion": [{"role": "assistant", "content": row["completion"]}],
        "label": row["label"],
    }
    for row in TEXT
]


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("rows", [TEXT, TURNS])
def test_an_answer_is_read_with_its_label_and_its_own_tokens_are_marked(
    rows: list[dict[str, object]], tmp_path: Path
) -> None:
    answers, _ = read_judged_answers(write(tmp_path / "a.jsonl", rows), BYTES)
    assert [wanted for _, wanted in answers] == [True, False]
    for ((ids, own), _), row in zip(answers, TEXT, strict=True):
        said = [token for token, mine in zip(ids, own, strict=True) if mine]
        assert said == [*BYTES.encode(str(row["completion"])), BYTES.end]
        assert str(row["prompt"]) in BYTES.decode(
            [token for token, mine in zip(ids, own, strict=True) if not mine]
        )


def test_an_answer_in_turns_ends_with_the_assistant(tmp_path: Path) -> None:
    wrong = TURNS[1] | {"completion": [{"role": "user", "content": "bad"}]}
    with pytest.raises(
        UserError, match=r"1 of the 2 answers of .*the last turn is the user's: 1, line 2"
    ):
        read_judged_answers(write(tmp_path / "a.jsonl", [TURNS[0], wrong]), BYTES)


def test_the_first_row_says_what_a_file_holds(tmp_path: Path) -> None:
    pair: dict[str, object] = {"prompt": "a", "chosen": "b", "rejected": "c"}
    assert is_judged(write(tmp_path / "a.jsonl", TEXT))
    assert is_judged(write(tmp_path / "a.jsonl", [{"prompt": "a", "completion": "b"}]))
    assert not is_judged(write(tmp_path / "a.jsonl", [pair]))
    assert not is_judged(write(tmp_path / "a.jsonl", [pair | {"label": True}]))
    assert not is_judged(write(tmp_path / "a.jsonl", []))


def test_a_pattern_is_all_files_that_fit_each_with_a_count_of_its_own(tmp_path: Path) -> None:
    pair: dict[str, object] = {"prompt": "a", "chosen": "b", "rejected": "c"}
    write(tmp_path / "rows-2.jsonl", [pair | {"chosen": "e"}, pair | {"rejected": " "}])
    write(tmp_path / "rows-1.jsonl", [pair])
    write(tmp_path / "said-1.jsonl", TEXT[1:])
    write(tmp_path / "said-2.jsonl", TEXT[:1])
    skip = Reading(bad_rows="skip")
    pairs, counts = read_pairs(tmp_path / "rows-*.jsonl", BYTES, reading=skip)
    assert [said(row) for row, _ in pairs] == ["b", "e"]
    assert [(Path(each.source).name, each.read, each.left_out) for each in counts] == [
        ("rows-1.jsonl", 1, 0), ("rows-2.jsonl", 2, 1),
    ]  # fmt: skip
    answers, counts = read_judged_answers(tmp_path / "said-*.jsonl", BYTES)
    assert [(said(row), wanted) for row, wanted in answers] == [("bad", False), ("good", True)]
    assert [each.read for each in counts] == [1, 1]
    assert is_judged(tmp_path / "said-*.jsonl")
    assert not is_judged(tmp_path / "rows-*.jsonl")
    with pytest.raises(UserError, match=r"1 of the 2 pairs of \S*rows-2.jsonl cannot be used"):
        read_pairs(tmp_path / "rows-*.jsonl", BYTES)
    with pytest.raises(UserError, match=r"none-\*.jsonl does not exist"):
        is_judged(tmp_path / "none-*.jsonl")


def said(row: TokenRow) -> str:
    """What of it is marked, without the token that ends it."""
    return BYTES.decode([token for token, own in zip(*row, strict=True) if own][:-1])
