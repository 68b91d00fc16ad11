"""Preferences of every known shape are the same two answers to one prompt; sides that do not
compare are never taken.
"""

from __future__ import annotations

from typing import Any

import pytest

from fledge.errors import UserError
from fledge.rows.census import Census, Reading, Unusable
from fledge.rows.preferences import (
    JudgedAnswer,
    Preference,
    is_single,
    read_judged,
    read_preference,
)
from fledge.rows.tools import Known, say_in_tags

USER = {"role": "user", "content": "Say hi"}
GOOD: Any
BAD: Any
GOOD, BAD = ({"role": "assistant", "content": text} for text in ("hi", "no"))
CHOSEN, REJECTED = {"from": "gpt", "value": "hi"}, {"from": "gpt", "value": "no"}


def read(row: dict[str, Any]) -> Preference:
    return read_preference(row, "here", Census("file", Reading()))


def read_single(row: dict[str, Any]) -> JudgedAnswer:
    return read_judged(row, "here", Census("file", Reading()))


def outputs(preferred: list[Any], rejected: list[Any]) -> dict[str, Any]:
    """A row of OpenAI's."""
    return {
        "input": {"messages": [USER]},
        "preferred_output": preferred,
        "non_preferred_output": rejected,
    }


def test_the_tools_of_openais_input_stand_in_the_systems_turn_and_calls_in_the_prompt() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    tail = [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "content": "dry"}]
    row = outputs([*tail, GOOD], [*tail, BAD])
    row["input"]["tools"] = [{"name": "f"}]
    pair = read(row)
    assert [turn["role"] for turn in pair.prompt] == ["user", "assistant", "tool"]
    assert pair.prompt[0].get("tools") == [{"name": "f"}]
    said = say_in_tags(pair.prompt, Known())
    assert [turn["role"] for turn in said] == ["system", "user", "assistant", "user"]
    assert said[0]["content"] == '<tools>\n{"name": "f"}\n</tools>'
    assert (pair.preferred, pair.rejected) == (GOOD, BAD)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Say hi", "chosen": "hi", "rejected": "no"},
        {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": "Say hi", "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": [USER], "chosen": "hi", "rejected": "no"},
        {"prompt": [USER], "chosen": GOOD, "rejected": BAD},
        {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"prompt": "Say hi", "chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"prompt": [USER], "chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {
            "prompt": "Say hi",
            "prompt_id": "7",
            "chosen": [USER, GOOD],
            "rejected": [USER, BAD],
            "messages": [USER, GOOD],
            "score_chosen": 8.5,
            "score_rejected": 0,
        },
        {
            "chosen": "\n\nHuman: Say hi\n\nAssistant: hi",
            "rejected": "\n\nHuman: Say hi\n\nAssistant: no",
        },
        {"instruction": "Say hi", "input": "", "chosen": "hi", "rejected": "no"},
        {
            "conversations": [{"from": "human", "value": "Say hi"}],
            "chosen": CHOSEN,
            "rejected": REJECTED,
        },
        {"messages": [USER], "chosen": GOOD, "rejected": BAD},
        {
            "input": {"messages": [USER], "tools": [], "parallel_tool_calls": True},
            "preferred_output": [GOOD],
            "non_preferred_output": [BAD],
        },
        {
            "input": {"messages": [USER]},
            "preferred_output": [GOOD | {"weight": 1, "tool_calls": []}],
            "non_preferred_output": [BAD | {"content": [{"type": "text", "text": "no"}]}],
        },
    ],
)
def test_every_shape_gives_the_same_pair(row: dict[str, Any]) -> None:
    assert read(row) == Preference([USER], GOOD, BAD)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "c", "system": "s", "history": [["a", "b"]], "chosen": "hi", "rejected": "no"},
        {
            "instruction": "c",
            "system": "s",
            "history": [["a", "b"]],
            "chosen": "hi",
            "rejected": "no",
        },
        {
            "conversations": [
                {"from": who, "value": what}
                for who, what in (("system", "s"), ("human", "a"), ("gpt", "b"), ("human", "c"))
            ],
            "chosen": CHOSEN,
            "rejected": REJECTED,
        },
        {
            "prompt": "a",
            **{
                side: [
                    {"role": "system", "content": "s"},
                    {"role": "user", "content": "a"},
                    {"role": "assistant", "content": "b"},
                    {"role": "user", "content": "c"},
                    answer,
                ]
                for side, answer in (("chosen", GOOD), ("rejected", BAD))
            },
        },
        {
            "input": {
                "messages": [
                    {"role": who, "content": what}
                    for who, what in (
                        ("developer", "s"),
                        ("user", "a"),
                        ("assistant", "b"),
                        ("user", "c"),
                    )
                ]
            },
            "preferred_output": [GOOD],
            "non_preferred_output": [BAD],
        },
    ],
)
def test_what_came_before_is_context_on_both_sides(row: dict[str, Any]) -> None:
    pair = read(row)
    assert [(turn["role"], turn["content"]) for turn in pair.prompt] == [
        ("system", "s"),
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c"),
    ]
    assert (pair.preferred, pair.rejected) == (GOOD, BAD)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (
            {"chosen": [USER, GOOD], "rejected": [USER | {"content": "Go"}, BAD]},
            "two sides with different prompts",
        ),
        (
            {"chosen": [USER, GOOD], "rejected": [USER, GOOD, USER, BAD]},
            "two sides with different prompts",
        ),
        ({"prompt": "Say hi", "chosen": "hi", "rejected": "hi"}, "two equal answers"),
        ({"prompt": "Say hi", "chosen": "hi", "rejected": ""}, "an empty answer"),
        ({"prompt": "Say hi", "chosen": " ", "rejected": "no"}, "an empty answer"),
        ({"chosen": [USER, GOOD, USER], "rejected": [USER, BAD]}, "the last turn is the user's"),
        (
            {"prompt": "Go", "chosen": [USER, GOOD], "rejected": [USER, BAD]},
            "a prompt that its own answers do not repeat",
        ),
        (
            {"prompt": [USER], "chosen": [{**USER, "content": "Go"}, GOOD], "rejected": [BAD]},
            "do not repeat",
        ),
        ({"chosen": [GOOD], "rejected": [BAD]}, "an answer without a prompt"),
        (
            {"prompt": [USER], "chosen": [GOOD | {"weight": 0}], "rejected": [BAD]},
            "no turn that is to be trained",
        ),
        (outputs([GOOD], [GOOD]), "two equal answers"),
        (outputs([GOOD], [BAD | {"content": ""}]), "an empty answer"),
        (outputs([GOOD, USER], [BAD]), "the last turn is the user's"),
        (outputs([GOOD, USER, GOOD], [BAD]), "two sides with different prompts"),
    ],
)
def test_sides_that_do_not_compare_have_a_reason(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unusable, match=reason):
        read(row)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "a", "rejected": "b"}, "here has no `chosen`: a pair has"),
        ({"prompt": "a", "chosen": "b"}, "here has no `rejected`: a pair has"),
        (
            {"prompt": "a", "completion": "b", "label": True},
            "here has no `chosen`, it is a single answer",
        ),
        ({"chosen": "b", "rejected": "c"}, "here has no `prompt`: a pair has"),
        (
            {"prompt": "a", "chosen": 0, "rejected": "c"},
            "the `chosen` of here is not a string, it is 0",
        ),
        (
            {"prompt": 0, "chosen": "b", "rejected": "c"},
            "the `prompt` of here is not a string, it is 0",
        ),
        (
            {"prompt": "a", "chosen": "b", "rejected": "c", "margin": 2},
            "has the key `margin`, which is not read",
        ),
        (
            {"prompt": "a", "chosen": "b", "rejected": "c", "input": "d"},
            "has the key `input`, which is not read",
        ),
        ({"question": "a", "chosen": "b", "rejected": "c"}, "here has no `prompt`"),
        (
            {"input": {"messages": [USER]}, "preferred_output": [GOOD]},
            "here has no `non_preferred_output`: such a pair has `input`",
        ),
        (
            {"preferred_output": [GOOD], "non_preferred_output": [BAD]},
            "here has no `input`: such a pair has",
        ),
        (outputs([GOOD], [BAD]) | {"input": "Say hi"}, 'the `input` of here is "Say hi"'),
        (outputs([GOOD], [BAD]) | {"input": {}}, "the `messages` of the `input` of here is not"),
        (
            outputs([GOOD], [BAD]) | {"input": {"messages": [USER], "message": [USER]}},
            "the `input` of here has the key `message`, which is not read .perhaps .* `messages`",
        ),
        (outputs([GOOD], [BAD]) | {"prompt": "a"}, "has the key `prompt`, which is not read"),
        (outputs([GOOD], [BAD]) | {"chosen": "a"}, "has the key `chosen`, which is not read"),
        (
            {"prompt": "a", "chosen": [USER, GOOD], "rejected": [USER, BAD], "messages": [USER]},
            "`messages`",
        ),
        (
            {
                "chosen": "Hey.\n\nHuman: a\n\nAssistant: b",
                "rejected": "\n\nHuman: a\n\nAssistant: c",
            },
            'the `chosen` of here begins with "Hey."',
        ),
    ],
)
def test_a_pair_of_another_shape_is_named_by_its_field(row: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read(row)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Say hi", "completion": "hi"},
        {"prompt": [USER], "completion": [GOOD]},
        {"instruction": "Say hi", "output": "hi"},
        {"conversations": [{"from": "human", "value": "Say hi"}, CHOSEN]},
        {"messages": [USER, GOOD]},
    ],
)
@pytest.mark.parametrize("key", ["label", "kto_tag"])
@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (True, True),
        (False, False),
        (1, True),
        (0, False),
        (0.0, False),
        ("true", True),
        ("False", False),
    ],
)
def test_a_single_answer_of_every_shape_has_its_verdict(
    row: dict[str, Any], key: str, given: object, wanted: bool
) -> None:
    single = row | {key: given}
    assert is_single(single)
    prompt: Any = [USER]
    assert read_single(single) == JudgedAnswer(prompt, GOOD, wanted)


@pytest.mark.parametrize("label", [2, -1, 0.5, "yes", "1", "", []])
def test_a_label_that_is_neither_is_named(label: object) -> None:
    with pytest.raises(UserError, match=r"the `label` of here is .*: write true"):
        read_single({"prompt": "a", "completion": "b", "label": label})
