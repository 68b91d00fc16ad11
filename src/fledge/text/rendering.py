"""One conversation in the chat template of somebody else's model: guarded once, and written up to
any of its messages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fledge.errors import UserError
from fledge.rows.tools import Tools
from fledge.text.special_text import SpecialText, Spellings, choose_private
from fledge.text.templates import Template

Messages = Sequence[Mapping[str, Any]]

_SAID = ("content", "text", "reasoning_content", "reasoning", "thinking")
"""Keys whose texts a template puts side by side with others: their edges are guarded as well."""
_REASONING = ("reasoning_content", "thinking", "reasoning")
_ROLE = re.compile(r"[\w.-]{1,64}")


class Rendering:
    """What the template writes, with the guards of what people said in it."""

    def __init__(
        self,
        template: Template,
        words: Mapping[str, Any],
        spellings: Spellings,
        messages: Messages,
        tools: Tools,
    ) -> None:
        """words: bos_token, eos_token, … as the template knows them."""
        prepared = prepare_messages(messages)
        self.template, self.words, self.spellings = template, words, spellings
        self._guard, *marks = choose_private(
            3, [*_list_texts([prepared, list(tools or ())]), template.source]
        )
        self._marks = marks[0], marks[1]
        self.messages = [self._protect(message, "") for message in prepared]
        self._tools = None if tools is None else [self._protect(tool, "") for tool in tools]

    def write(self, count: int, reply: bool) -> SpecialText:
        """The first `count` messages; with `reply`, what waits for the assistant after them."""
        text = fill(self.template, self.words, self.messages[:count], reply, self._tools)
        return SpecialText(text, self._guard, self.spellings)

    def list_marked(self, count: int, reply: bool) -> tuple[list[tuple[int, int]], str]:
        """What {% generation %} encloses in the first `count` messages, as spans of the guarded
        text; and that text.
        """
        if not count:
            return [], ""
        before, after = self._marks
        messages = self.messages[:count]
        text = fill(self.template, self.words, messages, reply, self._tools, self._marks)
        spans, length, start = [], 0, 0
        for piece in re.split(f"([{before}{after}])", text):
            if piece == before:
                start = length
            elif piece == after:
                spans.append((start, length))
            else:
                length += len(piece)
        return spans, re.sub(f"[{before}{after}]", "", text)

    def _protect(self, value: Any, key: str) -> Any:
        if isinstance(value, str):
            return self.spellings.guard(value, self._guard, edges=key in _SAID)
        if isinstance(value, Mapping):
            return {
                self._protect(name, ""): self._protect(item, name) for name, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self._protect(item, key) for item in value]
        return value


def fill(
    template: Template,
    words: Mapping[str, Any],
    messages: Sequence[Any],
    reply: bool,
    tools: Any,
    marks: tuple[str, str] = ("", ""),
    **more: Any,
) -> str:
    """The text of a template with the variables that it expects."""
    variables = {
        "messages": messages, "tools": tools, "documents": None,
        "add_generation_prompt": reply, **words, **more,
    }  # fmt: skip
    return template.render(variables, marks)


def prepare_messages(messages: Messages) -> list[dict[str, Any]]:
    """As `transformers` gives them to a template: without fields that are None, and what was
    thought under each of its names. Raises UserError for a role that is no word.
    """
    prepared: list[dict[str, Any]] = []
    for message in messages:
        role = message.get("role")
        if not isinstance(role, str) or not _ROLE.fullmatch(role):
            raise UserError(
                f"the role of a message is {role!r}: it is one word, such as user or assistant."
            )
        said = {
            name: value for name, value in message.items() if value is not None and name != "train"
        }
        thought = next((said[name] for name in _REASONING if name in said), None)
        if thought is not None:
            said = {"thinking": thought, **said, "reasoning_content": thought}
        prepared.append(said)
    return prepared


def _list_texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for pair in value.items() for part in pair for text in _list_texts(part)]
    if isinstance(value, list | tuple):
        return [text for item in value for text in _list_texts(item)]
    return []
