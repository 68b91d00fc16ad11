"""What a row of a trainer of agents is: a setting, what its documents say, the equation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fledge.verify.referee.world_equations import BOOTSTRAPS


@dataclass(frozen=True)
class WorldRow:
    setting: dict[str, Any]
    claim: str
    equation: str
    gamma: float = 0.99
    trace: float = 0.95
    entropy: float = 0.0


@dataclass(frozen=True)
class Trainer:
    """adapter: the file that builds it; family: as `WorldHearing` has it."""

    adapter: str
    family: str
    rows: list[WorldRow] = field(default_factory=list[WorldRow])
    minibatches: bool = False


def name_both(actor: str, critic: str, cut: str = BOOTSTRAPS) -> str:
    return f"{actor.removesuffix('; ' + cut)}; {critic}; {cut}"
