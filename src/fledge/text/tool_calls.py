"""Calls of tools, as models of several families write them: which form a chat template speaks, and
how calls are read out of an answer, whole or as it comes.

Hermes and Qwen (also the form for templates that know no tools), Mistral, Mistral since version 11
of its tokenizer (an id may stand before the arguments, behind [CALL_ID]), and Llama 3:

    <tool_call>\\n{"name": ..., "arguments": {...}}\\n</tool_call>
    [TOOL_CALLS][{"name": ..., "arguments": {...}}, ...]
    [TOOL_CALLS]name[ARGS]{...}[TOOL_CALLS]...
    {"name": ..., "parameters": {...}}
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fledge.text.foreign import ForeignTokenizer
from fledge.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class ToolForm:
    """Calls are marker, head, call (join, call)*, tail; a call is a JSON object, or its name,
    `between`, and the object of its arguments.
    """

    marker: str  # with which calls begin, and nothing else; "" where nothing announces them
    head: str
    join: str
    tail: str
    arguments: str  # what the object calls them
    stated: bool = False  # by us, in the system's turn: the template has no words for tools
    between: str = ""
    hidden: bool = False  # these words are special tokens, which an answer's text is without


HERMES = ToolForm(
    "<tool_call>", "\n", "\n</tool_call>\n<tool_call>\n", "\n</tool_call>", "arguments"
)
STATED = replace(HERMES, stated=True)
MISTRAL = ToolForm("[TOOL_CALLS]", "[", ", ", "]", "arguments")
MISTRAL_NAMED = ToolForm("[TOOL_CALLS]", "", "[TOOL_CALLS]", "", "", between="[ARGS]")
LLAMA = ToolForm("", "", "; ", "", "parameters")

STATEMENT = (
    "You may call the tools that are listed in <tools>. To call one, answer with\n"
    "<tool_call>\n"
    '{"name": "the tool\'s name", "arguments": {"its": "arguments"}}\n'
    "</tool_call>"
)


def choose_form(tokenizer: Tokenizer) -> ToolForm:
    """The form that the chat template of a conversation with tools speaks."""
    if not isinstance(tokenizer, ForeignTokenizer):
        return STATED
    source, templates = "", tokenizer.chat.templates
    for name in ("default", "tool_use"):
        source = templates[name].source if name in templates else source
    if re.search(r"\btools\b", source) is None:
        form = STATED
    elif "[TOOL_CALLS]" in source:
        form = MISTRAL_NAMED if "[ARGS]" in source else MISTRAL
    elif "<tool_call>" not in source and re.search(r"""["']parameters["']|python_tag""", source):
        form = LLAMA
    else:
        form = HERMES
    return replace(form, hidden=form.marker in tokenizer.special_tokens)


def state_form(messages: Sequence[Mapping[str, Any]], form: ToolForm) -> list[Mapping[str, Any]]:
    """The conversation in which the system says how tools are called, where the template does
    not."""
    turns = list(messages)
    if not form.stated:
        return turns
    if turns and turns[0].get("role") == "system":
        said = "\n\n".join(part for part in (turns[0].get("content"), STATEMENT) if part)
        return [{**turns[0], "content": said}, *turns[1:]]
    return [{"role": "system", "content": STATEMENT}, *turns]


@dataclass(frozen=True)
class ToolCall:
    name: str
    arguments: str  # JSON
    # Mistral's templates take no id but one of nine letters and digits.
    id: str = field(default_factory=lambda: secrets.token_hex(5)[:9])

    def to_dict(self) -> dict[str, Any]:
        """In OpenAI's form."""
        function = {"name": self.name, "arguments": self.arguments}
        return {"id": self.id, "type": "function", "function": function}


class ToolCallReader:
    """Of an answer that comes piece by piece: `take` each piece, then `end`. What is told never has
    to be taken back.
    """

    def __init__(self, form: ToolForm, names: Collection[str]) -> None:
        self.form, self.names = form, frozenset(names)
        self.count = 0  # of the calls read
        self._held = ""  # heard, and neither said nor read yet
        self._calling = False
        self._said = ""
        longest_first = sorted(map(re.escape, names), key=len, reverse=True)
        self._named = re.compile(
            rf"({'|'.join(longest_first)})"
            r"(?:\[CALL_ID\])?(?:[a-zA-Z0-9]{9})?(?:\[ARGS\])?\s*(?=\{)"
        )

    def take(self, piece: str) -> tuple[str, list[ToolCall]]:
        """The text that is certain to be none of a call, and the calls that are complete."""
        self._held += piece
        content = "" if self._calling else self._listen()
        return content, self._read_calls() if self._calling else []

    def end(self) -> tuple[str, list[ToolCall]]:
        """What was held, as text: of a call that was cut off, too."""
        calls = self._read_calls() if self._calling else []
        left, self._held = self._held, ""
        if self.count and not self._strip_separators(left):
            return "", calls
        return left, calls

    def _listen(self) -> str:
        """Text up to where calls begin, or may begin."""
        marker = self.form.marker
        if not self._said and (self.form.hidden or not marker):
            opening = self._held.lstrip()
            begun = bool(marker) and marker.startswith(opening[: len(marker)])
            if not begun and self._opens_call(opening):
                self._calling = True
                return ""
            if self.form.between and self._may_open_call(opening):
                return ""
        place = self._held.find(marker) if marker else -1
        if place >= 0:
            keep, self._calling = len(self._held[:place].rstrip()), True
        else:
            keep = _count_begun(self._held, marker)
        content, self._held = self._held[:keep], self._held[keep:]
        self._said += content
        return content

    def _opens_call(self, opening: str) -> bool:
        """Whether a call that no marker announces begins here."""
        if self.form.between:
            return self._named.match(opening) is not None
        return opening.startswith(("{", "["))

    def _may_open_call(self, opening: str) -> bool:
        """Whether what has come so far may be the beginning of a name and an id."""
        return any(
            name.startswith(opening)
            or (opening.startswith(name) and re.fullmatch(r"[a-zA-Z0-9]{0,9}\s*", rest) is not None)
            for name in self.names
            for rest in (opening[len(name) :],)
        )

    def _read_calls(self) -> list[ToolCall]:
        calls: list[ToolCall] = []
        while True:
            left = self._strip_separators(self._held)
            begin, name = 0, None
            if self.form.between:
                named = self._named.match(left)
                if named is None:
                    return calls
                begin, name = named.end(), named[1]
            try:
                value, end = json.JSONDecoder().raw_decode(left, begin)
            except (ValueError, RecursionError):
                return calls
            call = self._read_call(value if name is None else {"name": name, "arguments": value})
            if call is None:
                return calls
            calls.append(call)
            self.count += 1
            self._held = left[end:]

    def _strip_separators(self, text: str) -> str:
        """From the next call on."""
        form = self.form
        words = {form.marker, *form.join.split(), *form.tail.split()} - {""}
        signs = "".join(re.escape(word) + "|" for word in words)
        return re.sub(rf"^(?:{signs}[\s\[\],;])+", "", text)

    def _read_call(self, value: Any) -> ToolCall | None:
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            return None
        given = next((value[key] for key in ("arguments", "parameters") if key in value), {})
        if value["name"] not in self.names or not isinstance(given, dict):
            return None
        return ToolCall(value["name"], json.dumps(given, ensure_ascii=False))


def _count_begun(text: str, marker: str) -> int:
    """How much comes before what may be the beginning of a marker, and white space ahead of it."""
    for size in range(min(len(marker) - 1, len(text)), 0, -1):
        if text.endswith(marker[:size]):
            return len(text[:-size].rstrip())
    return len(text.rstrip()) if marker else len(text)
