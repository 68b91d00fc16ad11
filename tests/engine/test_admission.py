"""Who is prefilled first, where somebody hears every token and where nobody does."""

from __future__ import annotations

import pytest

from fledge.engine import admission
from fledge.engine.engine import Engine
from fledge.engine.request import Request
from tests.engine.test_long_prompts import GREEDY, as_plain, subject, tokens


def test_the_shortest_prompt_is_heard_first_and_the_longest_is_passed_by_no_newcomer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admission, "HEARD_TOKENS", 20)
    policy = subject()
    engine = Engine(policy, slots=8)
    heard: list[int] = []

    def hear(number: int, token: int) -> None:
        heard.append(number)

    requests = [Request(tokens(n, n), 9, rule=GREEDY) for n in (19, 8, 17, 3, 2, 1)]
    for request in requests[:4]:  # 11 tokens, then 17, then 19
        engine.submit(request, hear)
    rows = dict(engine.advance())
    assert heard == [3, 1, 3, 1]  # both first tokens at once, and the next
    for request in requests[4:]:  # shorter than all, and too late
        engine.submit(request, hear)
    heard.clear()
    rows |= dict(engine.advance())
    assert heard[0] == 2
    assert sorted(heard[1:]) == [1, 2, 3]  # those under way were not kept waiting
    heard.clear()
    rows |= dict(engine.advance())
    assert heard[0] == 0
    heard.clear()
    rows |= dict(engine.advance())
    assert heard[:2] == [5, 4]
    while engine.busy:
        rows |= dict(engine.advance())
    as_plain(policy, requests, [rows[i] for i in range(6)])


def test_where_nobody_listens_all_are_admitted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "HEARD_TOKENS", 20)
    engine = Engine(subject(), slots=4)
    for n in (19, 8, 17, 3):
        engine.submit(Request(tokens(n, n), 9))
    engine.advance()
    assert len(engine.batch.live) == 4
