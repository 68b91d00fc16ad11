"""A server with a memory: what is remembered stands before the question, calls of its tools are
answered in the server, and every answer says what it stands on.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from fledge.prompting.remembering import Remembering
from fledge.retrieval.store import MemoryStore
from fledge.serve.remembering import RememberingAnswer
from fledge.serve.wire import ChatBody
from fledge.text.tokenizer import load_tokenizer
from tests.cli.commands import Cli
from tests.serve.chromium import Watched, start_browser
from tests.serve.process import start_server
from tests.serve.rememberers import ANSWER, CALL, FACT, GREETING, make_rememberer

GREEDY = """localStorage.setItem("fledge-settings", '{"temperature": 0, "max_tokens": 100}')"""


@dataclass(frozen=True)
class Remembers:
    url: str
    memory: Path
    model: Path

    def ask(self, **more: Any) -> httpx.Response:
        body = {
            "messages": [{"role": "user", "content": GREETING}], "temperature": 0,
            "max_tokens": 100, **more,
        }  # fmt: skip
        return httpx.post(f"{self.url}/v1/chat/completions", json=body, timeout=60)


@pytest.fixture(scope="module")
def remembers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remembers]:
    place = tmp_path_factory.mktemp("remembers")
    model = make_rememberer(place / "model")
    memory = place / "memory.db"
    with start_server(model, memory=memory, slots=2) as server:
        assert any(f"the chat remembers in {memory}" in line for line in server.lines)
        yield Remembers(server.url, memory, model)


@pytest.fixture(scope="module")
def cli() -> Iterator[Cli]:
    with Cli() as started:
        yield started


def test_a_question_in_parts_is_looked_up_too(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "m.db")
    store.add(FACT, "a book")
    asked: list[Any] = []

    async def open_answer(body: ChatBody) -> Any:
        asked.append(body.messages[-1]["content"])

    parts: list[Any] = [{"type": "text", "text": "which "}, {"type": "text", "text": "key?"}]
    for content in (parts, "which key?", [{"type": "image_url"}], None):
        body = ChatBody.model_validate({"messages": [{"role": "user", "content": content}]})
        answer = RememberingAnswer(body, Remembering(store, 1, "test"), open_answer, tools=False)
        asyncio.run(answer.begin())
    before, *rest = asked[0]
    assert rest == parts
    assert FACT in before["text"]
    assert asked[1] == before["text"] + "which key?"
    assert asked[2:] == [[{"type": "image_url"}], None]


def test_a_call_is_answered_in_the_server_and_stored(remembers: Remembers) -> None:
    answer = remembers.ask().json()
    [choice] = answer["choices"]
    assert choice["message"]["content"] == ANSWER
    assert choice["finish_reason"] == "stop"
    [call] = answer["memory"]["calls"]
    assert (call["name"], json.loads(call["arguments"])) == ("remember", {"text": FACT})
    [memory] = MemoryStore(remembers.memory).search("key")
    assert (memory.text, memory.source) == (FACT, "served chat")


def test_a_stream_shows_one_answer_and_the_memory_last(remembers: Remembers) -> None:
    said = remembers.ask(stream=True).text.split("\n\n")
    events = [json.loads(line[6:]) for line in said if line.startswith("data: {")]
    assert said[-2] == "data: [DONE]"
    assert len({event["id"] for event in events}) == 1
    deltas = [choice["delta"] for event in events for choice in event["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == ANSWER
    assert not any("tool_calls" in delta for delta in deltas)
    assert sum("role" in delta for delta in deltas) == 1
    ends = [choice["finish_reason"] for event in events for choice in event["choices"]]
    assert [end for end in ends if end] == ["stop"]
    assert len(events[-1]["memory"]["calls"]) == 1


def test_usage_counts_every_round(remembers: Remembers) -> None:
    """By the tokens of what was said in each: the call, and the answer after it."""
    tokenizer = load_tokenizer(remembers.model)
    [opening, closing] = [len(tokenizer.encode(text)) + 1 for text in (CALL, ANSWER)]
    whole = remembers.ask().json()["usage"]
    assert whole["completion_tokens"] == opening + closing
    assert whole["total_tokens"] == whole["prompt_tokens"] + whole["completion_tokens"]
    once = remembers.ask(n=2).json()["usage"]["prompt_tokens"]  # read once, told of no tools
    assert whole["prompt_tokens"] > 2 * once
    said = remembers.ask(stream=True, stream_options={"include_usage": True}).text.split("\n\n")
    events = [json.loads(line[6:]) for line in said if line.startswith("data: {")]
    assert [event["usage"] for event in events if event.get("usage")] == [whole]


def test_what_is_remembered_stands_before_the_question(remembers: Remembers) -> None:
    """By its tokens: the prompt is longer by the memory, and shorter again where it is left out."""
    MemoryStore(remembers.memory).add("hello is how pirates never greet", "a book")
    plain = remembers.ask(memory=False).json()
    told = remembers.ask(n=2).json()  # two answers at once have no tools
    assert plain["usage"]["prompt_tokens"] < told["usage"]["prompt_tokens"]
    assert "memory" not in plain
    [source] = told["memory"]["sources"]
    assert (source["text"], source["source"]) == ("hello is how pirates never greet", "a book")
    assert all(choice["message"]["content"] == ANSWER for choice in told["choices"])


def test_the_clients_own_tools_are_the_clients(remembers: Remembers) -> None:
    text = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    tool = {"type": "function", "function": {"name": "remember", "parameters": text}}
    answer = remembers.ask(tools=[tool], tool_choice="required").json()
    [call] = answer["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "remember"
    assert answer["memory"]["calls"] == []


def test_the_page_shows_sources_as_text(remembers: Remembers) -> None:
    store = MemoryStore(remembers.memory)
    number = store.add("hello <img src=x onerror=hacked=1>", "a <b>page</b>")
    with start_browser() as browser:
        seen = Watched(browser)
        seen.context.add_init_script(GREEDY)
        seen.page.goto(remembers.url)
        box = seen.page.get_by_label("Write to the model")
        box.fill(GREETING)
        box.press("Enter")
        seen.page.locator(".turn.assistant .acts").wait_for()
        sources = seen.page.locator(".sources")
        sources.locator("summary").click()
        assert "hello <img src=x onerror=hacked=1> (a <b>page</b>, 2" in sources.inner_text()
        assert seen.page.locator(".sources img, .sources b").count() == 0
        assert ANSWER in seen.page.locator(".turn.assistant .said").inner_text()
        assert not seen.troubles
    store.forget(number)


def test_chat_remembers_across_conversations(
    remembers: Remembers, cli: Cli, tmp_path: Path
) -> None:
    words = ["chat", f"base={remembers.model}", "memory=notes.db", "max_new_tokens=100"]
    first = cli(words, folder=tmp_path, stdin=f"{GREETING}\n").stdout
    assert ANSWER in first
    assert CALL not in first
    assert f'(remember {{"text": "{FACT}"}}: Remembered as [1].)' in first
    MemoryStore(tmp_path / "notes.db").add("hello there", "a book")
    again = cli(words, folder=tmp_path, stdin=f"{GREETING}\n").stdout
    assert "(from memory:\n[2] hello there (a book, " in again
    wrong = cli(["chat", f"base={remembers.model}", "memory=false"], folder=tmp_path)
    assert "earlier turns are kept or not by history=" in wrong.complaint
