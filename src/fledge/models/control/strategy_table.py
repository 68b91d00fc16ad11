"""A strategy of both players of a game with hidden information: what is done with which probability
at everything that a player can know.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fledge.errors import UserError
from fledge.json_file import read_json
from fledge.runs.atomic import write_text
from fledge.tensor_file import write_tensors


@dataclass(frozen=True)
class StrategyTable:
    """sets: by player, what it knows, and the actions there, in the order of `probability` [slots],
    which is that of all their actions one after the other.
    """

    game: str
    sets: tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]
    probability: Tensor

    def read_all(self) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
        """By player and what it knows: {action: probability}."""
        numbers = iter(self.probability.tolist())
        first, second = (
            {known: {action: next(numbers) for action in actions} for known, actions in own.items()}
            for own in self.sets
        )
        return first, second

    def ask(self, player: int, known: str) -> dict[str, float]:
        """{action: probability} of player 0 or 1, who knows this. Raises UserError for what it can
        never know.
        """
        if player not in (0, 1) or known not in self.sets[player]:
            some = next(iter(self.sets[player if player in (0, 1) else 0]), "")
            raise UserError(
                f"player {player} of {self.game} never knows {known!r}: give player 0 or 1 and "
                f"what it knows, such as {some!r}."
            )
        return self.read_all()[player][known]

    def save(self, folder: Path) -> None:
        """config.json and model.safetensors."""
        card = {"model": "strategy", "game": self.game, "sets": self.sets}
        write_text(folder / "config.json", json.dumps(card, indent=1, ensure_ascii=False) + "\n")
        write_tensors(folder / "model.safetensors", {"probability": self.probability})


def load_strategy(folder: Path) -> StrategyTable:
    """Raises UserError for a folder that holds none."""
    card = read_json(folder / "config.json", dict[str, Any], mend="solve the game again")
    try:
        if card.get("model") != "strategy":
            raise KeyError(f"model {card.get('model')!r}")
        first, second = (_read_sets(own) for own in card["sets"])
        probability = load_file(folder / "model.safetensors")["probability"]
        slots = sum(len(actions) for own in (first, second) for actions in own.values())
        if probability.shape != (slots,) or probability.dtype != torch.float64:
            raise ValueError(f"{tuple(probability.shape)} probabilities for {slots} actions")
        return StrategyTable(str(card["game"]), (first, second), probability)
    except (KeyError, SafetensorError, OSError, TypeError, ValueError) as error:
        raise UserError(
            f"{folder} holds no strategy of `fledge solve` ({error}): solve the game again, or "
            "give another."
        ) from error


def _read_sets(own: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    return {known: tuple(map(str, actions)) for known, actions in own.items()}
