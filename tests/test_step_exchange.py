"""What ranks tell each other with the figures of a step, and that it is one exchange."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import distributed

from fledge import ranks, step_exchange
from fledge.algorithms.likelihood.supervised import Supervised
from fledge.stopwatch import Stopwatch
from tests.every_rank import on_ranks
from tests.subjects import learner, policy_of, rollouts, transformer


def tell() -> tuple[Any, ...]:
    """Rank 1 computes longer before both exchanges, and is asked to stop before the second."""
    ranks.since_last = lambda: 2.0 + 3.0 * ranks.rank()
    ranks.take_waited()
    asked: list[bool] = []
    with step_exchange.telling(lambda: (bool(asked), ranks.is_first())):
        each = step_exchange.exchange(10 + ranks.rank())
        asked += [True] * ranks.rank()
        step_exchange.exchange(None)
        first = step_exchange.take()
        again = step_exchange.hear()  # nothing was told since: asked anew
    return each, first.asked, first.due, first.waited, again.asked, sum(again.waited)


def count_exchanges() -> int:
    """Of objects, in one optimizer step."""
    policy = policy_of(transformer())
    supervised = Supervised(policy, learner(policy, rows_per_micro_batch=3), Stopwatch())
    rows, gather = rollouts(policy), distributed.all_gather_object
    calls: list[Any] = []

    def counted(*given: Any, **named: Any) -> None:
        calls.append(given)
        gather(*given, **named)

    distributed.all_gather_object = counted
    supervised.update(rows)
    return len(calls)


def test_ranks_hear_who_waits_who_stops_and_what_is_due(tmp_path: Path) -> None:
    for each, asked, due, waited, again, little in on_ranks(2, tell, tmp_path / "told"):
        assert each == [10, 11]
        assert (asked, due, again) == (True, True, True)
        assert waited == (6.0, 0.0)
        assert little == 3.0
    assert on_ranks(2, count_exchanges, tmp_path / "step") == [1, 1]


def test_one_process_asks_itself() -> None:
    asked: list[bool] = []
    with step_exchange.telling(lambda: (bool(asked), True)):
        assert step_exchange.exchange("x") == ["x"]
        assert step_exchange.hear() == step_exchange.Heard(False, True)
        asked.append(True)
        assert step_exchange.take() == step_exchange.Heard(True, True)
    assert step_exchange.hear() == step_exchange.Heard(False, False)
