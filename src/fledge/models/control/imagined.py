"""What becomes of an action in a world that is imagined: how every learned world, and copies of the
true one, answer a planner.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor


class Imagined(NamedTuple):
    """One action in each of R rows, in each of M worlds that are thought possible; M is 1 where
    there is one.
    """

    state: Any  # of the imagined world, for its next step
    reward: Tensor  # [M, R]
    going: Tensor  # [M, R]: the chance that the episode goes on after it
