"""A memory in a conversation: what is looked up for a question and put before it, the tools that
the model may call, and what they come to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fledge.retrieval.memory import Memory
from fledge.retrieval.store import MemoryStore
from fledge.rows.tools import read_calls
from fledge.rows.turns import Conversation, Message
from fledge.text.tool_calls import ToolCall
from fledge.tools.memory_tools import make_memory_tools, write_memories
from fledge.tools.tool import Tool, call_tool

ROUNDS = 4  # of calls before an answer: a model that only calls is stopped
HEADING = "What you remember that may help:"


@dataclass
class Remembering:
    """Of one answer. shown: memories looked up for the question, 0 for none. source: what new ones
    are said to come from. sources: every memory that the model was shown, each once. calls: of its
    tools, with what each came to.
    """

    store: MemoryStore
    shown: int
    source: str
    sources: list[Memory] = field(default_factory=list)
    calls: list[tuple[str, str, str]] = field(default_factory=list)

    def put_before(self, question: str) -> str:
        """The question with what is remembered about it."""
        memories = self.store.search(question, self.shown) if self.shown else []
        if not memories:
            return question
        self.store.mark_used(memories)
        self._show(memories)
        return f"{HEADING}\n{write_memories(memories)}\n\n{question}"

    @property
    def tools(self) -> list[Tool]:
        return make_memory_tools(self.store, self.source, self._show)

    def answer_calls(self, said: str, calls: Sequence[ToolCall]) -> Conversation:
        """The turns that follow an answer with calls: it, and each call's result."""
        turns: Conversation = [write_called(said, calls)]
        for call in calls:
            result = call_tool(self.tools, call.name, call.arguments)
            self.calls.append((call.name, call.arguments, result))
            turns.append(
                {"role": "tool", "name": call.name, "tool_call_id": call.id, "content": result}
            )
        return turns

    def describe(self) -> dict[str, Any]:
        """What the answer stands on, for whoever reads it."""
        return {
            "sources": [
                {"id": one.id, "text": one.text, "source": one.source, "written": one.written}
                for one in self.sources
            ],
            "calls": [
                {"name": name, "arguments": arguments, "result": result}
                for name, arguments, result in self.calls
            ],
        }

    def _show(self, memories: Sequence[Memory]) -> None:
        known = {memory.id for memory in self.sources}
        self.sources += [memory for memory in memories if memory.id not in known]


def write_called(said: str, calls: Sequence[ToolCall]) -> Message:
    return {
        "role": "assistant", "content": said, "train": False,
        # With arguments as an object, as templates take them.
        "tool_calls": read_calls([call.to_dict() for call in calls], "an answer"),
    }  # fmt: skip
