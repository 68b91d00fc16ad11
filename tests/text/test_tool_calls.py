"""Calls are read out of answers of each family; cut anywhere, an answer is read the same."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fledge.text.tool_calls import (
    HERMES,
    LLAMA,
    MISTRAL,
    MISTRAL_NAMED,
    STATED,
    ToolCall,
    ToolCallReader,
    ToolForm,
    state_form,
)

NAMES = ["add", "look_up"]
HIDDEN = replace(MISTRAL, hidden=True)
HIDDEN_NAMED = replace(MISTRAL_NAMED, hidden=True)
ADD = ("add", {"x": 1, "y": [2, {"z": "}]"}]})
LOOK = ("look_up", {"q": "Köln </tool_call>"})
ANSWERS: list[tuple[ToolForm, str, str | None, list[tuple[str, object]]]] = [
    (HERMES, '<tool_call>\n{"name": "add", "arguments": {"x": 1, "y": [2, {"z": "}]"}]}}\n'
     "</tool_call>", None, [ADD]),
    (HERMES, '<tool_call>\n{"name": "add", "arguments": {"x": 1, "y": [2, {"z": "}]"}]}}\n'
     '</tool_call>\n<tool_call>\n{"name": "look_up", "arguments": {"q": "Köln </tool_call>"}}\n'
     "</tool_call>", None, [ADD, LOOK]),
    (HERMES, 'I add.\n\n<tool_call>{"arguments": {}, "name": "add"}</tool_call>', "I add.",
     [("add", {})]),
    (HERMES, 'I add.\n<tool_call>\n{"name": "add", "argu',
     'I add.\n<tool_call>\n{"name": "add", "argu', []),
    (HERMES, '<tool_call>\n{"name": "other", "arguments": {}}\n</tool_call>',
     '<tool_call>\n{"name": "other", "arguments": {}}\n</tool_call>', []),
    (HERMES, "Plain <b>words</b>, and <tool", "Plain <b>words</b>, and <tool", []),
    (HERMES, '{"name": "add", "arguments": {}}', '{"name": "add", "arguments": {}}', []),
    (HERMES, "  \n", "  \n", []),
    (HERMES, "", None, []),
    (MISTRAL, '[TOOL_CALLS][{"name": "add", "arguments": {"x": 1, "y": [2, {"z": "}]"}]}}, '
     '{"name": "look_up", "arguments": {"q": "Köln </tool_call>"}}]', None, [ADD, LOOK]),
    (HIDDEN, '[{"name": "add", "arguments": {}}]', None, [("add", {})]),
    (HIDDEN, "[1] is a footnote", "[1] is a footnote", []),
    (HIDDEN, '[TOOL_CALLS] [{"name": "add", "arguments": {}}]', None, [("add", {})]),
    (MISTRAL_NAMED, '[TOOL_CALLS]add[ARGS]{"x": 1, "y": [2, {"z": "}]"}]}', None, [ADD]),
    (MISTRAL_NAMED, 'So. [TOOL_CALLS]add[CALL_ID]a1b2c3d4e[ARGS]{"x": 1, "y": [2, {"z": "}]"}]}'
     '[TOOL_CALLS]look_up[ARGS]{"q": "Köln </tool_call>"}', "So.", [ADD, LOOK]),
    (MISTRAL_NAMED, '[TOOL_CALLS]other[ARGS]{}', '[TOOL_CALLS]other[ARGS]{}', []),
    (MISTRAL_NAMED, 'add{"x": 1}', 'add{"x": 1}', []),
    (HIDDEN_NAMED, 'add{"x": 1, "y": [2, {"z": "}]"}]}look_up{"q": "Köln </tool_call>"}', None,
     [ADD, LOOK]),
    (HIDDEN_NAMED, 'addabcdefghi{}', None, [("add", {})]),
    (HIDDEN_NAMED, "add these two", "add these two", []),
    (HIDDEN_NAMED, "look", "look", []),
    (LLAMA, '{"name": "add", "parameters": {"x": 1, "y": [2, {"z": "}]"}]}}', None, [ADD]),
    (LLAMA, '{"name": "add", "parameters": {}}; {"name": "add", "parameters": {}}', None,
     [("add", {}), ("add", {})]),
    (LLAMA, '{"a": 1}', '{"a": 1}', []),
    (LLAMA, "Hello {you}", "Hello {you}", []),
]  # fmt: skip


def read_whole(text: str, form: ToolForm, names: list[str]) -> tuple[str | None, list[ToolCall]]:
    """What an answer that comes at once says besides its calls, and the calls."""
    reader = ToolCallReader(form, names)
    said, read = reader.take(text)
    rest, more = reader.end()
    return said + rest or None, read + more


@pytest.mark.parametrize(("form", "text", "content", "calls"), ANSWERS)
def test_calls_and_text_are_told_apart(
    form: ToolForm, text: str, content: str | None, calls: list[tuple[str, object]]
) -> None:
    said, read = read_whole(text, form, NAMES)
    assert [(each.name, json.loads(each.arguments)) for each in read] == calls
    assert said == content
    assert len({each.id for each in read}) == len(read)
    for each in read:
        assert each.to_dict()["function"] == {"name": each.name, "arguments": each.arguments}


@given(st.sampled_from(ANSWERS), st.lists(st.integers(0, 200), max_size=30))
def test_an_answer_that_comes_in_pieces_is_read_as_the_whole(
    answer: tuple[ToolForm, str, str | None, list[tuple[str, object]]], cuts: list[int]
) -> None:
    form, text, content, calls = answer
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    reader, told, read = ToolCallReader(form, NAMES), "", []
    for begin, end in pairwise(places):
        piece, more = reader.take(text[begin:end])
        told += piece
        read += more
    piece, more = reader.end()
    assert (told + piece or None) == content
    assert [(each.name, json.loads(each.arguments)) for each in read + more] == calls


def test_text_is_told_at_once_and_a_call_when_it_is_complete() -> None:
    reader = ToolCallReader(HERMES, NAMES)
    assert reader.take("Words") == ("Words", [])
    assert reader.take(" and <") == (" and", [])
    assert reader.take("b> more ") == (" <b> more", [])
    assert reader.take('<tool_call>{"name": "add"') == ("", [])
    content, [call] = reader.take(', "arguments": {}}')
    assert (content, call.name) == ("", "add")


def test_the_form_is_stated_where_the_template_has_no_words_for_tools() -> None:
    asked = [{"role": "user", "content": "2 + 2?"}]
    assert state_form(asked, HERMES) == asked
    first, second = state_form(asked, STATED)
    assert first["role"] == "system"
    assert "<tool_call>" in first["content"]
    assert second == asked[0]
    [system, _] = state_form([{"role": "system", "content": "Be brief."}, *asked], STATED)
    assert system["content"].startswith("Be brief.\n\nYou may call")
