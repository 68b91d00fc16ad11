"""Structure and tools through the server: what was asked for is what comes, whole and streamed."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest

from tests.serve.conftest import Running

CHAT = "/v1/chat/completions"
HI = [{"role": "user", "content": "the cat"}]
SCHEMA = {
    "type": "object",
    "properties": {"sat": {"type": "boolean"}, "on": {"enum": ["mat", "hill"]}},
    "required": ["sat", "on"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "cat", "schema": SCHEMA}}
TOOL = {"type": "function", "function": {"name": "find", "parameters": SCHEMA}}


def ask(running: Running, path: str = CHAT, **body: Any) -> Any:
    answer = httpx.post(running.url + path, json={"max_tokens": 120, **body}, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"]


def stream(running: Running, **body: Any) -> list[Any]:
    given = {"messages": HI, "max_tokens": 120, "stream": True, **body}
    with httpx.stream("POST", running.url + CHAT, json=given, timeout=60) as answer:
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    return [json.loads(line)["choices"][0] for line in lines[:-1]]


def is_right(said: Any) -> bool:
    return said.keys() == {"sat", "on"} and said["on"] in ("mat", "hill") and said["sat"] in (0, 1)


@pytest.mark.parametrize("seed", range(3))
def test_json_of_a_schema(running: Running, seed: int) -> None:
    [choice] = ask(running, messages=HI, response_format=FORMAT, seed=seed)
    assert is_right(json.loads(choice["message"]["content"]))
    pieces = stream(running, response_format=FORMAT, seed=seed)
    text = "".join(piece["delta"].get("content", "") for piece in pieces)
    assert text == choice["message"]["content"]


@pytest.mark.parametrize(
    ("field", "pattern"),
    [
        ({"guided_regex": "[a-c]{4}-\\d"}, "[a-c]{4}-\\d"),
        ({"structured_outputs": {"choice": ["mat", "hill"]}}, "mat|hill"),
        ({"guided_grammar": 'start: "<" /[0-9]{2}/ ">"'}, "<[0-9]{2}>"),
    ],
)
def test_patterns_choices_and_grammars(running: Running, field: Any, pattern: str) -> None:
    for choice in ask(running, messages=HI, n=3, seed=1, **field):
        assert re.fullmatch(pattern, choice["message"]["content"])
    for choice in ask(running, "/v1/completions", prompt="the cat", n=2, seed=1, **field):
        assert re.fullmatch(pattern, choice["text"])


@pytest.mark.parametrize("wanted", ["required", {"type": "function", "function": {"name": "find"}}])
def test_a_tool_that_must_be_called_is(running: Running, wanted: Any) -> None:
    body: dict[str, Any] = {"tools": [TOOL], "tool_choice": wanted, "parallel_tool_calls": False}
    [choice] = ask(running, messages=HI, seed=4, **body)
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    [call] = choice["message"]["tool_calls"]
    assert call["function"]["name"] == "find"
    assert is_right(json.loads(call["function"]["arguments"]))
    pieces = stream(running, seed=4, **body)
    [streamed] = [c for piece in pieces for c in piece["delta"].get("tool_calls", ())]
    assert streamed["function"] == call["function"]
    assert streamed["index"] == 0
    assert pieces[-1]["finish_reason"] == "tool_calls"
    assert "".join(piece["delta"].get("content") or "" for piece in pieces) == ""


def test_a_conversation_goes_on_after_a_call(running: Running) -> None:
    call = {"id": "call_1", "type": "function"}
    call |= {"function": {"name": "find", "arguments": '{"sat": true, "on": "mat"}'}}
    turns = [
        *HI,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "found"},
    ]
    [choice] = ask(running, messages=turns, tools=[TOOL], tool_choice="none", max_tokens=5)
    assert choice["message"]["content"]


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"response_format": {"type": "xml"}}, "json_schema"),
        ({"response_format": {"type": "json_schema"}}, "schema"),
        ({"response_format": FORMAT, "guided_regex": "a"}, "choose one"),
        ({"guided_regex": "("}, "parse"),
        ({"guided_regex": "(a{1000}){1000}"}, "takes more"),
        ({"guided_regex": "(a)\\1"}, "backreference"),
        ({"guided_grammar": "start: nothing"}, "grammar"),
        ({"guided_choice": []}, "choice"),
        ({"guided_json": {"type": "string", "minLength": 5, "maxLength": 2}}, "schema"),
        ({"response_format": FORMAT, "continue_tokens": [100]}, "first token"),
        ({"tools": [{"type": "web"}]}, "function"),
        ({"tools": [TOOL], "tool_choice": "never"}, "tool_choice"),
        ({"tool_choice": "required"}, "tools"),
        ({"tools": [TOOL, TOOL]}, "one name"),
    ],
)
def test_a_structure_that_cannot_be_is_refused(running: Running, fields: Any, word: str) -> None:
    body = {"messages": HI, "max_tokens": 100, **fields}
    answer = httpx.post(running.url + CHAT, json=body, timeout=30)
    assert answer.status_code == 400, answer.text
    assert word in answer.json()["error"]["message"]
