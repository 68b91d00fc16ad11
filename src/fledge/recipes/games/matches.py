"""How good a network is at each evaluation: matches with UCT and with what it was before, and
ratings from all of them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from fledge.evaluate.arena import Match, play_match
from fledge.evaluate.elo import rate_players
from fledge.evaluate.judge import Figures, Judge
from fledge.plan.search.players import SearchPlayer, uct_player
from fledge.recipes.games.building import build_player
from fledge.recipes.games.config import SelfplayConfig
from fledge.seeds import seed_for
from fledge.splits import HeldOut
from fledge.worlds.games.game import Game


class Matches:
    """Player 0 of the ratings is UCT, player k the network of the k-th evaluation. Both the points
    of all matches and the network of the last evaluation are state.
    """

    def __init__(
        self, config: SelfplayConfig, game: Game, network: nn.Module, device: torch.device
    ) -> None:
        self.config, self.game, self.network, self.device = config, game, network, device
        self.points = np.zeros((1, 1))
        self.before: nn.Module | None = None
        self.tested: Match | None = None

    def judge(self) -> Judge:
        return Judge(self.read, ranks="match_score")

    def read(self, part: HeldOut, step: int) -> Figures:
        """Against UCT; between evaluations also against the one before. The test part's openings
        are others.
        """
        config = self.config
        against = self.meet_uct(part, step)
        figures = {"match_score": against.score, "won": against.won, "lost": against.lost}
        if part != "validation":
            self.tested = against
            return figures
        number = len(self.points)
        self.points = np.pad(self.points, (0, 1))
        self.note(number, 0, against)
        if self.before is not None:
            earlier = play_match(
                self.game, self.seat(self.network), self.seat(self.before), config.match_games,
                seed_for(config.seed, "evaluation", f"earlier {number}"), config.opening_moves,
            )  # fmt: skip
            self.note(number, number - 1, earlier)
            figures["score_earlier"] = earlier.score
        self.before = copy.deepcopy(self.network)
        rated = rate_players(self.points)
        return figures | {"elo": float(rated.elo[-1]), "elo_margin": float(rated.margin[-1])}

    def meet_uct(self, part: HeldOut, step: int) -> Match:
        """Each match has openings and random games of its own."""
        config, name = self.config, f"{part} {step}"
        return play_match(
            self.game,
            self.seat(self.network),
            uct_player(self.game, config.rollouts, seed_for(config.seed, "judge", name)),
            config.match_games, seed_for(config.seed, "evaluation", name), config.opening_moves,
        )  # fmt: skip

    def seat(self, network: nn.Module) -> SearchPlayer:
        """As a network plays a match."""
        return build_player(self.game, network, self.device, self.config.match_simulations)

    def note(self, one: int, other: int, match: Match) -> None:
        points = match.score * len(match.results)
        self.points[one, other] += points
        self.points[other, one] += len(match.results) - points

    def state_dict(self) -> dict[str, Any]:
        before = None if self.before is None else self.before.state_dict()
        return {"points": self.points.tolist(), "before": before}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.points = np.array(state["points"])
        self.before = None
        if state["before"] is not None:
            self.before = copy.deepcopy(self.network)
            self.before.load_state_dict(state["before"])
