"""What a body asks for is what its answers may say; `re`, `json` and `jsonschema` say whether."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import jsonschema
import numpy as np
import pytest

from fledge.engine.constraint import Constraint
from fledge.errors import UserError
from fledge.serve.structure import build_constraint, list_tool_names
from fledge.text.tokenizer import Tokenizer, load_tokenizer, train_tokenizer
from fledge.text.tool_calls import (
    HERMES,
    LLAMA,
    MISTRAL,
    MISTRAL_NAMED,
    STATED,
    choose_form,
)
from tests.text.foreign_kinds import byte_level, write
from tests.text.test_tool_calls import read_whole

OURS = train_tokenizer("bytes", ["a"], 262)
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"$ref": "#/$defs/city"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
            "additionalProperties": False,
            "$defs": {"city": {"enum": ["Bern", "Köln"]}},
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 6},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
STYLES = {
    "hermes": (HERMES, "{% if tools %}<tool_call>{% endif %}", []),
    "mistral": (MISTRAL, "{% if tools %}[TOOL_CALLS]{% endif %}", ["[TOOL_CALLS]"]),
    "mistral 11": (
        MISTRAL_NAMED,
        "{% if tools %}[TOOL_CALLS]x[CALL_ID]y[ARGS]{}{% endif %}",
        ["[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"],
    ),
    "llama": (LLAMA, '{% if tools %}{"name": "x", "parameters": {}}{% endif %}', []),
    "none": (STATED, "{{ messages[0].content }}", []),
}


@pytest.fixture(scope="module", params=STYLES)
def tokenizer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Tokenizer:
    _, template, special = STYLES[request.param]
    folder = write(
        tmp_path_factory.mktemp(request.param), byte_level(["<|endoftext|>", *special]),
        eos_token="<|endoftext|>", chat_template=template,
    )  # fmt: skip
    return load_tokenizer(folder)


def build(body: dict[str, Any], tokenizer: Tokenizer = OURS) -> Constraint:
    constraint = build_constraint(body, tokenizer, tokenizer.ends)
    assert constraint is not None
    return constraint


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    """With the tokens that a template would write."""
    special = getattr(tokenizer, "special_tokens", {})
    ids: list[int] = []
    for part in re.split("(" + "|".join(map(re.escape, special or ["\0"])) + ")", text):
        if part in special:
            ids.append(special[part])
        elif part:
            ids += tokenizer.encode(part)
    return ids


def allows(constraint: Constraint, tokenizer: Tokenizer, text: str) -> bool:
    matcher = constraint.start()
    for token in encode(tokenizer, text):
        if not matcher.allowed()[token]:
            return False
        matcher.take(token)
    return matcher.accepts()


def say(constraint: Constraint, tokenizer: Tokenizer, seed: int, most: int = 400) -> str | None:
    """An answer drawn by chance from what is allowed; None of one that is not done by then."""
    rng, matcher, said = np.random.default_rng(seed), constraint.start(), []
    for _ in range(most):
        allowed = matcher.allowed().numpy().nonzero()[0]
        ends = [token for token in allowed if token in constraint.stop]
        token = int(ends[0] if ends else rng.choice(allowed))
        if token in constraint.stop:
            words = vars(tokenizer).get("special_tokens", {})
            special = {number: name for name, number in words.items()}
            return b"".join(
                special[one].encode() if one in special else tokenizer.decode_bytes([one])
                for one in said
            ).decode()
        said.append(token)
        matcher.take(token)
    return None


# What is sampled conforms


@pytest.mark.parametrize(
    "body",
    [
        {"response_format": {"type": "json_schema", "json_schema": {"schema": PERSON}}},
        {"text": {"format": {"type": "json_schema", "name": "p", "schema": PERSON}}},
        {"guided_json": PERSON},
        {"guided_json": json.dumps(PERSON)},
        {"structured_outputs": {"json": PERSON}},
    ],
)  # fmt: skip
def test_json_of_a_schema_is_valid_by_jsonschema(body: dict[str, Any]) -> None:
    constraint = build(body)
    done = [text for seed in range(40) if (text := say(constraint, OURS, seed))]
    assert len(done) > 20
    for text in done:
        jsonschema.validate(json.loads(text), PERSON)


@pytest.mark.parametrize(
    "body", [{"guided_regex": r"\d{3}-[a-f]+"}, {"structured_outputs": {"regex": r"\d{3}-[a-f]+"}}]
)
def test_a_pattern_is_matched_whole(body: dict[str, Any]) -> None:
    for seed in range(20):
        text = say(build(body), OURS, seed)
        assert text is not None
        assert re.fullmatch(r"\d{3}-[a-f]+", text, re.ASCII)


def test_choices_objects_and_grammars() -> None:
    for body in (
        {"guided_choice": ["ja", "nein"]},
        {"structured_outputs": {"choice": ["ja", "nein"]}},
    ):
        assert {say(build(body), OURS, seed) for seed in range(20)} == {"ja", "nein"}
    lark = 'start: "(" start ")" | "x"'
    for body in ({"guided_grammar": lark}, {"structured_outputs": {"grammar": lark}}):
        for seed in range(20):
            text = say(build(body), OURS, seed)
            if text is not None:
                depth = text.count("(")
                assert text == "(" * depth + "x" + ")" * depth
    for body in (
        {"response_format": {"type": "json_object"}},
        {"structured_outputs": {"json_object": True}},
    ):
        constraint = build(body)
        assert allows(constraint, OURS, '{"a": [1, {"b": null}],\n  "ü": "x\\n"}')
        assert not allows(constraint, OURS, "[1]")
        assert not allows(constraint, OURS, '{"a": 1')


def test_white_space_ends() -> None:
    """A model that is unsure would go on with it for ever."""
    constraint = build({"response_format": {"type": "json_object"}})
    assert allows(constraint, OURS, '{\n    "a":  1}')
    assert not allows(constraint, OURS, "{" + " " * 200 + "}")


@pytest.mark.parametrize(
    "body",
    [
        {}, {"response_format": {"type": "text"}}, {"response_format": None}, {"tools": []},
        {"tools": [WEATHER], "tool_choice": "none"}, {"structured_outputs": {}},
        {"structured_outputs": {"json_object": False}}, {"tool_choice": "none"},
        {"text": {"format": {"type": "text"}}}, {"text": {}},
    ],
)  # fmt: skip
def test_what_asks_for_nothing_bounds_nothing(body: dict[str, Any]) -> None:
    assert build_constraint(body, OURS, OURS.ends) is None


# Tools


def call(style: str, name: str, arguments: str) -> str:
    if style == "mistral 11":
        return f"{name}[ARGS]{arguments}"
    key = "parameters" if style == "llama" else "arguments"
    return f'{{"name": "{name}", "{key}": {arguments}}}'


WRITTEN = {
    "hermes": "<tool_call>\n{}\n</tool_call>",
    "none": "<tool_call>\n{}\n</tool_call>",
    "mistral": "[TOOL_CALLS][{}]",
    "mistral 11": "[TOOL_CALLS]{}",
    "llama": "{}",
}
JOINED = {
    "hermes": "\n</tool_call>\n<tool_call>\n", "none": "\n</tool_call>\n<tool_call>\n",
    "mistral": ", ", "mistral 11": "[TOOL_CALLS]", "llama": "; ",
}  # fmt: skip


@pytest.fixture
def style(tokenizer: Tokenizer) -> str:
    form = choose_form(tokenizer)
    return next(
        name for name, (known, _, _) in STYLES.items() if known == replace(form, hidden=False)
    )


def test_each_family_writes_its_own_form(tokenizer: Tokenizer, style: str) -> None:
    rain = call(style, "weather", '{"city": "Köln", "days": 2}')
    two = JOINED[style].join([rain, call(style, "clock", "{}")])
    required = build({"tools": [WEATHER, CLOCK], "tool_choice": "required"}, tokenizer)
    one = build(
        {"tools": [WEATHER, CLOCK], "tool_choice": "required", "parallel_tool_calls": False},
        tokenizer,
    )
    named = build(
        {
            "tools": [WEATHER, CLOCK],
            "tool_choice": {"type": "function", "function": {"name": "clock"}},
        },
        tokenizer,
    )
    auto = build({"tools": [WEATHER, CLOCK]}, tokenizer)
    wrong = call(style, "weather", '{"city": "Rome", "days": 2}')
    for said, by in (
        (rain, (True, True, False, True)),
        (two, (True, False, False, True)),
        (call(style, "clock", "{}"), (True, True, True, True)),
        (wrong, (False, False, False, False)),
        (call(style, "nothing", "{}"), (False, False, False, False)),
    ):
        text = WRITTEN[style].format(said)
        held = tuple(allows(each, tokenizer, text) for each in (required, one, named, auto))
        assert held == by, text
    for text in ("It rains.", "", "1 < 2, <b>\n<tool_cal"):
        assert allows(auto, tokenizer, text)
        assert not allows(required, tokenizer, text)
    if style != "llama":  # where nothing announces a call, text that has begun stays text
        assert allows(auto, tokenizer, "Let me see.\n" + WRITTEN[style].format(rain))
        assert not allows(auto, tokenizer, "Let me see.\n" + WRITTEN[style].format(wrong))


def test_drawn_calls_are_read_as_calls_whose_arguments_are_valid(
    tokenizer: Tokenizer, style: str
) -> None:
    body = {"tools": [WEATHER, CLOCK], "tool_choice": "required"}
    constraint, form = build(body, tokenizer), choose_form(tokenizer)
    names = list_tool_names(body)
    assert names == ["weather", "clock"]
    done = 0
    for seed in range(12):
        text = say(constraint, tokenizer, seed)
        if text is None:
            continue
        done += 1
        hidden = re.sub(r"\[[A-Z_]+\]", "", text) if form.hidden else text
        for heard in {text, hidden}:
            content, calls = read_whole(heard, form, names)
            assert content is None
            assert calls
            for each in calls:
                if each.name == "weather":
                    schema = WEATHER["function"]["parameters"]  # type: ignore[index]
                    jsonschema.validate(json.loads(each.arguments), schema)
    assert done


def test_an_answer_may_be_json_or_calls() -> None:
    both = build({"tools": [CLOCK], "guided_json": PERSON})
    assert allows(both, OURS, '{"name": "x", "age": 3}')
    assert allows(both, OURS, WRITTEN["none"].format(call("none", "clock", "{}")))
    assert not allows(both, OURS, "Hello")


# Errors


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"response_format": {"type": "yaml"}}, "text, json_object or json_schema"),
        ({"response_format": "json"}, "text, json_object or json_schema"),
        ({"response_format": {"type": "json_schema"}}, "has no schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}}, "no schema"),
        ({"guided_json": "{"}, "is no JSON"),
        ({"guided_json": {"type": "integer", "minimum": 5, "maximum": 3}}, "greater than maximum"),
        ({"guided_json": False}, "schema is false"),
        ({"guided_json": {"not": {"type": "string"}}}, r'Unimplemented keys: \["not"\]'),
        ({"guided_json": {"type": "array", "uniqueItems": True}}, "uniqueItems"),
        ({"guided_json": {"$ref": "#"}}, "no text of the JSON schema can be said"),
        ({"guided_json": {"$ref": "file:///etc/passwd"}}, "does not fetch"),
        ({"guided_json": {"$ref": "#/$defs/none"}}, "cannot be followed"),
        ({"guided_json": {"enum": [str(i) for i in range(50_000)]}}, "too large"),
        ({"guided_json": {"type": "string", "pattern": "(?=a)b"}}, "look-around"),
        ({"guided_regex": "("}, "does not parse"),
        ({"guided_regex": r"(a)\1"}, "backreference"),
        ({"guided_choice": []}, "empty list of choices"),
        ({"guided_choice": [1]}, "a list of texts"),
        ({"guided_grammar": "start"}, "the grammar cannot be followed"),
        ({"guided_grammar": "start: start"}, "no text of the grammar"),
        ({"guided_grammar": 'start: start "a"'}, "no text of the grammar"),
        ({"guided_grammar": "start: other"}, "the grammar cannot be followed"),
        ({"guided_grammar": "start: " + "(" * 5000 + '"a"' + ")" * 5000}, "nested too deeply"),
        ({"guided_grammar": "start: " + '"a" | ' * 60_000 + '"b"'}, "too large"),
        ({"guided_grammar": ""}, "the grammar cannot be followed"),
        ({"structured_outputs": {"yaml": 1}}, "give one of json"),
        ({"guided_regex": "a", "guided_choice": ["a"]}, "choose one of them"),
        ({"guided_regex": "a", "response_format": {"type": "json_object"}}, "choose one"),
        ({"tools": [CLOCK], "guided_regex": "a"}, "text or JSON"),
        ({"tools": [CLOCK, CLOCK]}, "one name"),
        ({"tools": [{"type": "function"}]}, "no function with a name"),
        ({"tools": [{"type": "web_search"}]}, "no function with a name"),
        ({"tools": ["clock"]}, "no function with a name"),
        ({"tools": [{"type": "function", "function": {"name": "a", "parameters": 3}}]}, "no JSON"),
        ({"tool_choice": "required"}, "without `tools`"),
        ({"tools": [CLOCK], "tool_choice": "maybe"}, "auto, none, required"),
        (
            {"tools": [CLOCK], "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "none of the tools clock",
        ),
    ],
)
def test_what_cannot_be_met_is_one_clear_sentence(body: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        build_constraint(body, OURS, OURS.ends)
    said = str(caught.value)
    assert said.endswith(".")
    assert "\n" not in said
    assert len(said) < 400


def test_stop_tokens_are_no_text() -> None:
    """Each set of others would have a vocabulary of its own, which a client could ask for."""
    letter = OURS.encode("a")[0]
    with pytest.raises(UserError, match="a token of text"):
        build_constraint({"guided_regex": "b"}, OURS, OURS.ends | {letter})
    assert build_constraint({}, OURS, OURS.ends | {letter}) is None
    assert build_constraint({"guided_regex": "b"}, OURS, OURS.ends | {0}) is not None


def test_deep_schemas_are_refused_without_a_crash() -> None:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(3000):
        schema = {"type": "array", "items": schema}
    with pytest.raises(UserError, match="too deeply"):
        build_constraint({"guided_json": schema}, OURS, OURS.ends)


def test_a_vocabulary_is_built_once() -> None:
    first = build({"guided_regex": "a"})
    assert build({"guided_regex": "b"}).vocabulary is first.vocabulary
