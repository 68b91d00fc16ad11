"""Table-to-text: a table as a line and back, the share of its slots that a text says, and rows that
cannot be judged.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fledge.errors import UserError
from fledge.rows.slots import list_said, parse_slots, write_slots
from fledge.tasks.checking import check_task
from fledge.tasks.examples import Example
from fledge.tasks.named import load_task

TABLE = {"name": "The Eagle", "food": "French", "family friendly": "yes"}
TEXT = "The Eagle serves French food to families."


def write(folder: Path, rows: list[dict[str, Any]]) -> str:
    file = folder / "tables.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def test_a_table_is_a_line_and_back() -> None:
    line = write_slots(TABLE)
    assert line == "name: The Eagle | food: French | family friendly: yes"
    assert parse_slots(line) == TABLE


def test_a_slot_is_said_in_whole_words() -> None:
    assert list_said(TABLE, "the EAGLE, french: yes!") == ["name", "food", "family friendly"]
    assert list_said(TABLE, "The Eagles eat Frenchmen, yesterday") == []


def test_a_completion_is_worth_the_share_of_slots_that_it_says(tmp_path: Path) -> None:
    rows = [
        {"slots": TABLE | {"name": f"Inn {i}", "price": i, "near": None}, "text": f"Inn {i} has "
         f"French food for {i} pounds."}
        for i in range(40)
    ]  # fmt: skip
    task = load_task(write(tmp_path, rows), seed=0)
    check_task(task)
    example = Example(
        "name: Inn 7 | food: French | family friendly: yes | price: 7",
        "Inn 7 has French food for 7 pounds.", task.name,
    )  # fmt: skip
    said = ["inn 7, french, at 7", "Inn 7 has French food.", "Inn 17", "", example.answer or ""]
    verdicts = task.judge([example] * 5, said)
    # The text says three of the four, so that three can be looked for; Inn 7 says the price too.
    assert [verdict.score for verdict in verdicts] == [1, 1, 0, 0, 1]
    assert task.judge([example], ["French"])[0].score == pytest.approx(1 / 3)
    assert [verdict.right for verdict in verdicts] == [True, True, False, False, True]
    assert {task.example(i, "test").prompt for i in range(9)}.isdisjoint(
        task.example(i, "train").prompt for i in range(99)
    )


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"slots": "name", "text": "x"}, "write an object"),
        ({"slots": {"name": ["a"]}, "text": "x"}, "write a text or a number"),
        ({"slots": {}, "text": "x"}, "no slots"),
        ({"slots": {"name": "a | b"}, "text": "x"}, "with a | in it"),
        ({"slots": TABLE, "text": "Come in."}, "says the value of no slot"),
        ({"slots": TABLE}, "has no `text`"),
        ({"prompt": "a", "completion": "b"}, "judged in two ways"),
    ],
)
def test_rows_that_cannot_be_judged(row: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    good = [{"slots": TABLE, "text": TEXT}]
    with pytest.raises(UserError, match=sentence.replace("|", r"\|")):
        load_task(write(tmp_path, [*good, row]), seed=0)
