"""`fledge play`: the agent of a finished run in fresh episodes: what it earns, how long it lasts,
and a film of it. Games of two players: play_game.py.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from contextlib import closing
from html import escape
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from fledge.errors import UserError
from fledge.evaluate.judged_episodes import play_episodes
from fledge.recipes.control.agent_files import find_agent
from fledge.recipes.control.agents import Agent
from fledge.recipes.control.loading import load_built
from fledge.recipes.look.play_game import PlayGameConfig, play_game
from fledge.report.frames import encode_animation, film
from fledge.runs.atomic import write_bytes
from fledge.runs.folder import Run
from fledge.runs.lineage import is_of_a_run
from fledge.runs.show import Show
from fledge.runs.whole_folder import find_place
from fledge.seeds import seed_for
from fledge.worlds.games.make import is_game
from fledge.worlds.make import make_world, name_of


class PlayConfig(BaseModel):
    """Play episodes with the agent of a finished run of `fledge control`, in its world."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: Path = Field(
        description="a finished run of `fledge control`; or a game, such as connect4, with fields "
        "of its own: `fledge play connect4 --help`"
    )
    which: Literal["best", "last"] = Field(
        default="best",
        description="its best agent, by its evaluations, or as it was after the last step",
    )
    episodes: int = Field(
        default=20, ge=1, description="one in each copy of the world, side by side"
    )
    seed: int = Field(
        default=0,
        ge=0,
        lt=2**31,
        description="of the episodes: none that a run learned from or was judged by",
    )
    deterministic: bool = Field(
        default=True,
        description="false: actions are drawn from the agent's distribution, where it has one",
    )
    film: Path | None = Field(
        default=None, description="a file for a film of one more episode: .png (animated) or .html"
    )

    @classmethod
    def compose(cls, given: Mapping[str, Any]) -> type[BaseModel]:
        """The fields of a game, where one is named in place of a run."""
        return PlayGameConfig if is_game(str(given.get("run", ""))) else cls


def play(config: PlayConfig | PlayGameConfig, show: Show, world: Any = None) -> dict[str, Any]:
    """world: where the run's was an object of Python's, that object.

    Raises UserError for a run without an agent, a world that is not here or fails, and a film
    that cannot be made.
    """
    if isinstance(config, PlayGameConfig):
        return play_game(config, show)
    if config.film is not None and config.film.suffix not in (".png", ".html"):
        raise UserError(
            f"film={config.film} was given: a film is an animated .png, or an .html page with it."
        )
    check_is_no_player(config.run)
    run, folder = find_agent(config.run, config.which)
    given = run.config["world"] if world is None else world
    with closing(make_world(given, config.episodes)) as made:
        built, card = load_built(run, folder, made, torch.device("cpu"))
        agent = Agent(built, made, card, seed_for(config.seed, "actor", "play"))
        acts = built.player.best if config.deterministic else agent.draw
        played = play_episodes(made, acts, seed_for(config.seed, "evaluation", "play"))
        if config.film is not None:
            shoot(config, given, acts, show)
    low, high = played.interval
    result = {
        "verb": "play",
        "run": str(config.run),
        "which": "best" if find_place(folder).name == "best" else "last",
        "agent": str(folder),
        "world": run.config["world"],
        "algorithm": run.config["algorithm"],
        "trained_steps": None if card is None else card.world_steps,
        "seed": config.seed,
        "episodes": config.episodes,
        "mean_return": played.mean,
        "interval": [low, high],
        "mean_length": float(played.lengths.mean()),
        "returns": played.returns.tolist(),
        "lengths": [int(length) for length in played.lengths],
        "film": None if config.film is None else str(config.film),
    }
    of = "" if card is None else f" of step {card.world_steps:,}"
    show.line(
        f"{result['algorithm']} in {result['world']}, the {result['which']} agent{of}: return "
        f"{played.mean:.1f} in {config.episodes} episodes (95 %: {low:.1f} to {high:.1f}; each "
        f"{played.returns.min():.1f} to {played.returns.max():.1f}), {result['mean_length']:.0f} "
        "steps long."
    )
    return result


def check_is_no_player(folder: Path) -> None:
    """Raises UserError for a run that learned a game of two players."""
    run = Run.open(folder.parent if is_of_a_run(folder) else folder)
    if run.verb == "selfplay":
        raise UserError(
            f"{folder} learned to play {run.config['game']} against somebody: give the game in its "
            f"place, and against={folder}."
        )


def shoot(config: PlayConfig, world: Any, acts: Any, show: Show) -> None:
    """One episode as a file."""
    assert config.film is not None
    made, why = film(world, acts, seed=seed_for(config.seed, "evaluation", "play film"))
    if made is None:
        raise UserError(f"film={config.film} was asked for, and there is none. {why}")
    content = encode_animation(made.frames, made.seconds)
    if config.film.suffix == ".html":
        picture = base64.b64encode(content).decode("ascii")
        title = escape(f"{config.run} in {name_of(world)}: return {made.earned:.1f}")
        content = (
            f'<!doctype html><meta charset="utf-8"><title>{title}</title><p>{title}</p>'
            f'<img alt="{title}" src="data:image/png;base64,{picture}">\n'
        ).encode()
    config.film.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(config.film, content)
    show.line(
        f"One episode, {made.earned:.1f}{'' if made.whole else ' so far'}, is filmed in "
        f"{config.film}."
    )
