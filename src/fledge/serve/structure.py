"""From a body in OpenAI's form, and in vLLM's, to what its answers may say: response_format, tools
with tool_choice, structured_outputs and guided_*.

https://platform.openai.com/docs/guides/structured-outputs and
https://docs.vllm.ai/en/latest/features/structured_outputs.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fledge.engine.constraint import Constraint
from fledge.engine.patterns import write_text
from fledge.engine.structures import choice, grammar, json_object, json_schema, regex, write_json
from fledge.engine.vocabulary import Vocabulary, vocabulary_of
from fledge.errors import UserError
from fledge.text.tokenizer import Tokenizer
from fledge.text.tool_calls import ToolForm, choose_form

KINDS = ("json", "json_object", "regex", "choice", "grammar")
ANY = "(?s:.*)"


def build_constraint(
    body: Mapping[str, Any], tokenizer: Tokenizer, stop: frozenset[int]
) -> Constraint | None:
    """None where an answer may say anything. Raises UserError for what is not understood, what
    contradicts itself, and what no answer can meet.
    """
    given = _list_given(body)
    if len(given) > 1:
        names = " and ".join(f"`{name}`" for name, _, _ in given)
        raise UserError(f"{names} were given: choose one of them.")
    kind: str | None = None
    value: Any = None
    if given:
        _, kind, value = given[0]
    tools = _read_tools(body)
    if tools is None and kind is None:
        return None
    vocabulary = vocabulary_of(tokenizer)
    _check_stop(stop - tokenizer.ends, vocabulary)
    if tools is not None:
        return _build_of_tools(tools, kind, value, tokenizer, stop)
    match kind:
        case "json_object":
            return json_object(vocabulary, stop)
        case "json":
            return json_schema(value, vocabulary, stop)
        case "regex":
            return regex(value, vocabulary, stop)
        case "choice":
            return choice(value, vocabulary, stop)
        case _:
            return grammar(value, vocabulary, stop)


def _check_stop(more: frozenset[int], vocabulary: Vocabulary) -> None:
    """Each such set would take a vocabulary of its own, of tens of megabytes."""
    if spelled := [token for token in sorted(more) if vocabulary.tokens[token]]:
        raise UserError(
            f"`stop_token_ids` has {spelled[0]}, a token of text, beside a structure that may need "
            "it: give `stop` texts, or leave one of them out."
        )


def list_tool_names(body: Mapping[str, Any]) -> list[str]:
    """The tools that an answer may call: none under tool_choice "none". Raises UserError as
    `build_constraint` does.
    """
    tools = _read_tools(body)
    return [] if tools is None else [name for name, _ in tools.called]


def _list_given(body: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    """(field, kind, value) of each that asks for structure."""
    given: list[tuple[str, str, Any]] = []
    for field in ("response_format", "text"):  # the second is that of the responses API
        form = body.get(field)
        if field == "text" and isinstance(form, Mapping):
            form = form.get("format")
        if form is not None and (read := _read_format(form, field)) is not None:
            given.append((field, *read))
    wanted = body.get("structured_outputs") or {}
    if not isinstance(wanted, Mapping) or not set(wanted) <= set(KINDS):
        raise UserError(
            f"`structured_outputs` is {str(wanted)[:80]}: give one of {', '.join(KINDS)}."
        )
    for kind in KINDS:
        for field, value in (
            (f"structured_outputs.{kind}", wanted.get(kind)),
            (f"guided_{kind}", body.get(f"guided_{kind}")),
        ):
            if value is not None and not (kind == "json_object" and value is False):
                given.append((field, kind, _check_value(field, kind, value)))
    return given


def _read_format(form: Any, field: str) -> tuple[str, Any] | None:
    """(kind, value) of a response_format; None of plain text."""
    kind = form.get("type") if isinstance(form, Mapping) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return kind, True
    if kind != "json_schema":
        raise UserError(
            f"the type of `{field}` is {str(kind)[:40]!r}: it is text, json_object or json_schema."
        )
    # The responses API has the schema beside its name, the chat API one level below.
    holder = form.get("json_schema", form)
    schema = holder.get("schema") if isinstance(holder, Mapping) else None
    if not isinstance(schema, Mapping | bool):
        raise UserError(
            f"`{field}` has no schema: give "
            '{"type": "json_schema", "json_schema": {"name": "…", "schema": {…}}}.'
        )
    return "json", schema


def _check_value(field: str, kind: str, value: Any) -> Any:
    if kind == "json" and isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise UserError(f"`{field}` is no JSON ({error}): give a JSON schema.") from None
    wanted = {
        "json": (Mapping | bool, "a JSON schema"),
        "json_object": (bool, "true"),
        "regex": (str, "a regular expression"),
        "choice": (list, "a list of texts"),
        "grammar": (str, "a grammar in Lark's syntax"),
    }[kind]
    texts = kind != "choice" or (
        isinstance(value, list) and all(isinstance(each, str) for each in value)
    )
    if not isinstance(value, wanted[0]) or not texts:
        raise UserError(f"`{field}` is {str(value)[:60]!r}: give {wanted[1]}.")
    return value


class _Tools:
    """called: (name, JSON schema of the arguments) of those that an answer may call."""

    def __init__(
        self, called: Sequence[tuple[str, Mapping[str, Any]]], must: bool, several: bool
    ) -> None:
        self.called, self.must, self.several = called, must, several


def _read_tools(body: Mapping[str, Any]) -> _Tools | None:
    """None where none may be called. Raises UserError."""
    listed = [_read_tool(tool, i) for i, tool in enumerate(body.get("tools") or ())]
    names = [name for name, _ in listed]
    if len(set(names)) < len(names):
        raise UserError("two of the `tools` have one name: give each its own.")
    chosen = body.get("tool_choice")
    if chosen is None:
        chosen = "auto" if listed else "none"
    several = body.get("parallel_tool_calls") is not False
    if chosen == "none":
        return None
    if not listed:
        raise UserError("`tool_choice` was given without `tools`: give the tools too.")
    if chosen in ("auto", "required"):
        return _Tools(listed, chosen == "required", several)
    if isinstance(chosen, Mapping) and chosen.get("type") == "function":
        holder = chosen.get("function", chosen)  # the responses API has the name beside the type
        name = holder.get("name") if isinstance(holder, Mapping) else None
        if name not in names:
            raise UserError(
                f"`tool_choice` names {str(name)[:60]!r}, which is none of the tools "
                f"{', '.join(names)[:200]}."
            )
        return _Tools([listed[names.index(name)]], True, False)
    raise UserError(
        f"`tool_choice` is {str(chosen)[:60]!r}: it is auto, none, required or "
        '{"type": "function", "function": {"name": "…"}}.'
    )


def _read_tool(tool: Any, place: int) -> tuple[str, Mapping[str, Any]]:
    kind = tool.get("type") if isinstance(tool, Mapping) else None
    function = tool.get("function", tool) if isinstance(tool, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if kind != "function" or not isinstance(name, str) or not name or function is None:
        raise UserError(
            f"tools[{place}] is no function with a name: give "
            '{"type": "function", "function": {"name": "…", "parameters": {…}}}.'
        )
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    if not isinstance(schema, Mapping):
        raise UserError(f"the `parameters` of tools[{place}] are no JSON schema.")
    return name, schema


def _build_of_tools(
    tools: _Tools, kind: str | None, value: Any, tokenizer: Tokenizer, stop: frozenset[int]
) -> Constraint:
    """Calls, and, unless they are asked for, text: any, or JSON where that was asked for."""
    if kind not in (None, "json", "json_object"):
        raise UserError(
            f"tools were given with a {kind}: an answer that may call them is text or JSON. Give "
            '`tool_choice` "none", or leave one of them out.'
        )
    form = choose_form(tokenizer)
    special = {name: number for number, name in vocabulary_of(tokenizer).names.items()}
    opening = _write_literal(form.marker, special)
    rules = [_write_calls(tools, form, special)]
    if tools.must:
        rules.append(f"start: {opening} calls")
    elif kind is not None:
        schema = value if kind == "json" else {"type": "object"}
        rules += [f"start: content | {opening} calls", f"content: {write_json(schema)}"]
    elif not form.marker:
        rules += ["start: TEXT | calls", f"TEXT: /([^{{]{ANY})?/"]
    elif form.marker in special:
        rules += [f"start: TEXT ({opening} calls)?", f"TEXT: /{ANY}/"]
    else:
        marker = write_text(form.marker)
        rules.append(f"start: TEXT | opening calls\nopening[lazy]: /{ANY}{marker}/")
        rules.append(f"TEXT: /{ANY}/ & ~/{ANY}{marker}{ANY}/")
    return Constraint("\n".join(rules), vocabulary_of(tokenizer), stop, "the list of tools")


def _write_calls(tools: _Tools, form: ToolForm, special: Mapping[str, int]) -> str:
    """The rule `calls`: all that stands behind the marker."""
    head, join, tail = (_write_literal(text, special) for text in (form.head, form.join, form.tail))
    more = f"({join} call)*" if tools.several else ""
    rules = [f"calls: {head} call {more} {tail}"]
    rules.append("call: " + " | ".join(f"call_{i}" for i in range(len(tools.called))))
    between = _write_literal(form.between, special)
    if form.between and "[CALL_ID]" in special:
        between = f"(<[{special['[CALL_ID]']}]> CALL_ID)? {between}"
        rules.append("CALL_ID: /[a-zA-Z0-9]{9}/")
    for i, (name, schema) in enumerate(tools.called):
        said = json.dumps(name, ensure_ascii=False)
        if form.between:
            rules.append(f"call_{i}: {_quote(name)} {between} arguments_{i}")
        else:
            before = _quote(f'{{"name": {said}, "{form.arguments}": ')
            rules.append(f'call_{i}: {before} arguments_{i} "}}"')
        rules.append(f"arguments_{i}: {write_json(schema)}")
    return "\n".join(rules)


def _write_literal(text: str, special: Mapping[str, int]) -> str:
    """A text as grammar: its special tokens by their numbers, all else as it stands."""
    parts: list[str] = []
    while text:
        places = [(text.find(name), -len(name), name) for name in special if name in text]
        at, _, name = min(places, default=(len(text), 0, ""))
        if at:
            parts.append(_quote(text[:at]))
        if name:
            parts.append(f"<[{special[name]}]>")
        text = text[at + len(name) :]
    return " ".join(parts)


def _quote(text: str) -> str:
    """A string of Lark's."""
    return json.dumps(text, ensure_ascii=False)
