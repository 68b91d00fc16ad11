"""Clients that stream chat completions from a server of OpenAI's kind, many at once in one thread,
and note when each token came: as little work beside the server as can be.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

WAITED_S = 900.0  # for one answer; a server that is slower has dropped it


@dataclass(frozen=True)
class Heard:
    """One answer as its client saw it. first_s: from asking to the first text. tokens: as the
    server counts them. error: why it is no whole answer.
    """

    first_s: float
    tokens: int
    prompt_tokens: int
    error: str | None = None


@dataclass(frozen=True)
class Round:
    """All that the clients of a load heard; seconds from the first asking to the last end."""

    heard: list[Heard]
    seconds: float

    @property
    def tokens_per_s(self) -> float:
        return sum(one.tokens for one in self.heard) / self.seconds

    @property
    def dropped(self) -> int:
        return sum(one.error is not None for one in self.heard)


def stream_all(url: str, clients: Sequence[Sequence[Mapping[str, Any]]]) -> Round:
    """Each client sends its bodies one after the other, all clients at once."""

    async def run() -> list[list[Heard]]:
        async def ask_in_turn(bodies: Sequence[Mapping[str, Any]]) -> list[Heard]:
            return [await ask(url, body) for body in bodies]

        return await asyncio.gather(*map(ask_in_turn, clients))

    began = time.perf_counter()
    heard = asyncio.run(run())
    return Round([one for each in heard for one in each], time.perf_counter() - began)


async def ask(url: str, body: Mapping[str, Any]) -> Heard:
    """One answer to the end, streamed."""
    began = time.perf_counter()
    first_s, usage, whole = float("nan"), {"completion_tokens": 0, "prompt_tokens": 0}, False
    try:
        async with asyncio.timeout(WAITED_S):
            async for line in post(url, body):
                if not line.startswith(b"data: "):
                    continue
                if line == b"data: [DONE]":
                    whole = True
                    break
                event = json.loads(line[6:])
                if "error" in event:
                    raise ConnectionError(str(event["error"]))
                if first_s != first_s and any(
                    choice["delta"].get("content") for choice in event["choices"]
                ):
                    first_s = time.perf_counter() - began
                usage = event.get("usage") or usage
                # one that says no [DONE] ends here
                whole |= any(choice.get("finish_reason") for choice in event["choices"])
        error = None if whole else "the stream ended before the answer"
    except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError) as wrong:
        error = f"{type(wrong).__name__}: {wrong}"
    return Heard(first_s, usage["completion_tokens"], usage["prompt_tokens"], error)


async def post(url: str, body: Mapping[str, Any]) -> AsyncIterator[bytes]:
    """The lines of the answer. Raises ConnectionError for a status other than 200."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        content = json.dumps(body).encode()
        head = (
            f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        writer.write(head.encode() + content)
        status = (await reader.readline()).split()
        chunked = False
        while (header := await reader.readline()) not in (b"\r\n", b""):
            name, _, value = header.lower().partition(b":")
            chunked |= name == b"transfer-encoding" and value.strip() == b"chunked"
        if status[1:2] != [b"200"]:
            said = (await reader.read(2000)).decode(errors="replace")
            raise ConnectionError(f"{b' '.join(status).decode()}: {said}")
        begun = b""
        async for piece in read_chunks(reader) if chunked else read_plain(reader):
            *lines, begun = (begun + piece).replace(b"\r\n", b"\n").split(b"\n")
            for line in lines:
                yield line
    finally:
        writer.close()


async def read_chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """RFC 9112, section 7.1, without trailers."""
    while size := int((await reader.readline()).split(b";")[0] or b"0", 16):
        yield (await reader.readexactly(size + 2))[:-2]


async def read_plain(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while piece := await reader.read(65536):
        yield piece
