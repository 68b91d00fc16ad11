"""What a run of `fledge control` leaves: its last agent, its best, what the kept one earns in
episodes that steered nothing, a film.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fledge.evaluate.foretelling import measure_foretelling, measure_imagining
from fledge.evaluate.judged_episodes import Played, play_episodes, result_seed
from fledge.models.control.recurrent_world import RecurrentWorld
from fledge.next_command import write_command
from fledge.recipes.control.agent_files import Card, make_card, put_in, write_agent
from fledge.recipes.control.best_agent import BestAgent
from fledge.recipes.control.builders import Built
from fledge.recipes.control.config import ControlConfig
from fledge.recipes.course import Course, Summary
from fledge.report.frames import encode_animation, film
from fledge.runs.atomic import write_bytes
from fledge.runs.folder import Run
from fledge.runs.model_files import remove_model, write_model
from fledge.runs.show import Show
from fledge.seeds import seed_for
from fledge.worlds.world import World


def conclude(
    config: ControlConfig,
    course: Course,
    built: Built,
    sampler: Any,
    judge_world: World,
    best_agent: BestAgent,
) -> Summary:
    """Agents, result, film and summary."""
    run, show, last = course.run, course.show, course.last
    steps, folder = sampler.taken, run.model_folder
    with write_model(folder) as beside:
        write_agent(
            beside, built, make_card(config, judge_world, sampler, last["evaluation_return"])
        )
    best = choose_best(best_agent, last["evaluation_return"])
    result = {"last": play_episodes(judge_world, built.player.best, result_seed(config.seed))}
    foretold, imagined = None, built.learned_world
    # The last one's: it has seen most, and the best may be from before anything was seen.
    if isinstance(imagined, RecurrentWorld):
        foretold = measure_imagining(imagined, result["last"].rows)
    elif imagined is not None:
        foretold = measure_foretelling(imagined, result["last"].rows)
    if best is not None:
        put_in(built, best[0], judge_world)
        result["best"] = play_episodes(judge_world, built.player.best, result_seed(config.seed))
    pictured = film_agent(config, run, built, show) if config.pictures else ""
    first = next(
        row["evaluation_return"] for row in run.metrics.each() if "evaluation_return" in row
    )
    kept = "last" if best is None else "best"
    run.metrics.write(
        {
            "step": last["step"],
            "world_steps": float(steps),
            "test_evaluation_return": result[kept].mean,
        }
    )
    own = {
        "algorithm": config.algorithm,
        "world": run.config["world"],
        "seed": config.seed,
        "steps": steps,
        "evaluation_return": last["evaluation_return"],
        "best_evaluation_return": last["evaluation_return"]
        if best is None
        else best[1].evaluation_return,
        "best_steps": int(steps if best is None else best[1].world_steps),
        "kept": kept,
        "test_return": result[kept].mean,
        "test_interval": list(result[kept].interval),
        "test_episodes": config.evaluation_episodes,
        "last_test_return": result["last"].mean,
    }
    if foretold is not None:
        own["learned_world"] = foretold
    rose = (
        f"control: return {first:.1f} → {last['evaluation_return']:.1f} (mean of "
        f"{config.evaluation_episodes} episodes, ± {last['evaluation_spread']:.1f}) after "
        f"{steps:,} steps, in {run.seconds:.1f} s{pictured}."
    )
    if best is None:
        stays = f"Kept: the last agent, in {folder}; {describe_played(result['last'])}."
    else:
        stays = (
            f"Kept: the best agent, of step {best[1].world_steps:,} with "
            f"{best[1].evaluation_return:.1f}, in {best[0]}; {describe_played(result['best'])}, "
            f"the last one, in {folder}, {result['last'].mean:.1f}."
        )
    return course.finish(
        own, figures={"evaluation_return": "evaluation_return"},
        test={"evaluation_return": result[kept].mean}, lines=[rose, stays],
        then=(write_command("play", run=run.folder), write_command("report", run=run.folder)),
    )  # fmt: skip


def describe_played(played: Played) -> str:
    """What an agent earned in episodes that steered nothing, within a sentence."""
    low, high = played.interval
    return (
        f"in {len(played.returns)} other episodes it earned {played.mean:.1f} (95 %: {low:.1f} to "
        f"{high:.1f})"
    )


def choose_best(best_agent: BestAgent, last: float) -> tuple[Path, Card] | None:
    """Folder and card of the best agent, None where no evaluation was better than the last one:
    then that is the best.
    """
    best = best_agent.find()
    if best is not None and best[1].evaluation_return > last:
        return best
    remove_model(best_agent.folder)
    return None


def film_agent(config: ControlConfig, run: Run, built: Built, show: Show) -> str:
    """What the last line says of the film of the agent as it is now; why there is none is said at
    once.
    """
    made, why = film(
        config.world, built.player.best, seed=seed_for(config.seed, "evaluation", "film")
    )
    if made is None:
        show.line(why)
        return ""
    write_bytes(run.folder / "agent.png", encode_animation(made.frames, made.seconds))
    return f", filmed in {run.folder / 'agent.png'}"
