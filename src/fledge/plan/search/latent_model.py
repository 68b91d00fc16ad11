"""A search that knows the rules at its root alone: below, a learned model follows the moves.

What may be done is known where something was seen; in imagination every move is allowed, nothing
ends, and players take turns (Schrittwieser et al. 2020, appendix A).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fledge.errors import UserError
from fledge.models.control.latent_board import LatentBoardNetwork
from fledge.plan.search.models import Arrived
from fledge.plan.search.network_evaluator import mask_softmax
from fledge.worlds.games.game import Game, Numbers, mover_sign


class LatentModel:
    """A `TreeModel`: its roots are positions, its states latent boards."""

    known = chance = False

    def __init__(self, game: Game, network: LatentBoardNetwork, device: torch.device) -> None:
        """Raises UserError for a game with chance in it."""
        if game.outcomes:
            raise UserError(
                f"{game.name} has chance in it, which this learned model does not foretell: give "
                "algorithm=alphazero, or a game without chance."
            )
        self.game, self.network, self.device = game, network, device
        self.actions = self.edges = game.actions

    def begin(self, roots: Numbers) -> Arrived:
        """[N, W] -> [N]"""
        ended, _ = self.game.outcome(roots)
        legal = self.game.legal(roots)
        with torch.inference_mode():
            latent = self.network.represent(
                torch.from_numpy(self.game.observe(roots)).to(self.device)
            )
            return self.arrive(latent, self.game.turn(roots), ended, legal)

    def follow(self, states: Numbers, turn: Numbers, edge: NDArray[np.intp]) -> Arrived:
        with torch.inference_mode():
            latent = self.network.follow(
                torch.from_numpy(states).to(self.device), torch.from_numpy(edge).to(self.device)
            )
            everything = np.ones((len(edge), self.actions), dtype=bool)
            return self.arrive(latent, 1 - turn, np.zeros(len(edge), dtype=bool), everything)

    def forget(self) -> None:
        """Nothing is remembered."""

    def arrive(
        self, latent: Tensor, turn: Numbers, ended: Numbers, allowed: NDArray[np.bool_]
    ) -> Arrived:
        logits, value = self.network.predict(latent)
        prior = mask_softmax(logits, torch.from_numpy(allowed).to(self.device))
        worth = value.float().cpu().numpy() * mover_sign(turn)
        return Arrived(
            latent.float().cpu().numpy(), turn, ended, worth, allowed, prior.cpu().numpy()
        )
