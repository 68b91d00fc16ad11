"""Single answers with a verdict: the mask is on the answer alone, the label is kept, and turns say
the same as text.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fledge.errors import UserError
from fledge.text.pairs import is_judged, judged_from_jsonl
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
    answers = judged_from_jsonl(write(tmp_path / "a.jsonl", rows), BYTES)
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
        judged_from_jsonl(write(tmp_path / "a.jsonl", [TURNS[0], wrong]), BYTES)


def test_the_first_row_says_what_a_file_holds(tmp_path: Path) -> None:
    pair: dict[str, object] = {"prompt": "a", "chosen": "b", "rejected": "c"}
    assert is_judged(write(tmp_path / "a.jsonl", TEXT))
    assert is_judged(write(tmp_path / "a.jsonl", [{"prompt": "a", "completion": "b"}]))
    assert not is_judged(write(tmp_path / "a.jsonl", [pair]))
    assert not is_judged(write(tmp_path / "a.jsonl", [pair | {"label": True}]))
    assert not is_judged(write(tmp_path / "a.jsonl", []))
