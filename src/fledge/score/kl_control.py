"""The coefficient β of the KL penalty: fixed, or steered towards a target (Ziegler et al. 2019,
§2.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass
class KLControl:
    """β stays as it is without a target; with one, e = clip(KL/target − 1, ±0.2) and β ← β·(1 +
    gain·e) once a batch.

    KL in nats per completion. gain: the source's K_β.
    """

    beta: float
    target: float | None = None
    gain: float = 0.1

    def observe(self, kl: float) -> None:
        if self.target is not None:
            error = max(-0.2, min(0.2, kl / self.target - 1))
            self.beta *= 1 + self.gain * error

    def state_dict(self) -> dict[str, Any]:
        return {"beta": self.beta}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.beta = state["beta"]
