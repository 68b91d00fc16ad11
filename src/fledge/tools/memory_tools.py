"""A memory as tools: what a model searches, remembers, replaces and forgets."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from fledge.errors import UserError
from fledge.retrieval.memory import Memory
from fledge.retrieval.store import MemoryStore
from fledge.tools.tool import Tool

COUNT = 5  # memories of a search


def make_memory_tools(
    store: MemoryStore, source: str, shown: Callable[[Sequence[Memory]], object]
) -> list[Tool]:
    """source: what new memories are said to come from. shown: hears what was shown to the model."""

    def search(query: str) -> str:
        memories = store.search(query, COUNT)
        store.mark_used(memories)
        shown(memories)
        return write_memories(memories) or "Nothing is remembered about that."

    def remember(text: str, replaces: str = "") -> str:
        if replaces.strip():
            number = store.replace(_read_number(replaces), text, source)
        else:
            number = store.add(text, source)
        return f"Remembered as [{number}]."

    def forget(number: str) -> str:
        return f"Forgotten: {store.forget(_read_number(number)).text}"

    return [
        Tool(
            "search_memory", "Looks up what is remembered about something.",
            {"query": "what to look for"}, search,
        ),
        Tool(
            "remember", "Stores one fact for later conversations, as a whole sentence.",
            {"text": "the fact", "replaces": "the number of a memory that it corrects"}, remember,
            needed=("text",),
        ),
        Tool("forget", "Removes a memory.", {"number": "its number"}, forget),
    ]  # fmt: skip


def make_search_tool(store: MemoryStore) -> Tool:
    """Reading alone, for a model that is measured: nothing in the file changes."""

    def search(query: str) -> str:
        return write_memories(store.search(query, COUNT)) or "Nothing was found."

    return Tool(
        "search", "Looks up what is known about something.", {"query": "what to look for"}, search
    )


def write_memories(memories: Sequence[Memory]) -> str:
    """A line each, with its number, its day and whose word it is: in one line, so that no memory
    can hold what looks like another with another source.
    """
    return "\n".join(
        f"[{memory.id}] {' '.join(memory.text.split())} "
        f"({memory.source}, {write_day(memory.written)})"
        for memory in memories
    )


def write_day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(seconds))


def _read_number(text: str) -> int:
    try:
        return int(text.strip().strip("[]"))
    except ValueError:
        raise UserError(f"{text[:40]!r} is no number of a memory: give one, such as 7.") from None
