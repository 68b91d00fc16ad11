"""The picture of experts' load shows each expert's share of every stretch of steps."""

from __future__ import annotations

import numpy as np

from fledge.report.expert_loads import MOST, ExpertLoads, draw_expert_loads


def test_loads_of_any_length_are_means_over_stretches() -> None:
    loads, number = ExpertLoads(), 4 * MOST
    for step in range(1, number + 1):
        share = step / number
        loads.add({"step": step, "expert_load": [[share, 1 - share], [0.5, 0.5]]})
        loads.add({"step": step, "validation_loss": 1.0})
    assert MOST // 2 <= len(loads.stretches) < MOST
    stretch = number // len(loads.stretches)
    first = (stretch + 1) / 2 / number  # the mean of 1 … stretch, of `number`
    np.testing.assert_allclose(loads.stretches[0], [[first, 1 - first], [0.5, 0.5]])
    [drawn] = draw_expert_loads(loads)
    assert drawn.caption.startswith(f"2 layers of 2 experts, each a row, over {number:,} steps")
    busiest = [2 - (stretch + 1) / number, 2 - (stretch - 1) / number]
    assert f"{busiest[0]:.2f} → {busiest[1]:.2f} times" in drawn.caption


def test_what_is_no_load_is_passed_over() -> None:
    loads = ExpertLoads()
    for load in (None, "x", 3, [], [[]], [["a"]], {"a": 1}, [[1.0], [1.0, 2.0]], [[float("nan")]]):
        loads.add({"step": 1, "expert_load": load})
    loads.add({"step": 2, "expert_load": [[0.5, 0.5]]})
    loads.add({"step": 3, "expert_load": [[0.2, 0.3, 0.5]]})  # of another network
    assert len(loads.stretches) == 1
    assert draw_expert_loads(ExpertLoads()) == []
