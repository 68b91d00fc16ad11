"""docs/data.md is true: every example of it is read, as what its section says, and its list of keys
is the reader's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from fledge.rows.census import Census, Reading
from fledge.rows.conversations import read_conversation
from fledge.rows.fields import METADATA
from fledge.rows.labels import Choices, LabelRow, LabelTask, TaggedWords, read_label_row
from fledge.rows.preferences import read_judged, read_preference

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text()


def read_label(row: Mapping[str, Any], where: str, census: Census) -> LabelRow:
    """As the task that has such rows reads it."""
    task: LabelTask = "pair"
    if "label" not in row:
        task = "tag" if "tags" in row else "choose" if "choices" in row else "embed"
    elif "text" in row or "sentence" in row:
        task = "classify"
    return read_label_row(task, row, where, census)


READERS: dict[str, Callable[..., Any]] = {
    "Conversations": read_conversation,
    "Preferences": read_preference,
    "Single answers": read_judged,
    "Labels": read_label,
}


def examples() -> list[tuple[str, str]]:
    """(section, line) of every example."""
    sections = {text.split(":")[0].strip(): text for text in PAGE.split("\n## ")[1:]}
    blocks = {
        name: re.findall(r"```jsonl\n(.*?)```", text, re.DOTALL) for name, text in sections.items()
    }
    return [
        (name, line)
        for name, listed in blocks.items()
        for block in listed
        for line in block.splitlines()
    ]


def test_every_section_has_its_examples() -> None:
    assert {name for name, _ in examples()} == READERS.keys()
    assert len(examples()) == 33


@pytest.mark.parametrize(("section", "line"), examples())
def test_every_example_is_read(section: str, line: str) -> None:
    said = READERS[section](json.loads(line), "here", Census("docs/data.md", Reading()))
    if section == "Conversations":
        assert [turn["content"] for turn in said if turn["role"] == "assistant"][-1] in (
            "hi",
            "No.",
        )
    elif section == "Preferences":
        assert (said.prompt, said.preferred["content"], said.rejected["content"]) == (
            [{"role": "user", "content": "Say hi"}],
            "hi",
            "no",
        )
    elif section == "Labels":
        if isinstance(said, Choices):
            assert said.choices[said.answer] == "blood"
        elif isinstance(said, TaggedWords):
            assert dict(zip(said.words, said.tags, strict=True))["Rome"] == "B-LOC"
        else:
            assert said.texts[0] in ("so good", "A man sleeps.")
    else:
        assert said.wanted == (said.answer["content"] == "hi")


def test_the_keys_that_say_nothing_are_the_readers() -> None:
    listed = PAGE.partition("a line names those that were there:")[2].partition(".\n")[0]
    assert set(re.findall(r"`(\w+)`", listed)) == METADATA
