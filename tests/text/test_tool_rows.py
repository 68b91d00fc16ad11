"""Rows with tools, calls and results are what `transformers` writes by a template that knows
these; what the assistant calls is trained, what a tool answers is not.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fledge.rows.census import Census, Reading
from fledge.rows.conversations import read_conversation
from fledge.text.chat import render
from fledge.text.tokenizer import ForeignTokenizer, load_tokenizer
from tests.text.template_styles import CHATML, STYLES
from tests.text.test_foreign_chat import TOOLS, list_trained, load

ARGUMENTS = {"city": "Zürich <&>", "days": 2}
CALL = {"id": "abc123xyz", "type": "function", "function": {"name": "look", "arguments": ARGUMENTS}}
TALK: list[dict[str, Any]] = [
    {"role": "user", "content": "weather?"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "abc123xyz", "name": "look", "content": "sunny"},
    {"role": "assistant", "content": "It is sunny."},
]
# As an API takes and gives them: arguments as JSON in a string, no content beside a call.
ROW = json.loads(json.dumps({"messages": TALK, "tools": TOOLS}))
ROW["messages"][1] |= {"content": None}
ROW["messages"][1]["tool_calls"][0]["function"]["arguments"] = json.dumps(ARGUMENTS)
SHAREGPT = {
    "conversations": [
        {"from": "human", "value": "weather?"},
        {"from": "function_call", "value": json.dumps(CALL["function"])},
        {"from": "observation", "value": "sunny"},
        {"from": "gpt", "value": "It is sunny."},
    ],
    "tools": json.dumps(TOOLS),
}


def read(row: dict[str, Any]) -> Any:
    return read_conversation(row, "here", Census("file", Reading()))


@pytest.mark.parametrize("row", [ROW, SHAREGPT], ids=["openai", "sharegpt"])
@pytest.mark.parametrize("style", ["mistral", "qwen 3"])
def test_a_row_with_tools_is_what_transformers_writes(
    style: str, row: dict[str, Any], tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    ours = load(tmp_path, STYLES[style])
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    text = theirs.apply_chat_template(TALK, tools=TOOLS, tokenize=False)
    ids, chosen = render(ours, read(row))
    assert ids == theirs(text, add_special_tokens=False)["input_ids"]
    called, answered = list_trained(ours, ids, chosen)
    assert "look" in called
    assert "Zürich <&>" in called
    assert "sunny" not in called
    assert answered == STYLES[style].said.replace("{}", "It is sunny.")


@pytest.mark.parametrize("row", [ROW, SHAREGPT], ids=["openai", "sharegpt"])
def test_a_template_without_words_for_tools_says_them_in_tags(
    row: dict[str, Any], tmp_path: Path
) -> None:
    ours = load(tmp_path, CHATML)
    ids, chosen = render(ours, read(row))
    called, answered = list_trained(ours, ids, chosen)
    said = json.dumps({"name": "look", "arguments": ARGUMENTS}, ensure_ascii=False)
    assert called == f"<tool_call>\n{said}\n</tool_call><|im_end|>"
    assert answered == "It is sunny.<|im_end|>"
    whole = ours.decode([token for token in ids if token not in ours.special])
    assert whole.startswith("system\n<tools>\n")
    assert "<tool_response>" in whole


def test_templates_of_a_folder_beside_are_read_and_kept(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    load(tmp_path, CHATML)
    named = {"default": "plain {{ messages[0].content }}", "tool_use": "tools {{ tools[0].type }}"}
    (tmp_path / "chat_template.jinja").write_text(named["default"])
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "tool_use.jinja").write_text(named["tool_use"])
    saved = tmp_path / "saved"
    saved.mkdir()
    load_tokenizer(tmp_path).save(saved)
    for folder in (tmp_path, saved):
        ours = load_tokenizer(folder)
        theirs = transformers.AutoTokenizer.from_pretrained(folder)
        assert isinstance(ours, ForeignTokenizer)
        for tools in (None, TOOLS):
            text = theirs.apply_chat_template(TALK[:1], tools=tools, tokenize=False)
            assert ours.chat.write(TALK[:1], tools=tools) == text
            assert text == ("plain weather?" if tools is None else "tools function")
