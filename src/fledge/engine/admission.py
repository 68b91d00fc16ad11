"""Which of the requests that wait are prefilled next: in their order, as many as there are slots
for; but where somebody hears every token, few prompts at a time and the shortest first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from fledge.engine.row import Row
from fledge.engine.running_batch import RunningBatch

LONG_PASSED = 64  # waiting rows with a long prompt that others may pass
# Of prompts that are prefilled between two tokens of the rows under way: more in one pass is not
# faster, and everybody waits for its end.
HEARD_TOKENS = 256


class Admission:
    """It remembers whose turn it is: a row is passed by the shorter ones that waited with it when
    its turn began, and by none that come later.
    """

    def __init__(self) -> None:
        self._last = -1  # the number of the last row whose turn it is

    def take(self, queue: deque[Row], batch: RunningBatch) -> list[Row]:
        """Out of the queue. Those whose prompt is long stay there until it has been read ahead;
        others may pass them.
        """
        new, stay = list[Row](), list[Row]()
        while queue and len(new) < batch.free and len(stay) < LONG_PASSED:
            row = queue.popleft()
            (stay if batch.is_long(row) else new).append(row)
        if any(row.on_token is not None for row in (*batch.live, *new)):
            chosen = self._choose(new, batch)
            stay += [row for row in new if row not in chosen]
            new = chosen
        queue.extendleft(sorted(stay, key=lambda row: row.number, reverse=True))
        return new

    def _choose(self, rows: Sequence[Row], batch: RunningBatch) -> list[Row]:
        turn = [row for row in rows if row.number <= self._last]
        if not turn and rows:
            self._last, turn = rows[-1].number, list(rows)
        sizes = [len(row.prompt) - batch.prefix_cache.count_held(row.prompt) for row in turn]
        chosen, tokens = list[Row](), 0
        for size, row in sorted(zip(sizes, turn, strict=True), key=lambda pair: pair[0]):
            tokens += size
            if chosen and tokens > HEARD_TOKENS:
                break
            chosen.append(row)
        return chosen
