"""The engine loop alone: every row is answered once, whatever happens to it or to the engine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from fledge.engine.engine import Engine
from fledge.engine.request import Completion, Request
from fledge.pace import SizedPace
from fledge.serve.engine_loop import BROKEN, GONE, EngineGone, EngineLoop, QueueFull, Said
from tests.subjects import policy_of, transformer


def make_engine() -> Engine:
    return Engine(policy_of(transformer()), slots=3)


def hold(work: Callable[[EngineLoop], Coroutine[Any, Any, None]], **fields: Any) -> EngineLoop:
    """Do it beside a running loop, which is stopped and has nothing left."""

    async def run() -> EngineLoop:
        loop = EngineLoop(make_engine, **{"queue_rows": 20, **fields})
        loop.start()
        try:
            async with asyncio.timeout(60):
                await work(loop)
                await loop.stop()
        except BaseException:
            loop.abandon()
            raise
        assert loop.under_way == 0
        assert not loop.engine.busy
        return loop

    return asyncio.run(run())


def ask(seed: int, most: int = 12) -> Request:
    return Request([3, 4, 5], most, stop=frozenset({2}), seed=seed)


@pytest.mark.parametrize("told", [False, True])
def test_what_is_streamed_is_what_the_engine_alone_says(told: bool) -> None:
    requests = [ask(seed) for seed in range(8)]
    alone = make_engine().run(requests)

    async def work(loop: EngineLoop) -> None:
        ticket = loop.submit(requests, streams=True, told=told)
        said: list[list[int]] = [[] for _ in requests]
        chance: list[list[float]] = [[] for _ in requests]
        ended: dict[int, Completion] = {}
        async for events in ticket:
            for index, news in events:
                assert index not in ended  # nothing after the end
                if isinstance(news, Said):
                    said[index] += news.tokens
                    chance[index] += news.raw_logp
                else:
                    ended[index] = news
        assert said == [one.tokens for one in alone]
        for i, one in enumerate(alone):
            assert ended[i].tokens == one.tokens
            assert chance[i] == pytest.approx(one.raw_logp if told else [], abs=1e-5)

    hold(work)


def test_a_cancelled_row_ends_once_wherever_it_stands() -> None:
    async def work(loop: EngineLoop) -> None:
        tickets = [loop.submit([ask(seed, 25)], streams=seed % 2 == 0) for seed in range(12)]
        for ticket in tickets[::3]:
            loop.cancel(ticket)
            loop.cancel(ticket)
        await asyncio.sleep(0.01)
        for ticket in tickets[1::3]:
            loop.cancel(ticket)
        ended = [(await ticket.complete())[0] for ticket in tickets]
        for ticket in tickets:
            loop.cancel(ticket)  # nothing happens to one that has ended
        assert {one.ended for one in ended[2::3]} <= {"stop", "length"}
        alone = make_engine().run([ask(seed, 25) for seed in range(12)])
        for one, whole in zip(ended, alone, strict=True):
            assert one.tokens == whole.tokens[: len(one.tokens)]
            assert one.ended == "cancelled" or one.tokens == whole.tokens

    hold(work)


def test_more_than_there_is_room_for_is_refused_until_there_is() -> None:
    async def work(loop: EngineLoop) -> None:
        ticket = loop.submit([ask(seed) for seed in range(5)], streams=False)
        with pytest.raises(QueueFull):
            loop.submit([ask(9)], streams=False)
        assert loop.under_way == 5
        await ticket.complete()
        await loop.submit([ask(9)], streams=False).complete()

    hold(work, queue_rows=2)


def test_what_is_called_runs_between_steps_and_raises_where_it_was_asked_for() -> None:
    async def work(loop: EngineLoop) -> None:
        ticket = loop.submit([ask(1, 25)], streams=False)
        assert await loop.call([lambda: 6 * 7, lambda: 7]) == [42, 7]
        with pytest.raises(ZeroDivisionError):
            await loop.call([lambda: 1 // 0])
        [one] = await ticket.complete()
        assert one.tokens == make_engine().run([ask(1, 25)])[0].tokens
        for_ever = threading.Event()
        calls = [asyncio.ensure_future(loop.call([for_ever.wait])) for _ in range(23)]
        await asyncio.sleep(0)  # each has taken its place: 3 slots and 20 that wait
        with pytest.raises(QueueFull):
            await loop.call([lambda: 1])
        calls[22].cancel()  # who goes frees it
        await asyncio.sleep(0)
        last = asyncio.ensure_future(loop.call([lambda: 8]))
        for_ever.set()
        assert await last == [8]
        await asyncio.wait(calls)

    hold(work)


def test_an_engine_that_fails_is_started_anew(capsys: pytest.CaptureFixture[str]) -> None:
    async def work(loop: EngineLoop) -> None:
        first, steps = loop.engine, 0
        advance = first.advance

        def fail_later() -> Any:
            nonlocal steps
            steps += 1
            if steps == 3:
                raise RuntimeError("out of luck")
            return advance()

        first.advance = fail_later
        rows = loop.submit([ask(seed, 25) for seed in range(7)], streams=True)
        ended = await rows.complete()
        broken = [one for one in ended if one.error is not None]
        assert {one.error for one in broken} == {BROKEN}
        assert len(broken) >= 4  # those that had not ended before
        [one] = await loop.submit([ask(1)], streams=False).complete()
        assert one.tokens == make_engine().run([ask(1)])[0].tokens
        assert loop.engine is not first

    assert hold(work).failures == 1
    assert "out of luck" in capsys.readouterr().err


def test_where_no_engine_can_be_started_anew_nobody_waits_for_ever() -> None:
    """Rows, those that still wait for a slot, and calls end with an error; what comes later is
    refused at once.
    """
    makers = [make_engine]
    in_step, go_on = threading.Event(), threading.Event()

    def fail() -> Any:
        in_step.set()
        go_on.wait(60)
        raise RuntimeError("out of luck")

    def make_one() -> Engine:
        return makers.pop()()

    async def run() -> None:
        loop = EngineLoop(make_one, queue_rows=20)
        loop.engine.advance = fail
        thread_ended = list[BaseException]()
        threading.excepthook = lambda told: thread_ended.append(told.exc_value or told.exc_type())
        loop.start()
        ticket = loop.submit([ask(seed) for seed in range(5)], streams=True)
        await asyncio.to_thread(in_step.wait, 60)
        late = loop.submit([ask(9)], streams=False)  # the engine never hears of these two
        called = asyncio.ensure_future(loop.call([lambda: 7]))
        await asyncio.sleep(0)
        go_on.set()
        async with asyncio.timeout(60):
            assert {one.error for one in await ticket.complete()} == {BROKEN}
            assert [one.error for one in await late.complete()] == [GONE]
            with pytest.raises(EngineGone):
                await called
            while not thread_ended:  # the loop ends its rows before its thread ends
                await asyncio.sleep(0.01)
        assert isinstance(thread_ended[0], IndexError)
        with pytest.raises(EngineGone):
            loop.submit([ask(1)], streams=False)
        with pytest.raises(EngineGone):
            await loop.call([lambda: 1])
        assert loop.under_way == 0
        await loop.stop()

    before = threading.excepthook
    try:
        asyncio.run(run())
    finally:
        threading.excepthook = before


class Watched(SizedPace):
    """Notes what it is told, and how many rows wait then."""

    told: list[tuple[str, int]]
    loop: EngineLoop

    def begin_large(self) -> None:
        self.told.append(("large", len(self.loop.engine.queue)))
        super().begin_large()

    def begin(self, size: int) -> None:
        self.told.append((f"{size} rows", len(self.loop.engine.queue)))
        super().begin(size)

    def end(self, seconds: float) -> None:
        self.told.append(("end", 0))
        super().end(seconds)


def watch(loop: EngineLoop) -> list[tuple[str, int]]:
    """What the loop's pace is told from here on."""
    pace = loop._pace
    assert type(pace) is SizedPace
    pace.__class__ = Watched
    assert isinstance(pace, Watched)
    pace.told, pace.loop = [], loop
    return pace.told


def test_steps_are_paced_by_their_rows_and_prompts_are_read_with_all_threads() -> None:
    async def work(loop: EngineLoop) -> None:
        told = watch(loop)
        requests = [Request([3, 4, 5], 4 + 3 * i, seed=i) for i in range(8)]
        await loop.submit(requests, streams=False).complete()
        assert told[0] == ("large", 8)  # three of them are read at once
        waiting = [what for what, queued in told if what != "large" and queued]
        assert set(waiting) == {"3 rows"}  # all slots are full: nothing is read
        assert ("1 rows", 0) in told

    hold(work)


def test_a_function_in_the_engine_s_thread_has_all_threads_whatever_the_last_step_had() -> None:
    async def work(loop: EngineLoop) -> None:
        await loop.submit([ask(0)], streams=False).complete()
        told = watch(loop)
        assert await loop.call([lambda: told[-1]]) == [("large", 0)]

    hold(work)


def test_a_step_that_failed_is_no_measure_of_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(loop: EngineLoop) -> None:
        told = watch(loop)
        advance = Engine.advance

        def fail_once(engine: Engine) -> list[tuple[int, Completion]]:
            if engine.batch.live:
                monkeypatch.setattr(Engine, "advance", advance)
                raise RuntimeError("a planted failure")
            return advance(engine)

        monkeypatch.setattr(Engine, "advance", fail_once)
        [ended] = await loop.submit([Request([3, 4, 5], 12)], streams=False).complete()
        assert ended.error == BROKEN
        assert told[-1] == ("1 rows", 0)  # and no end

    hold(work)
