"""`fledge selfplay`: a network learns a game of two players from games against itself.

A verb of its own beside `control`: a world of `control` has one agent that earns rewards, and a
game has two who share the rules, a search over positions that can be copied, and opponents in
place of returns.
"""

from __future__ import annotations

import json

from fledge import ranks
from fledge.errors import UserError
from fledge.next_command import write_command
from fledge.plan.search.players import SearchPlayer
from fledge.plan.search.searching import Search
from fledge.recipes.course import Course, Start, Summary
from fledge.recipes.games.building import (
    CARD,
    WEIGHTS,
    PlayerCard,
    build_algorithm,
    build_model,
    build_network,
    build_player,
)
from fledge.recipes.games.config import SelfplayConfig as SelfplayConfig
from fledge.recipes.games.matches import Matches
from fledge.recipes.games.shown_games import play_shown
from fledge.recipes.training import choose_device
from fledge.runs.atomic import write_text
from fledge.runs.folder import Run
from fledge.runs.model_files import write_model
from fledge.runs.show import Show
from fledge.sample.self_play import SelfPlay
from fledge.seeds import seed_for
from fledge.tensor_file import write_tensors
from fledge.worlds.games.game import Game
from fledge.worlds.games.make import make_game

VERB, GAMES = "selfplay", "games.jsonl"


def selfplay(config: SelfplayConfig, show: Show, run: Run | None = None) -> Summary:
    """Raises UserError for a game or an algorithm that there is not."""
    if ranks.world() > 1:
        raise UserError(
            f"{ranks.world()} processes were started, and selfplay learns in one: start it alone."
        )
    start = Start(VERB, show, run)
    config = config.composed()
    settings = config.self_play
    game, device = make_game(config.game), choose_device(config.device)
    card = PlayerCard(
        algorithm=config.algorithm, game=config.game, channels=config.channels,
        blocks=config.blocks, games=0,
        latent=getattr(config.entry.algorithm, "latent", False),
    )  # fmt: skip
    network = build_network(game, card, config.seed).to(device)
    algorithm = build_algorithm(config, game, network, start.stopwatch)
    search = Search(
        build_model(game, network, device), settings.plan_search(),
        seed_for(config.seed, "noise"),
    )  # fmt: skip
    sampler = SelfPlay(
        game, search, config.games, temperature_moves=settings.temperature_moves,
        random_moves=settings.random_moves, seed=seed_for(config.seed, "actor"),
        stopwatch=start.stopwatch,
    )  # fmt: skip
    matches = Matches(config, game, network, device)
    with start.begin(config, data=config.own_code) as course:
        weights = sum(p.numel() for p in network.parameters())
        course.say(
            f"{config.algorithm} learns {game.name}, {config.steps:,} × {config.games} games, "
            f"{settings.simulations} simulations a move, {weights:,} parameters"
        )
        course.fit(
            algorithm, sampler, [matches.judge()], figure="policy_loss",
            evaluate_every=config.batches_between_evaluations, beside={"matches": matches},
        )  # fmt: skip
        with write_model(course.run.model_folder) as beside:
            tensors = {name: x.contiguous() for name, x in network.state_dict().items()}
            write_tensors(beside / WEIGHTS, tensors)
            done = card.model_copy(update={"games": sampler.played})
            (beside / CARD).write_text(done.model_dump_json(indent=2) + "\n", encoding="utf-8")
        player = build_player(game, network, device, config.match_simulations)
        write_games(course, game, player, config.samples)
        return conclude(config, course, sampler, matches)


def conclude(
    config: SelfplayConfig, course: Course, sampler: SelfPlay, matches: Matches
) -> Summary:
    test, last = course.test(), course.last
    tested = matches.tested
    assert tested is not None
    low, high = tested.interval
    lines = [
        f"{VERB}: against UCT with {config.rollouts:,} random games a move it won "
        f"{100 * tested.won:.0f} %, drew {100 * tested.drawn:.0f} % and lost "
        f"{100 * tested.lost:.0f} % of {len(tested.results)} games from openings of the test "
        f"(score 95 %: {100 * low:.0f} to {100 * high:.0f} %), with "
        f"{config.match_simulations} simulations a move.",
        f"Elo {course.first['elo']:.0f} → {last['elo']:.0f} (± {last['elo_margin']:.0f}), UCT "
        f"having 0, after {sampler.played:,} games.",
    ]
    own = {
        "algorithm": config.algorithm,
        "game": config.game,
        "games": sampler.played,
        "moves": sampler.moves,
        "elo": last["elo"],
        "elo_margin": last["elo_margin"],
        "test_interval": [low, high],
    }
    folder = course.run.folder
    return course.finish(
        own, test=test, figures={"match_score": "match_score", "elo": "elo"}, lines=lines,
        then=(
            write_command("play", config.game, against=folder),
            write_command("report", run=folder),
        ),
    )  # fmt: skip


def write_games(course: Course, game: Game, player: SearchPlayer, games: int) -> None:
    """games.jsonl: a line for each, with what was thought at every move; every game begins with one
    more move at random than the one before.
    """
    lines = [
        json.dumps(play_shown(game, player, seed_for(course.config.seed, "samples", i), i))
        for i in range(games)
    ]
    write_text(course.run.folder / GAMES, "".join(line + "\n" for line in lines))
