"""How often each expert of a mixture was chosen, as one picture over a run's steps."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fledge.report.drawn import Drawn
from fledge.report.heat_map import draw_heat_map
from fledge.runs.landmarks import LogRow

MOST = 128  # columns of the picture, at the least half as many where there are more steps


@dataclass
class ExpertLoads:
    """The loads of a log of any length, in bounded memory: means over stretches of equally many
    steps.
    """

    stretches: list[np.ndarray] = field(default_factory=list[np.ndarray])  # [L, E] each
    last: int = 0  # the step of the last row
    _sum: np.ndarray | None = None
    _rows: int = 0  # in the sum
    _stride: int = 1

    def add(self, row: LogRow) -> None:
        """Nothing of a row without loads, or of one whose layers are none."""
        load, step = row.get("expert_load"), row.get("step")
        if load is None or not isinstance(step, int):
            return
        try:
            now = np.array(load, dtype=np.float64)
        except (TypeError, ValueError):
            return
        before = self.stretches[0] if self.stretches else self._sum
        fits = now.ndim == 2 and now.size > 0 and (before is None or before.shape == now.shape)
        if not fits or not np.isfinite(now).all():
            return
        self.last = step
        self._sum = now if self._sum is None else self._sum + now
        self._rows += 1
        if self._rows == self._stride:
            self.stretches.append(self._sum / self._rows)
            self._sum, self._rows = None, 0
        if len(self.stretches) == MOST:
            pairs = zip(self.stretches[::2], self.stretches[1::2], strict=True)
            self.stretches = [(one + other) / 2 for one, other in pairs]
            self._stride *= 2


def draw_expert_loads(loads: ExpertLoads) -> list[Drawn]:
    """A row an expert, layer after layer, and time to the right; nothing of a run without them."""
    if not loads.stretches:
        return []
    by_time = np.stack(loads.stretches)  # [C, L, E]
    _, layers, number = by_time.shape
    # Twice an even share, and half of it, are as deep as it gets.
    off = np.log2(np.maximum(by_time * number, 1e-9)).clip(-1, 1).reshape(len(by_time), -1).T
    begin, end = (number * by_time[place].max() for place in (0, -1))
    caption = (
        f"{layers} layers of {number} experts, each a row, over {loads.last:,} steps · the busiest "
        f"{begin:.2f} → {end:.2f} times an even share"
    )
    wide = off.repeat(-(-len(off) // off.shape[1]), axis=1)  # its cells are squares
    svg = draw_heat_map(wide, description=f"Load of experts: {caption}")
    unit = "blue: chosen more often than an even share (deepest: twice), orange: less"
    return [Drawn("Load of experts", unit, svg, [], caption)]
