"""Requests that cannot be answered, each with the status and a word of the sentence that says why.

By way of JSON; what is wrong below it is in `test_bad_requests.py` itself.
"""

from __future__ import annotations

from typing import Any, NamedTuple

CHAT, TEXT, RESPOND = "/v1/chat/completions", "/v1/completions", "/v1/responses"
EMBED, TOKENS, WORDS = "/v1/embeddings", "/tokenize", "/detokenize"
HI = [{"role": "user", "content": "hi"}]


class Bad(NamedTuple):
    path: str
    body: Any  # bytes as they are, else as JSON
    status: int
    word: str
    headers: dict[str, str] = {}  # noqa: RUF012 - none is changed
    method: str = "POST"


def chat(status: int = 400, word: str = "", **fields: Any) -> Bad:
    return Bad(CHAT, {"messages": HI, **fields}, status, word)


def say(content: Any, word: str, **more: Any) -> Bad:
    return Bad(CHAT, {"messages": [{"role": "user", "content": content, **more}]}, 400, word)


def text(word: str, **fields: Any) -> Bad:
    return Bad(TEXT, {"prompt": "the cat", **fields}, 400, word)


LONG = "x" * 900_000
LONG_TOOL = {"type": "function", "function": {"name": "find", "description": LONG}}
LONG_CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": {"a": LONG}}}
THOUGHT = {"role": "assistant", "content": "a", "reasoning_content": LONG}
CALLED = {"role": "assistant", "content": None, "tool_calls": [LONG_CALL]}

BAD = [
    # Long beside the text: refused before a tokenizer has read any of it.
    chat(400, "900,", tools=[LONG_TOOL]),
    chat(400, "900,", messages=[*HI, THOUGHT, *HI]),
    chat(400, "900,", messages=[*HI, CALLED, *HI]),
    Bad(TOKENS, {"messages": HI, "tools": [LONG_TOOL]}, 400, "900,"),
    Bad("/fledge/tokens", {"messages": [*HI, THOUGHT], "tokens": [5]}, 400, "900,"),
    chat(400, "stream", stream_options={"include_usage": True}),
    text("stream", stream_options={"include_usage": True}),
    # No JSON, or none of an object.
    Bad(CHAT, b"", 400, "no JSON"),
    Bad(CHAT, b"{", 400, "no JSON"),
    Bad(CHAT, b'{"messages": [}', 400, "no JSON"),
    Bad(CHAT, b"\xff\xfe\x00", 400, "no JSON"),
    Bad(CHAT, b'{"messages": "\xff"}', 400, "no JSON"),
    Bad(CHAT, b"[" * 100_000, 400, "no JSON"),
    Bad(CHAT, b'{"a":' * 50_000, 400, "no JSON"),
    Bad(CHAT, b"null", 400, ""),
    Bad(CHAT, b"[]", 400, ""),
    Bad(CHAT, b"17", 400, ""),
    Bad(CHAT, b'"messages"', 400, ""),
    Bad(CHAT, {}, 400, "messages"),
    Bad(CHAT, b"messages=hi", 415, "application/json", {"content-type": "text/plain"}),
    Bad(CHAT, b"a=b", 415, "urlencoded", {"content-type": "application/x-www-form-urlencoded"}),
    Bad(CHAT, b"{}", 415, "no header", {"content-type": ""}),
    # Messages that are none.
    chat(word="messages", messages=[]),
    chat(word="messages", messages="hi"),
    chat(word="messages", messages={"role": "user"}),
    chat(word="messages", messages=["hi"]),
    chat(word="role", messages=[{"content": "hi"}]),
    chat(word="role", messages=[{"role": "king", "content": "hi"}]),
    chat(word="role", messages=[{"role": 7, "content": "hi"}]),
    chat(word="content", messages=[{"role": "user"}]),
    chat(word="content", messages=[{"role": "user", "content": None}]),
    say(17, "no text"),
    say({"text": "hi"}, "no text"),
    say([{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}], "image_url"),
    say([{"type": "input_audio", "input_audio": {"data": ""}}], "input_audio"),
    say([{"type": "text"}], "only text"),
    say(["hi"], "only text"),
    say("hi", "path", path="/etc/passwd"),
    say("hi", "calls tools", tool_calls=[{"function": {"name": "f", "arguments": "{}"}}]),
    say("hi", "no text", name=7),
    Bad(CHAT, b'{"messages": [{"role": "user", "content": "\\ud800"}]}', 400, ""),
    chat(word="list of calls", messages=[{"role": "assistant", "content": "a", "tool_calls": 3}]),
    # Fields that are not known, or of another kind.
    chat(word="temperature", temprature=1),
    chat(word="no field", __proto__=1),
    chat(word="only text", audio={"voice": "x"}),
    chat(word="tools", functions=[]),
    chat(word="temperature", temperature="0.5"),
    chat(word="temperature", temperature=-1),
    chat(word="temperature", temperature=1e9),
    Bad(CHAT, b'{"messages": [{"role":"user","content":"a"}], "temperature": NaN}', 400, "temp"),
    chat(word="temperature", temperature=True),
    chat(word="top_p", top_p=0),
    chat(word="top_p", top_p=1.5),
    chat(word="top_k", top_k=1.5),
    chat(word="min_p", min_p=-0.1),
    chat(word="max_tokens", max_tokens=0),
    chat(word="max_tokens", max_tokens=-3),
    chat(word="max_tokens", max_tokens="many"),
    chat(word="max_tokens", max_tokens=1e300),
    chat(word="`n`", n=0),
    chat(word="answers", n=100_000),
    chat(word="seed", seed="x"),
    chat(word="seed", seed=2**70),
    chat(word="stop", stop=""),
    chat(word="stop", stop=["a", ""]),
    chat(word="stop", stop=["a"] * 17),
    chat(word="stop", stop=[1]),
    chat(word="stop", stop="x" * 2000),
    chat(word="presence_penalty", presence_penalty=3),
    chat(word="frequency_penalty", frequency_penalty=-2.5),
    chat(word="repetition_penalty", repetition_penalty=0),
    chat(word="logit_bias", logit_bias={"cat": 1}),
    chat(word="logit_bias", logit_bias={"3": 101}),
    chat(word="logit_bias", logit_bias=[1]),
    chat(word="vocabulary", logit_bias={"99999999": 1}),
    chat(word="logit_bias", logit_bias={"-1": 1}),
    chat(word="logprobs", logprobs="yes"),
    chat(word="logprobs", top_logprobs=3),
    chat(word="top_logprobs", logprobs=True, top_logprobs=21),
    chat(word="stream", stream="yes"),
    chat(word="stream_options", stream_options={"include": True}),
    chat(word="store", store=True),
    chat(word="continue_tokens", continue_tokens=[10**7]),
    chat(word="continue_tokens", continue_tokens=["a"]),
    chat(word="vocabulary", stop_token_ids=[10**6]),
    chat(word="tokens", messages=[{"role": "user", "content": "the cat sat " * 800}]),
    chat(404, "no model", model="gpt-17"),
    chat(404, "no model", model="../one"),
    chat(word="model", model=7),
    # Completions.
    text("suffix", suffix="end"),
    text("best_of", best_of=1, n=2),
    text("best_of", best_of=2, stream=True),
    text("max_tokens", max_tokens=0),
    text("logprobs", logprobs=True),
    text("logprobs", logprobs=99),
    text("prompt", prompt=None),
    text("prompt", prompt=[]),
    text("prompt", prompt=[10**7]),
    text("prompt", prompt=[-1]),
    text("prompt", prompt=[1, "a"]),
    text("inputs", prompt=["a"] * 1000),
    text("tokens", prompt="the cat sat " * 800),
    Bad(TEXT, {"prompt": [[]]}, 400, "empty"),
    chat(word="characters", messages=[{"role": "user", "content": "a" * 3_000_000}]),
    text("characters", prompt="a" * 3_000_000),
    Bad(TOKENS, {"prompt": "a" * 3_000_000}, 400, "characters"),
    # The others.
    Bad(RESPOND, {"input": []}, 400, "empty"),
    Bad(RESPOND, {"input": "a", "previous_response_id": "resp_1"}, 400, "nothing is kept"),
    Bad(RESPOND, {"input": [{"type": "item_reference", "id": "x"}]}, 400, "messages"),
    Bad(RESPOND, {"input": "a", "max_output_tokens": 0}, 400, "max_output_tokens"),
    Bad(EMBED, {"input": ""}, 400, "empty"),
    Bad(EMBED, {"input": [""]}, 400, "empty"),
    Bad(EMBED, {"input": "a", "dimensions": 3}, 400, "dimensions"),
    Bad(EMBED, {"input": "a", "encoding_format": "int8"}, 400, "encoding_format"),
    Bad(EMBED, {"input": "the cat sat " * 800}, 400, "shorten"),
    Bad(EMBED, {"input": ["a"] * 3000}, 400, "inputs"),
    Bad(TOKENS, {}, 400, "either"),
    Bad(TOKENS, {"prompt": "a", "messages": HI}, 400, "either"),
    Bad(WORDS, {"tokens": [-1]}, 400, "vocabulary"),
    Bad(WORDS, {"tokens": [10**30]}, 400, ""),
    # Paths, methods, names and sizes.
    Bad("/v1/nothing", {}, 404, "nothing at"),
    Bad("/../../etc/passwd", b"", 404, "nothing at", method="GET"),
    Bad("/v1/models/none", b"", 404, "no model", method="GET"),
    Bad(CHAT, b"", 405, "GET", method="GET"),
    Bad(CHAT, b"", 405, "DELETE", method="DELETE"),
    Bad(CHAT, b"x" * 4_000_001, 413, "bytes"),
    Bad(CHAT, {"messages": HI}, 403, "not called", {"host": "evil.example"}),
    Bad(CHAT, {"messages": HI}, 403, "CORS", {"origin": "https://evil.example"}),
    Bad(CHAT, {"messages": HI}, 403, "CORS", {"origin": "null"}),
]
