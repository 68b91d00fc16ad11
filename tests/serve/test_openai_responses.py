"""Functions at /v1/responses by OpenAI's own client: what is called, whole and streamed, and that a
conversation with calls and results is the one that a chat completion reads.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.serve.conftest import Running
from tests.serve.test_openai_structure import LEGAL, TOOLS

openai: Any = pytest.importorskip("openai")

FLAT = [{"type": "function", "strict": True, **tool["function"]} for tool in TOOLS]
ASKED = {
    "model": "one", "input": "the cat sat", "max_output_tokens": 700, "tools": FLAT,
    "parallel_tool_calls": False,
}  # fmt: skip
CALL = {"type": "function_call", "call_id": "c1", "name": "map", "arguments": '{"city": "Oslo"}'}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "N"}
NAMED = {"type": "function", "name": "map"}


@pytest.fixture(scope="module")
def client(running: Running) -> Any:
    return openai.OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0)


@pytest.mark.parametrize("choice", ["required", NAMED], ids=str)
def test_a_function_is_called_and_its_result_is_read(client: Any, choice: Any) -> None:
    answer = client.responses.create(**ASKED, tool_choice=choice)
    [call] = answer.output
    assert (call.type, call.status, answer.status) == ("function_call", *["completed"] * 2)
    assert call.name in ({"map"} if choice == NAMED else LEGAL)
    assert json.loads(call.arguments) in LEGAL[call.name]
    assert answer.tools[0].name == "weather"
    # as clients go on: with the very items that they were given
    turns = [
        {"role": "user", "content": "the cat sat"}, *answer.output,
        {"type": "function_call_output", "call_id": call.call_id, "output": "rain"},
    ]  # fmt: skip
    more = {**ASKED, "input": turns, "tool_choice": "none", "max_output_tokens": 8}
    answer = client.responses.create(**more)
    assert [item.type for item in answer.output] == ["message"]


def test_a_call_is_streamed_as_the_client_expects_it(client: Any) -> None:
    with client.responses.stream(**ASKED, tool_choice="required") as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type.removeprefix("response.") for event in events]
    assert kinds == [
        "created", "in_progress", "output_item.added", "function_call_arguments.delta",
        "function_call_arguments.done", "output_item.done", "completed",
    ]  # fmt: skip
    [call] = final.output
    added, delta, done = events[2].item, events[3], events[4]
    assert (added.call_id, added.arguments, added.status) == (call.call_id, "", "in_progress")
    assert delta.item_id == done.item_id == added.id == call.id
    assert delta.snapshot == done.arguments == call.arguments
    assert json.loads(call.arguments) in LEGAL[call.name]


def test_what_may_call_and_does_not_is_text_whole_and_streamed(client: Any) -> None:
    asked = {**ASKED, "tool_choice": "auto", "max_output_tokens": 12, "temperature": 0}
    whole = client.responses.create(**asked, include=["message.output_text.logprobs"])
    [message] = whole.output
    told = b"".join(bytes(each.bytes) for each in message.content[0].logprobs)
    assert told.decode(errors="replace") == whole.output_text
    with client.responses.stream(**asked) as stream:
        deltas = [each.delta for each in stream if each.type == "response.output_text.delta"]
    assert "".join(deltas) == whole.output_text
    assert whole.status == "incomplete"


def test_items_are_the_conversation_that_a_chat_reads(client: Any) -> None:
    """Text and two calls are one turn of the assistant's; then come their results."""
    other = {**CALL, "call_id": "c2", "arguments": '{"city": "Lima"}'}
    said = {
        "type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
        "content": [{"type": "output_text", "text": "I look.", "annotations": []}],
    }  # fmt: skip
    turns = [
        {"role": "user", "content": "where?"}, said, CALL, other, RESULT,
        {**RESULT, "call_id": "c2", "output": [{"type": "input_text", "text": "S"}]},
    ]  # fmt: skip
    calls = [
        {"id": number, "type": "function",
         "function": {"name": "map", "arguments": f'{{"city": "{city}"}}'}}
        for number, city in (("c1", "Oslo"), ("c2", "Lima"))
    ]  # fmt: skip
    messages = [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "where?"},
        {"role": "assistant", "content": "I look.", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c1", "content": "N"},
        {"role": "tool", "tool_call_id": "c2", "content": "S"},
    ]  # fmt: skip
    plain = [{"type": "function", "function": {"strict": True, **one["function"]}} for one in TOOLS]
    chat = client.chat.completions.create(
        model="one", messages=messages, tools=plain, temperature=0, max_tokens=8
    )
    asked = {**ASKED, "input": turns, "instructions": "Be brief.", "max_output_tokens": 8}
    answer = client.responses.create(**asked, temperature=0)
    assert answer.usage.input_tokens == chat.usage.prompt_tokens
    assert answer.output_text == (chat.choices[0].message.content or "")


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"input": [RESULT]}, r"input\[0\].*send the function_call", "input[0]"),
    ({"input": [CALL, {**RESULT, "output": 3}]}, r"content` of input\[1\]", "input[1]"),
    ({"input": [{**CALL, "arguments": {}}]}, "`arguments` of input", "input[0]"),
    ({"input": [{**CALL, "path": "x"}]}, "path", "input[0]"),
    ({"input": [{"type": "reasoning", "summary": []}]}, "reasoning", "input[0]"),
    ({"input": [{"role": "king", "content": "x"}]}, r"role of input\[0\]", "input[0]"),
    ({"tools": [{"type": "web_search"}]}, r'"name": "…", "parameters"', "tools[0]"),
    ({"tool_choice": {"type": "function", "name": "fly"}}, "none of the tools", "tool_choice"),
    ({"tool_choice": "some"}, '"function", "name": "…"}', "tool_choice"),
    ({"text": {"format": "json"}}, "text.format", "text"),
    ({"text": {"format": {"type": "xml"}}, "tools": []}, "`text.format` is 'xml'", "text.format"),
    (
        {"tool_choice": "required", "max_output_tokens": 2},
        "max_output_tokens=2 ",
        "max_output_tokens",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "word", "param"), BAD, ids=str)
def test_what_is_wrong_is_said_of_this_endpoints_fields(
    client: Any, fields: dict[str, Any], word: str, param: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=word) as wrong:
        client.responses.create(**{**ASKED, "instructions": "Be brief.", **fields})
    assert wrong.value.param == param
