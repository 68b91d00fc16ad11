"""Structure and tools by OpenAI's own client: a model that has learned nothing, whose answers are
nevertheless what was asked for, whole and streamed.
"""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from tests.serve.conftest import Running

openai: Any = pytest.importorskip("openai")


class Pet(BaseModel):
    kind: Literal["cat", "dog"]
    legs: Literal[3, 4]
    tame: bool


WHEN = {
    "type": "object",
    "properties": {"day": {"enum": ["today", "tomorrow"]}, "hour": {"enum": [6, 12]}},
    "required": ["day", "hour"],
    "additionalProperties": False,
}
WHERE = {
    "type": "object",
    "properties": {"city": {"enum": ["Oslo", "Lima"]}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS = [
    {"type": "function", "function": {"name": "weather", "description": "…", "parameters": WHEN}},
    {"type": "function", "function": {"name": "map", "parameters": WHERE}},
]
ASKED = {
    "messages": [{"role": "user", "content": "the cat sat"}],
    "max_tokens": 700,  # white space is allowed, and likes to be said
    "model": "one",
}
LEGAL = {
    "weather": [{"day": day, "hour": hour} for day in ("today", "tomorrow") for hour in (6, 12)],
    "map": [{"city": "Oslo"}, {"city": "Lima"}],
}


@pytest.fixture(scope="module")
def client(running: Running) -> Any:
    return openai.OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0)


@pytest.mark.parametrize("seed", range(3))
def test_a_schema_is_kept_whole_and_streamed(client: Any, seed: int) -> None:
    asked = ASKED | {"seed": seed, "temperature": 1.5}
    answer = client.chat.completions.parse(**asked, response_format=Pet)
    pet = answer.choices[0].message.parsed
    assert isinstance(pet, Pet)
    with client.chat.completions.stream(**asked, response_format=Pet) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion().choices[0]
    assert final.message.parsed == pet
    assert final.finish_reason == "stop"


def test_the_same_schema_in_responses(client: Any) -> None:
    answer = client.responses.parse(
        model="one", input="the cat sat", max_output_tokens=700, text_format=Pet
    )
    assert isinstance(answer.output_parsed, Pet)


def test_a_forced_tool_and_any_tool(client: Any) -> None:
    named = {"type": "function", "function": {"name": "map"}}
    for choice, names in ((named, {"map"}), ("required", {"map", "weather"})):
        for seed in range(3):
            asked = ASKED | {"tools": TOOLS, "tool_choice": choice, "seed": seed}
            answer = client.chat.completions.create(**asked, parallel_tool_calls=False)
            [one] = answer.choices
            assert one.finish_reason == "tool_calls"
            assert one.message.content in (None, "")
            [call] = one.message.tool_calls
            assert call.type == "function"
            assert call.id
            assert call.function.name in names
            assert json.loads(call.function.arguments) in LEGAL[call.function.name]


def test_tools_streamed_are_the_tools_of_the_whole_answer(client: Any) -> None:
    asked = ASKED | {"tools": TOOLS, "tool_choice": "required", "seed": 5}
    asked |= {"parallel_tool_calls": False}
    [whole] = client.chat.completions.create(**asked).choices[0].message.tool_calls
    name = arguments = number = ""
    finish = None
    for chunk in client.chat.completions.create(**asked, stream=True):
        for choice in chunk.choices:
            finish = choice.finish_reason or finish
            for call in choice.delta.tool_calls or ():
                assert call.index == 0
                number += call.id or ""
                name += call.function.name or ""
                arguments += call.function.arguments or ""
    assert (name, arguments) == (whole.function.name, whole.function.arguments)
    assert number
    assert finish == "tool_calls"


def test_a_result_is_read_and_text_may_follow(client: Any) -> None:
    called = {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "c1",
                "type": "function",
                "function": {"name": "map", "arguments": '{"city": "Oslo"}'},
            }
        ],
    }
    messages = [*ASKED["messages"], called, {"role": "tool", "tool_call_id": "c1", "content": "N"}]
    asked = ASKED | {"messages": messages, "tools": TOOLS, "max_tokens": 8}
    for choice in ("auto", "none"):
        answer = client.chat.completions.create(**asked, tool_choice=choice)
        assert answer.choices[0].finish_reason in ("stop", "length", "tool_calls")
    without = client.chat.completions.create(**asked, tool_choice="none")
    assert not without.choices[0].message.tool_calls


def test_choices_patterns_and_grammars_as_vllm_has_them(client: Any) -> None:
    cases = (
        ({"guided_choice": ["yes", "no"]}, {"yes", "no"}),
        ({"structured_outputs": {"choice": ["on", "off"]}}, {"on", "off"}),
        ({"guided_regex": "[ab]{2}"}, {"aa", "ab", "ba", "bb"}),
        ({"guided_grammar": 'start: "x" ("y" | "z")'}, {"xy", "xz"}),
    )
    for extra, legal in cases:
        answer = client.chat.completions.create(**ASKED, extra_body=extra)
        assert answer.choices[0].message.content in legal
    text = {"model": "one", "prompt": "the", "max_tokens": 20}
    answer = client.completions.create(**text, extra_body={"guided_choice": ["yes", "no"]})
    assert answer.choices[0].text in ("yes", "no")


def test_what_nothing_can_meet_is_a_sentence(client: Any) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "none", "schema": False}}
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(**ASKED, response_format=schema)
    named = {"type": "function", "function": {"name": "fly"}}
    with pytest.raises(openai.BadRequestError, match="none of the tools"):
        client.chat.completions.create(**ASKED, tools=TOOLS, tool_choice=named)
