"""The memory of `fledge chat memory=FILE`: what a conversation is given of it, and what a person
asks of it by commands.
"""

from __future__ import annotations

from typing import cast

from fledge.errors import UserError
from fledge.prompting.remembering import Remembering
from fledge.retrieval.store import MemoryStore
from fledge.rows.turns import Conversation
from fledge.text.chat import render
from fledge.text.tokenizer import Tokenizer
from fledge.text.tool_calls import ToolCallReader, choose_form, state_form
from fledge.tools.memory_tools import make_memory_tools, write_memories

SOURCE = "chat"
COUNT = 5  # memories that /recall shows


class ChatMemory:
    """tools: whether the model is told of tools that search and write the memory itself."""

    def __init__(self, store: MemoryStore, shown: int, tools: bool, tokenizer: Tokenizer) -> None:
        self.store, self.shown = store, shown
        self.form = choose_form(tokenizer) if tools else None
        self._tools = make_memory_tools(store, SOURCE, lambda memories: None) if tools else []

    def check_room(self, tokenizer: Tokenizer, context: int) -> None:
        """Raises UserError where being told of the tools takes more than half of the context."""
        told = self.tell_tools([{"role": "user", "content": "?"}])
        taken = len(render(tokenizer, told, reply=True)[0])
        if self.form is not None and 2 * taken > context:
            raise UserError(
                f"the memory's tools take {taken} tokens to be told of, and the context has "
                f"{context}: give memory_tools=false, or a model with a longer context."
            )

    def begin(self) -> Remembering:
        """For one answer."""
        return Remembering(self.store, self.shown, SOURCE)

    def tell_tools(self, turns: Conversation) -> Conversation:
        """The conversation in which the model knows of its tools."""
        if self.form is None:
            return turns
        told = [dict(turn) for turn in state_form(turns, self.form)]
        told[0]["tools"] = [tool.describe() for tool in self._tools]
        return cast("Conversation", told)

    def make_reader(self) -> ToolCallReader | None:
        """Of the calls in one answer; None where there are no tools."""
        if self.form is None:
            return None
        return ToolCallReader(self.form, [tool.name for tool in self._tools])

    def obey(self, name: str, rest: str) -> str:
        """What /remember, /recall and /forget come to. Raises UserError."""
        if not rest and name != "/recall":
            raise UserError(f"{name} needs {'a text' if name == '/remember' else 'a number'}.")
        if name == "/remember":
            return f"(remembered as [{self.store.add(rest, 'you')}])"
        if name == "/recall":
            some = self.store.search(rest, COUNT) if rest else self.store.list_newest(COUNT)
            return write_memories(some) or "(nothing is remembered about that)"
        try:
            number = int(rest.strip("[]"))
        except ValueError:
            raise UserError(f"/forget {rest} was given: give the number of a memory.") from None
        return f"(forgotten: {self.store.forget(number).text})"


def write_sources(remembering: Remembering) -> list[str]:
    """What an answer stands on, a line each, for a person."""
    lines = [f"({name} {arguments}: {result})" for name, arguments, result in remembering.calls]
    if remembering.sources:
        lines += ["(from memory:", *write_memories(remembering.sources).splitlines()]
        lines[-1] += ")"
    return lines
