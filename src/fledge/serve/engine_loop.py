"""The engine loop: one thread that owns an engine, beside the event loop. Commands go in by a
queue; what was said in a step comes out in one call, for all connections together.
"""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

from fledge.engine.engine import Engine
from fledge.engine.request import Completion, Request
from fledge.engine.row import fail
from fledge.pace import SizedPace

Result = TypeVar("Result")

BROKEN = "the engine failed while it answered, and has been started anew: ask once more."
GONE = "the engine failed and could not be started anew: the server has to be started again."


@dataclass(frozen=True)
class Said:
    """What one row has said in a step. raw_logp and alternatives, as `Completion` has them, only
    where they were asked for.
    """

    tokens: list[int]
    raw_logp: list[float] = field(default_factory=list)
    alternatives: list[list[tuple[int, float]]] = field(default_factory=list)


Event = tuple[int, Said | Completion]  # which of a client's requests, and its news


class QueueFull(Exception):
    """As many requests wait as may."""


class EngineGone(Exception):
    """The engine's thread has ended: nothing is answered any more."""


class Ticket:
    """The requests of one client under way. Belongs to the event loop.

    streams: tell of every token, not of the end alone. told: with their log-probabilities.
    """

    def __init__(self, count: int, *, streams: bool, told: bool) -> None:
        self.streams, self.told = streams, told
        self.open = set(range(count))  # the requests that have no completion yet
        self.numbers: list[int] = []  # the engine's; its thread's own
        self._events: list[Event] = []
        self._ready = asyncio.Event()

    def put(self, event: Event) -> None:
        self._events.append(event)
        if isinstance(event[1], Completion):
            self.open.discard(event[0])
        self._ready.set()

    async def __aiter__(self) -> AsyncIterator[list[Event]]:
        """All that has come since the last time, until every request has its completion."""
        while self.open or self._events:
            await self._ready.wait()
            self._ready.clear()
            events, self._events = self._events, []
            if events:
                yield events

    async def complete(self) -> list[Completion]:
        """Of each request, in their order."""
        ended: dict[int, Completion] = {}
        async for events in self:
            ended |= {i: news for i, news in events if isinstance(news, Completion)}
        return [ended[i] for i in sorted(ended)]


class EngineLoop:
    """`start` it in a running event loop; `submit`, `cancel` and `call` from there.

    make_engine: called in the thread, and again where an engine has failed. queue_rows: the most
    rows that wait beside those in slots. threads: of torch; None: as many as prove to be fastest.
    """

    def __init__(
        self, make_engine: Callable[[], Engine], *, queue_rows: int, threads: int | None = None
    ) -> None:
        self._make_engine, self.queue_rows = make_engine, queue_rows
        self._commands: queue.SimpleQueue[Callable[[Engine], None]] = queue.SimpleQueue()
        self._rows: dict[int, tuple[Ticket, int, list[int]]] = {}  # of each number; tokens told
        self._news: dict[int, list[int]] = {}  # tokens of this step
        self._stopping = self._abandoned = False
        self._ended = False  # known to the event loop, as what waits there is:
        self._tickets, self._calls = set[Ticket](), set[asyncio.Future[Any]]()
        self._pace = SizedPace(threads)
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self.under_way = 0  # rows and calls that have not ended: the event loop's count
        self.engine = make_engine()
        self.slots = len(self.engine.batch.slots)
        self.failures = 0

    @property
    def running(self) -> int:
        """Rows in slots, as of the last step."""
        return len(self.engine.batch.live)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def waiting(self) -> int:
        return max(0, self.under_way - self.running)

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """Ends when all that was submitted has been answered."""
        self._commands.put(self._end)
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    def abandon(self) -> None:
        """End after this step, whatever is under way."""
        self._abandoned = True
        self._commands.put(self._end)
        self._thread.join(10)

    def submit(self, requests: Sequence[Request], *, streams: bool, told: bool = False) -> Ticket:
        """Raises QueueFull and EngineGone."""
        self._take_places(len(requests))
        ticket = Ticket(len(requests), streams=streams, told=told)
        self._tickets.add(ticket)
        self._commands.put(lambda engine: self._submit(engine, ticket, requests))
        return ticket

    def _take_places(self, count: int) -> None:
        if self._ended:
            raise EngineGone
        if self.under_way + count > self.slots + self.queue_rows:
            raise QueueFull
        self.under_way += count

    def cancel(self, ticket: Ticket) -> None:
        """Its rows end with what they have said. Nothing happens to one that has ended."""

        def cancel_all(engine: Engine) -> None:
            for number in ticket.numbers:
                engine.cancel(number)

        if ticket.open:
            self._commands.put(cancel_all)

    async def call(self, functions: Sequence[Callable[[], Result]]) -> list[Result]:
        """What each comes to, run in the engine's thread and in inference mode: what else needs the
        network. Between two of them the engine goes on with its rows; together they take one place
        in the queue. Raises QueueFull, EngineGone, and what they raise.
        """
        self._take_places(1)
        try:
            return [await self._call(function) for function in functions]
        finally:
            self.under_way -= 1

    async def _call(self, function: Callable[[], Result]) -> Result:
        if self._ended:
            raise EngineGone
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()

        def settle(what: Callable[[Any], None], value: Any) -> None:
            if not answer.done():  # the client may have gone
                what(value)

        def run(_: Engine) -> None:
            if answer.done():
                return
            self._pace.begin_large()
            try:
                with torch.inference_mode():
                    result = function()
            except Exception as error:
                self._tell(settle, answer.set_exception, error)
            else:
                self._tell(settle, answer.set_result, result)

        self._calls.add(answer)
        self._commands.put(run)
        try:
            return await answer
        finally:
            self._calls.discard(answer)

    def _tell(self, function: Callable[..., None], *args: Any) -> None:
        assert self._loop is not None
        if not self._loop.is_closed():  # nobody is left to hear
            self._loop.call_soon_threadsafe(function, *args)

    def _end(self, _: Engine) -> None:
        self._stopping = True

    def _run(self) -> None:
        try:
            self._advance(self._pace)
        finally:  # whoever waits would wait for ever
            self._tell(self._close)

    def _advance(self, pace: SizedPace) -> None:
        """Until the end, or until an engine cannot be started anew."""
        while not self._abandoned and (not self._stopping or self.engine.busy):
            self._take_commands()
            if not self.engine.busy:
                continue
            rows, read = self.running, self.engine.batch.tokens_read
            if self.engine.may_read or not rows:
                pace.begin_large()
            else:
                pace.begin(rows)
            began = time.perf_counter()
            try:
                self._announce(self.engine.advance())
            except Exception:
                self._begin_anew()
                continue
            if self.engine.batch.tokens_read == read:  # to read a prompt is another kind of step
                pace.end(time.perf_counter() - began)

    def _take_commands(self) -> None:
        """All that there are; of an idle engine the next one is waited for."""
        wait = not self.engine.busy and not self._stopping
        while True:
            try:
                command = self._commands.get(block=wait)
            except queue.Empty:
                return
            command(self.engine)
            wait = False

    def _submit(self, engine: Engine, ticket: Ticket, requests: Sequence[Request]) -> None:
        for index, request in enumerate(requests):
            try:
                number = engine.submit(request, self._hear if ticket.streams else None)
            except Exception:  # a request that no check foresaw: its own end, and nobody else's
                traceback.print_exc(file=sys.stderr)
                news = fail(request, BROKEN, engine.version)
                self._tell(self._deliver, [(ticket, (index, news))])
                continue
            ticket.numbers.append(number)
            self._rows[number] = (ticket, index, [])

    def _hear(self, number: int, token: int) -> None:
        ticket, index, told = self._rows[number]
        if told or ticket.told:
            self._news.setdefault(number, []).append(token)
        else:  # a first token is waited for: it goes at once
            told.append(token)
            self._tell(self._deliver, [(ticket, (index, Said([token])))])

    def _announce(self, ended: Sequence[tuple[int, Completion]]) -> None:
        news, self._news = self._news, {}
        completions = dict(ended)
        since = {
            number: len(self._rows[number][2])
            for number in news
            if self._rows[number][0].told and number not in completions
        }
        chances = self.engine.read_chances(since) if since else {}
        events: list[tuple[Ticket, Event]] = []
        for number, tokens in news.items():
            ticket, index, told = self._rows[number]
            if number in completions and ticket.told:
                one = completions[number]
                chances[number] = (one.raw_logp[len(told) :], one.alternatives[len(told) :])
            raw_logp, alternatives = chances.get(number, ([], []))
            told.extend(tokens)
            events.append((ticket, (index, Said(tokens, raw_logp, alternatives))))
        for number, completion in ended:
            ticket, index, _ = self._rows.pop(number)
            events.append((ticket, (index, completion)))
        if events:
            self._tell(self._deliver, events)

    def _deliver(self, events: Sequence[tuple[Ticket, Event]]) -> None:
        for ticket, event in events:
            self.under_way -= isinstance(event[1], Completion)
            ticket.put(event)
            if not ticket.open:
                self._tickets.discard(ticket)

    def _close(self) -> None:
        """Nobody is left to answer: what waits ends with an error."""
        self._ended = True
        nothing = Request([0])
        for ticket in list(self._tickets):
            ended = [(ticket, (index, fail(nothing, GONE, 0))) for index in sorted(ticket.open)]
            self._deliver(ended)
        for answer in self._calls:
            if not answer.done():
                answer.set_exception(EngineGone())

    def _begin_anew(self) -> None:
        """What was under way ends with an error; requests that come after it are answered."""
        traceback.print_exc(file=sys.stderr)
        self.failures += 1
        self._news = {}
        rows, self._rows = self._rows, {}
        nothing = Request([0])
        events = [(ticket, (index, fail(nothing, BROKEN, 0))) for ticket, index, _ in rows.values()]
        self._tell(self._deliver, events)
        self.engine = self._make_engine()
