"""Instruction data of every known shape gives the same conversation, and nothing of a row is
dropped in silence.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from fledge.errors import UserError
from fledge.rows.census import Census, Reading, Unusable
from fledge.rows.conversations import read_conversation
from fledge.rows.tools import Known, say_in_tags

EXPECTED = [{"role": "user", "content": "Say hi"}, {"role": "assistant", "content": "hi"}]
USER, ANSWER = EXPECTED


def read(row: dict[str, Any], ignore_keys: str = "") -> list[Any]:
    return list(read_conversation(row, "here", Census("file", Reading(ignore_keys=ignore_keys))))


def human(*texts: str) -> list[dict[str, str]]:
    """Turns of ShareGPT, the human's first."""
    return [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(texts)]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": EXPECTED},
        {"messages": EXPECTED, "prompt": "Say hi", "prompt_id": "7"},  # UltraChat
        {
            "messages": [
                USER
                | {"content": [{"type": "text", "text": "Say "}, {"type": "text", "text": "hi"}]},
                ANSWER,
            ]
        },
        {
            "messages": [USER, ANSWER | {"weight": 1, "refusal": None, "tool_calls": []}],
            "tools": [],
        },
        {"prompt": "Say hi", "completion": "hi"},
        {"prompt": [USER], "completion": [ANSWER]},
        {"prompt": [USER], "completion": "hi"},
        {"prompt": "Say hi", "completion": [ANSWER]},
        {"prompt": "Say hi", "answer": "hi"},
        {"prompt": "Say hi", "response": "hi", "score": 3},
        {"instruction": "Say hi", "input": "", "output": "hi"},
        {"instruction": "Say hi", "input": None, "output": "hi", "system": "", "history": []},
        {
            "instruction": "Say hi",
            "output": "hi",
            "text": "### Instruction:\nSay hi\n\n### Response:\nhi",
        },
        {"instruction": "Say", "input": "hi", "output": "hi"},
        {"conversations": human("Say hi", "hi")},
        {"conversations": EXPECTED},
        {"messages": human("Say hi", "hi"), "id": 0, "source": "somewhere"},
    ],
)
def test_every_shape_gives_the_same_conversation(row: dict[str, Any]) -> None:
    expected = [USER | {"content": "Say\n\nhi"}, ANSWER] if row.get("input") else EXPECTED
    assert read(row) == expected


@pytest.mark.parametrize(
    "row",
    [
        {"system": "Be kind.", "conversations": human("a", "b", "c", "d")},
        {"conversations": [{"from": "system", "value": "Be kind."}, *human("a", "b", "c", "d")]},
        {"instruction": "c", "output": "d", "system": "Be kind.", "history": [["a", "b"]]},
        {"system": "Be kind.", "messages": human("a", "b", "c", "d")},
        {"messages": [{"role": "developer", "content": "Be kind."}, *human("a", "b", "c", "d")]},
        {
            "system": "Be kind.",
            "conversations": [{"from": "system", "value": "Be kind."}, *human("a", "b", "c", "d")],
        },
    ],
)
def test_the_system_and_the_history_of_a_row_are_read_wherever_they_stand(
    row: dict[str, Any],
) -> None:
    turns = read(row)
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "user", "assistant"]
    assert [turn["content"] for turn in turns] == ["Be kind.", "a", "b", "c", "d"]
    assert not any("train" in turn for turn in turns)  # the answers of the history are learnt too


@pytest.mark.parametrize(
    "mark", [{"weight": 0}, {"weight": 0.0}, {"train": False}, {"training": False}]
)
def test_a_turn_that_is_marked_is_context_only(mark: dict[str, Any]) -> None:
    turns = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "bad"} | mark,
        USER,
        ANSWER,
    ]
    assert [turn.get("train", True) for turn in read({"messages": turns})] == [
        True,
        False,
        True,
        True,
    ]


def test_the_answers_in_a_prompt_are_context_only() -> None:
    """As in TRL, which trains the completion of a prompt and a completion."""
    row = {"prompt": [USER, ANSWER, USER], "completion": [ANSWER, USER, ANSWER]}
    assert [turn.get("train", True) for turn in read(row)] == [True, False, True, True, True, True]


CALL = {"name": "weather", "arguments": {"city": "Bonn"}}
OPENAI = [
    {"role": "user", "content": "Rain?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "1",
                "type": "function",
                "function": CALL | {"arguments": json.dumps(CALL["arguments"])},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "1", "content": "dry"},
    {"role": "assistant", "content": "No."},
]
SHAREGPT = [
    {"from": "human", "value": "Rain?"},
    {"from": "function_call", "value": json.dumps(CALL)},
    {"from": "observation", "value": "dry"},
    {"from": "gpt", "value": "No."},
]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {}}}


@pytest.mark.parametrize(
    "row",
    [
        {"messages": OPENAI, "tools": [TOOL]},
        {"messages": OPENAI, "tools": json.dumps([TOOL])},
        {"conversations": SHAREGPT, "tools": json.dumps([TOOL])},
    ],
)
def test_tools_calls_and_results_are_said_in_their_tags(row: dict[str, Any]) -> None:
    system, question, call, result, answer = say_in_tags(read(row), Known())
    assert system == {"role": "system", "content": f"<tools>\n{json.dumps(TOOL)}\n</tools>"}
    assert call == {
        "role": "assistant",
        "content": f"<tool_call>\n{json.dumps(CALL)}\n</tool_call>",
    }
    assert result == {"role": "user", "content": "<tool_response>\ndry\n</tool_response>"}
    assert (question["content"], answer["content"]) == ("Rain?", "No.")


def test_what_a_template_knows_stays_structure() -> None:
    row = {"messages": [*OPENAI[:3], OPENAI[3] | {"thinking": "dry is no"}], "tools": [TOOL]}
    question, call, result, answer = read(row)
    assert question == OPENAI[0] | {"tools": [TOOL]}
    function = {"id": "1", "type": "function", "function": CALL}
    assert call == {"role": "assistant", "content": "", "tool_calls": [function]}
    assert result == OPENAI[2]
    assert answer == OPENAI[3] | {"reasoning_content": "dry is no"}
    kept = say_in_tags(read(row), Known(tools=True, calls=True, results=True, thoughts=True))
    assert kept == [question, call, result, answer]
    [*_, thought] = say_in_tags(read(row), Known(calls=True))
    assert thought["content"] == "<think>\ndry is no\n</think>\n\nNo."


def test_tools_stand_below_the_systems_own_words() -> None:
    row = {"messages": [{"role": "system", "content": "Be kind."}, *OPENAI], "tools": [TOOL]}
    assert (
        say_in_tags(read(row), Known())[0]["content"]
        == f"Be kind.\n\n<tools>\n{json.dumps(TOOL)}\n</tools>"
    )


def test_a_call_follows_what_is_said_before_it_and_results_are_one_turn() -> None:
    calls = [{"function": CALL}, {"function": CALL | {"name": "time"}}]
    turns = [
        OPENAI[0],
        {"role": "assistant", "content": "Let me see.", "tool_calls": calls},
        {"role": "tool", "name": "weather", "content": "dry"},
        {"role": "tool", "content": "noon"},
        OPENAI[3],
    ]
    _, called, told, _ = say_in_tags(read({"messages": turns}), Known())
    assert called["content"].startswith("Let me see.\n<tool_call>\n")
    assert called["content"].count("<tool_call>") == 2
    assert told["content"] == (
        '<tool_response>\n{"name": "weather", "content": '
        '"dry"}\n</tool_response>\n<tool_response>\nnoon\n</tool_response>'
    )


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"completion": "hi"}, "here has no `prompt`; it has `completion`"),
        ({}, "here has no `prompt`; it has nothing"),
        ({"prompt": "Say hi"}, "here has a `prompt` and no `completion`"),
        ({"prompt": "Say hi", "completion": None}, "here has a `prompt` and no `completion`"),
        ({"prompt": 7, "completion": "hi"}, "the `prompt` of here is not a string, it is 7"),
        ({"prompt": 0, "completion": "hi"}, "the `prompt` of here is not a string, it is 0"),
        (
            {"prompt": False, "completion": "hi"},
            "the `prompt` of here is not a string, it is false",
        ),
        (
            {"prompt": "Say hi", "completion": 0},
            "the `completion` of here is not a string, it is 0",
        ),
        ({"instruction": "Say hi"}, "here has no `output`"),
        (
            {"instruction": "Say hi", "input": 4, "output": "hi"},
            "the `input` of here is not a string, it is 4",
        ),
        (
            {"instruction": "Say hi", "input": 0, "output": "hi"},
            "the `input` of here is not a string, it is 0",
        ),
        (
            {"instruction": "Say hi", "input": [], "output": "hi"},
            "the `input` of here is not a string",
        ),
        (
            {"instruction": "Say hi", "output": "hi", "system": 0},
            "the `system` of here is not a string, it is 0",
        ),
        ({"instruction": "Say hi", "output": "hi", "history": 0}, "the `history` of here is 0"),
        (
            {"instruction": "Say hi", "output": "hi", "history": [["a"]]},
            r"the `history` of here has \[\"a\"\]",
        ),
        ({"messages": []}, "the `messages` of here is not a list of turns"),
        ({"messages": "Say hi"}, "the `messages` of here is not a list of turns"),
        ({"messages": ["Say hi"]}, "turn 1 of here is not an object"),
        (
            {"messages": [USER, {"role": "narrator", "content": "b"}]},
            "turn 2 of here is 'narrator': it must be one of",
        ),
        ({"messages": [{"role": "user"}]}, "turn 1 of here has no `content`"),
        (
            {"messages": [USER | {"content": 0}]},
            "the `content` of turn 1 of here is not a string, it is 0",
        ),
        (
            {"messages": [USER | {"content": [{"type": "image_url"}]}]},
            "only parts of type text are read",
        ),
        (
            {"messages": [USER, ANSWER | {"weight": 0.5}]},
            "the `weight` of turn 2 of here is 0.5: it is 0 or 1",
        ),
        (
            {"messages": [USER, ANSWER | {"weight": 1, "train": False}]},
            "turn 2 of here has two marks",
        ),
        (
            {"messages": [USER | {"train": True}, ANSWER]},
            "turn 1 of here is the user's and is marked to be trained",
        ),
        (
            {"messages": [USER | {"name": "Ann"}, ANSWER]},
            'turn 1 of here has the `name` "Ann", which the chat template',
        ),
        (
            {"messages": [USER | {"tool_calls": [{"function": CALL}]}, ANSWER]},
            "only the assistant calls tools",
        ),
        (
            {"messages": [USER, ANSWER | {"tool_calls": ["weather"]}]},
            "a call in the `tool_calls` of turn 2",
        ),
        ({"messages": EXPECTED, "tools": 0}, "the `tools` of here are 0"),
        (
            {"messages": EXPECTED, "prompt": "Say no"},
            "the `prompt` of here is not what its `messages` begin with",
        ),
        (
            {"messages": [{"role": "system", "content": "a"}, *EXPECTED], "system": "b"},
            "turns that begin with another",
        ),
    ],
)
def test_a_row_of_another_shape_is_named_by_its_field(row: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read(row)


@pytest.mark.parametrize(
    ("row", "key", "near"),
    [
        ({"messages": EXPECTED, "systm": "Be kind."}, "systm", "system"),
        ({"messages": [USER, ANSWER | {"wieght": 0}]}, "wieght", "weight"),
        ({"messages": [USER, ANSWER | {"audio": {"id": "1"}}]}, "audio", None),
        ({"messages": [USER, ANSWER | {"train_detail": []}]}, "train_detail", "training"),
        ({"messages": EXPECTED, "functions": [TOOL]}, "functions", None),
        ({"prompt": "a", "completion": "b", "answer": "c"}, "answer", None),
        ({"prompt": "a", "completion": "b", "weight": 0}, "weight", None),
        ({"prompt": "a", "completion": "b", "label": 0}, "label", None),
        ({"instruction": "a", "output": "b", "text": "c"}, "text", None),
    ],
)
def test_a_key_that_nothing_reads_is_an_error_unless_it_is_named(
    row: dict[str, Any], key: str, near: str | None
) -> None:
    with pytest.raises(UserError) as error:
        read(row)
    assert f"has the key `{key}`, which is not read" in str(error.value)
    assert f"ignore_keys={key}" in str(error.value)
    assert (f"perhaps you meant `{near}`" in str(error.value)) == (near is not None)
    assert read(row, ignore_keys=f"other, {key}")[-1]["role"] == "assistant"


def test_a_key_that_is_named_is_left_unread_though_it_could_be() -> None:
    assert read({"system": "Be kind.", "messages": EXPECTED}, ignore_keys="system") == EXPECTED


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": [USER]}, "no turn of the assistant's"),
        ({"messages": [*EXPECTED, USER]}, "the last turn is the user's"),
        ({"messages": [USER, ANSWER | {"weight": 0}]}, "no turn that is to be trained"),
        ({"prompt": "Say hi", "completion": " \n"}, "an empty answer"),
        ({"messages": [USER, ANSWER | {"content": ""}, USER, ANSWER]}, "an empty answer"),
        (
            {"conversations": [*human("a", "b"), *human("c", "d")[::-1]]},
            "turns that do not alternate, the user's first",
        ),
        (
            {"conversations": human("a", "b", "c")[1:]},
            "turns that do not alternate, the user's first",
        ),
    ],
)
def test_a_row_that_cannot_be_learnt_from_has_a_reason(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unusable, match=reason):
        read(row)


def test_two_turns_of_one_side_in_a_row_are_kept_as_they_stand() -> None:
    """OpenAI's format forbids it nowhere, and the template can say it."""
    turns = [USER, USER | {"content": "Now."}, ANSWER, ANSWER]
    assert read({"messages": turns}) == turns


def test_an_empty_prompt_is_a_prompt() -> None:
    assert read({"prompt": "", "completion": "hi"}) == [{"role": "user", "content": ""}, ANSWER]
