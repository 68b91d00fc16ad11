"""A network for a game, what the search asks of it, and both of a finished run."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from fledge.algorithms.policy.alphazero import AlphaZero
from fledge.algorithms.policy.muzero import MuZero
from fledge.errors import UserError
from fledge.learner import Learner, Schedule
from fledge.models.control.board_network import BoardNetwork
from fledge.models.control.latent_board import LatentBoardNetwork
from fledge.optimizers import adamw
from fledge.plan.search.evaluation_cache import EvaluationCache
from fledge.plan.search.latent_model import LatentModel
from fledge.plan.search.models import Evaluator, KnownModel, TreeModel
from fledge.plan.search.network_evaluator import NetworkEvaluator
from fledge.plan.search.players import SearchPlayer
from fledge.plan.search.searching import Search, SearchSettings
from fledge.plan.search.wins_at_once import WinsFirst
from fledge.recipes.games.config import SelfplayConfig
from fledge.runs.folder import Run
from fledge.runs.lineage import is_of_a_run
from fledge.runs.model_files import check_model, find_standing_model
from fledge.sample.position_replay import PositionReplay
from fledge.seeds import generator_for
from fledge.stopwatch import Stopwatch
from fledge.system_errors import out_of_memory
from fledge.worlds.games.game import Game, SeesWins
from fledge.worlds.games.make import make_game

WEIGHTS, CARD = "model.safetensors", "agent.json"


class PlayerCard(BaseModel):
    """agent.json of a player."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    algorithm: str
    game: str
    channels: int
    blocks: int
    latent: bool  # whether the network is a model of the game, too
    games: int  # that it learned from


def build_network(game: Game, card: PlayerCard, seed: int = 0) -> nn.Module:
    """Its weights drawn by the run's seed."""
    size = (game.planes, game.board, game.actions, card.channels, card.blocks)
    drawn = generator_for(seed, "weights")
    if card.latent:
        places = [game.cell_of(action) for action in range(game.actions)]
        network: nn.Module = LatentBoardNetwork(*size, drawn, places)
    else:
        network = BoardNetwork(*size, drawn)
    return network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def build_model(game: Game, network: nn.Module, device: torch.device) -> TreeModel:
    """What a search with this network looks ahead by."""
    if isinstance(network, LatentBoardNetwork):
        return LatentModel(game, network, device)
    asked: Evaluator = NetworkEvaluator(game, network, device)
    if isinstance(game, SeesWins):
        asked = WinsFirst(game, asked)
    return KnownModel(game, EvaluationCache(asked, game.begin(1).shape[1], game.actions))


def build_player(
    game: Game, network: nn.Module, device: torch.device, simulations: int
) -> SearchPlayer:
    """As it plays a match: without chance."""
    return SearchPlayer(
        Search(build_model(game, network, device), SearchSettings(simulations=simulations))
    )


def build_algorithm(
    config: SelfplayConfig, game: Game, network: nn.Module, stopwatch: Stopwatch
) -> AlphaZero | MuZero:
    settings = config.self_play
    schedule = Schedule(
        config.learning_rate, config.steps * settings.updates_per_step, config.warmup_steps,
        config.schedule,
    )  # fmt: skip
    learner = Learner(
        network, schedule, optimizer=adamw(weight_decay=config.weight_decay), clip=config.clip
    )
    replay = PositionReplay(
        game, settings.buffer, generator=generator_for(config.seed, "batches"),
        symmetries=settings.symmetries, search_share=settings.search_share,
    )  # fmt: skip
    return config.entry.algorithm(network, learner, stopwatch, settings, replay=replay)


def load_player_network(given: Path) -> tuple[Game, nn.Module, PlayerCard]:
    """Of a finished run of `fledge selfplay`, or of its model folder. Raises UserError for what is
    none, or damaged.
    """
    given = Path(given)
    run = Run.open(given.parent if is_of_a_run(given) else given)
    folder = find_standing_model(run.model_folder)
    if run.verb != "selfplay" or not (folder / WEIGHTS).is_file():
        raise UserError(f"{given} holds no player: give a finished run of `fledge selfplay`.")
    check_model(folder)
    try:
        card = PlayerCard.model_validate_json((folder / CARD).read_bytes())
        game = make_game(card.game)
        network = build_network(game, card)
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (ValueError, RuntimeError, OSError, SafetensorError, ValidationError) as error:
        if out_of_memory(error):
            raise
        raise UserError(
            f"{folder} holds a player of another version of fledge, or a broken file "
            f"({' '.join(str(error).split())[:200]}): train it anew."
        ) from error
    return game, network.eval(), card


def load_game_player(folder: Path, simulations: int | None = None) -> SearchPlayer:
    """Who plays for a finished run: `play(positions)`, `think(position)`. simulations: by default
    as many as in its matches. Raises UserError as `load_player_network`.
    """
    game, network, _ = load_player_network(folder)
    if simulations is None:
        simulations = int(Run.open(Path(folder)).config["match_simulations"])
    return build_player(game, network, torch.device("cpu"), simulations)
