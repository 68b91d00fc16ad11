"""One agent learns to act in a world, and is judged in a separate one."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import torch

from fledge import ranks
from fledge.algorithms.parts.observing import (
    Observing,
    see_what_came,
    see_what_was_chosen_at,
)
from fledge.algorithms.parts.replayed import MemorySettings
from fledge.errors import UserError
from fledge.evaluate.judge import Figures, Judge
from fledge.evaluate.judged_episodes import Played, play_episodes, steering_seed
from fledge.generators import seed_generators
from fledge.models.control.perceptron_kernel import use_threads
from fledge.pace import Pace
from fledge.recipes.control.agent_files import (
    Card,
    find_agent,
    keep_best,
    make_card,
    put_in,
)
from fledge.recipes.control.best_agent import BestAgent
from fledge.recipes.control.builders import Built, Making
from fledge.recipes.control.config import ControlConfig, fill_in
from fledge.recipes.control.kinds import IMITATORS, AgentKind, classify_world, find_kind
from fledge.recipes.control.loading import load_player
from fledge.recipes.control.result import conclude
from fledge.recipes.course import Course, Start, Summary
from fledge.recipes.pacing import by_world_steps
from fledge.recipes.speed import Speed, recall_speed
from fledge.recipes.threads import threads_are_open, watch_threads
from fledge.recipes.training import choose_device
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.runs.whole_folder import find_place
from fledge.splits import HeldOut
from fledge.waiting import describe_waiting
from fledge.worlds.make import make_world, name_of
from fledge.worlds.units import find_unscaled_parts
from fledge.worlds.world import Box, World

# times 1, up or down: Pendulum, Acrobot and MuJoCo's bodies show numbers of up to 30 and learn
FAR = 50.0
# units of the widest hidden layer: up to there a second thread of torch gains a fifth at best, and
# beside another process loses all
SMALL = 256


def train_agent(config: ControlConfig, show: Show, run: Run | None = None) -> Summary:
    """Raises UserError for an unknown algorithm or world, settings that do not go together, and a
    world that fails.
    """
    start = Start("control", show, run)
    seed_generators(config.seed)  # for worlds of the user's that draw from what the process shares
    config, kind = prepare(config), find_kind(config.algorithm)
    device = choose_device(config.device)
    with ExitStack() as worlds:
        world, judge_world = (
            worlds.enter_context(
                closing(make_world(config.world, n, processes=config.world_process == "own"))
            )
            for n in (config.copies, config.evaluation_episodes)
        )
        imitated = None if config.expert is None else load_player(config.expert, world, device)
        making = Making(world, config, start.stopwatch, device, imitated)
        built = kind.build(making, making.settings)
        if config.normalise and built.encoder is None:
            raise UserError(
                f"algorithm={config.algorithm} takes observations as they are: leave "
                "normalise=true out."
            )
        base = None if config.base is None else find_agent(config.base)
        expert = None if config.expert is None else find_agent(config.expert, "best")
        card = None if base is None else begin_from(built, *base, world)
        sampler = kind.sampler(world, built, start.stopwatch, config, show.line)
        if card is not None and card.spread is not None and config.scale_rewards:
            sampler.scale.count, sampler.scale.mean, sampler.scale.squares = card.spread
        if ranks.world() > 1:
            from fledge.scale.told import Told

            sampler = Told(sampler)
        if kind.workers:
            worlds.callback(sampler.close)
        data = [name_of(config.world), *config.own_code]
        imitates = [find_place(expert[1])] if expert else []
        begun_from = [find_place(base[1])] if base else []
        # now that nothing can be wrong with it any more
        worlds.callback(use_threads, None)
        with start.begin(config, parents=imitates, initial=begun_from, data=data) as course:
            course.pace = pace_agent(config, device, course)
            course.say(f"{config.algorithm} in {world.name}, {config.steps:,} steps")
            say_what_to_know(course, kind, world)
            algorithm = by_world_steps(observe_after_updates(built, kind), making.paces)
            best = BestAgent(course.run, course.show.line)
            judge = judge_agent(config, course, built, sampler, judge_world, best)
            course.fit(
                algorithm, sampler, [judge], unit="actions", figure="episode_return",
                evaluate_every=config.steps_between_evaluations, stop_at=config.stop_at_return,
                beside={"best": best},
            )  # fmt: skip
            return conclude(config, course, built, sampler, judge_world, best)


def say_what_to_know(course: Course, kind: AgentKind, world: World) -> None:
    """A line for actions without bounds, and one for a run that goes on and cannot end with the
    same bits.
    """
    parts = find_unscaled_parts(world.action)
    if bool(parts.any()):
        course.show.line(
            f"Of an action the parts {parts.nonzero().flatten().tolist()} have no bounds on "
            "both sides: they are learned in the world's own units, all others from −1 to 1."
        )
    if not course.run.checkpoints.steps():
        return
    if kind.workers:
        course.show.line(
            "Workers do not wait for each other, so no run of theirs ends with the same bits."
        )
    elif not world.restorable:
        course.show.line(
            f"{world.name} cannot be put back where it was: its episodes begin anew, so the run "
            "ends with other bits."
        )


def observe_after_updates(built: Built, kind: AgentKind) -> Any:
    """The algorithm; where the policy normalises, it counts in what it has seen."""
    if built.encoder is None or not built.encoder.normalise:
        return built.algorithm
    seen = see_what_was_chosen_at if kind.whole_episodes else see_what_came
    return Observing(built.algorithm, built.encoder, seen)


def prepare(config: ControlConfig) -> ControlConfig:
    """The settings in full. Raises UserError for an unknown algorithm or world, and for settings
    that do not go together.
    """
    kind = find_kind(config.algorithm)
    with closing(make_world(config.world, 1)) as probe:
        config = fill_in(config, kind, classify_world(probe))
        check_plan(config, kind, probe)
    return config


def begin_from(built: Built, run: Run, folder: Path, world: World) -> Card | None:
    """The agent of a finished run goes on: its weights, and what its observations and rewards were
    divided by.
    """
    if run.config["world"] != world.name:
        raise UserError(
            f"{folder} was trained in {run.config['world']}, and this is {world.name}: give a run "
            "of the same world."
        )
    card = put_in(built, folder, world)
    for name in ("target_network", "target_actor", "target_critic", "target_value"):
        if (target := getattr(built.algorithm, name, None)) is not None:
            target.catch_up()
    return card


def say_if_far(world: World, played: Played, show: Show) -> None:
    """One line where observations are so far from 1 that a network hardly learns from them."""
    if not isinstance(world.observation, Box) or world.observation.low.dtype == torch.uint8:
        return
    size = float(played.obs.double().square().mean().sqrt())
    if size > FAR or 0 < size < 1 / FAR:
        show.line(
            f"Observations in {world.name} are of the order of {size:.2g}, and networks learn from "
            "numbers near 1: give normalise=true."
        )


def is_small(config: ControlConfig, device: torch.device) -> bool:
    """Whether torch computes with one thread, and the C of networks with all, which changes no bit:
    so the same bits whatever threads there are. Worlds keep those they were made with.
    """
    return device.type == "cpu" and config.network == "mlp" and max(config.widths) <= SMALL


def pace_agent(config: ControlConfig, device: torch.device, course: Course) -> Pace:
    """As many threads as the field says; else torch's one for a small network, and a large one
    tries as it begins how many serve it best.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if is_small(config, device):
        use_threads(torch.get_num_threads())
    threads = config.threads or (1 if is_small(config, device) else torch.get_num_threads())
    record: dict[str, Any] = {"precision": "fp32", "compile": False, "threads": threads}
    watched = not is_small(config, device) and threads_are_open(config.threads, device.type)
    if ranks.world() == 1 and not is_small(config, device):
        speed = recall_speed(course.run, course.show)
        speed = speed or Speed(record | {"waiting": describe_waiting()})
        speed.keep(course.run)
        record = speed.record
    return watch_threads(course.run, record, course.show, watched=watched, eager=True)


def check_plan(config: ControlConfig, kind: AgentKind, world: World) -> None:
    """Raises UserError for what cannot work together, before anything is computed."""
    if not isinstance(world.action, kind.actions):
        raise UserError(
            f"algorithm={config.algorithm} is for "
            f"{'real numbers' if Box in kind.actions else 'one action of several'}, and "
            f"{config.world} wants "
            f"{'real numbers' if isinstance(world.action, Box) else 'one of several'}: give ppo."
        )
    if kind.tables and classify_world(world) != "tables":
        raise UserError(
            f"algorithm={config.algorithm} fills a table, and {config.world} has no states to "
            "count: give dqn or ppo."
        )
    if classify_world(world) == "pictures" and not kind.pictures:
        raise UserError(
            f"{config.world} shows pictures: give algorithm=dqn or dreamer, which have a "
            "convolution for them."
        )
    if config.copies > config.steps:
        raise UserError(
            f"copies={config.copies} and steps={config.steps}: give as many steps as copies, or "
            "more."
        )
    settings = config.settings
    if isinstance(settings, MemorySettings) and config.steps <= settings.learning_starts:
        raise UserError(
            f"steps={config.steps} and learning_starts={settings.learning_starts}: nothing would "
            "be learned. Give more steps, or a smaller learning_starts."
        )
    imitates = config.algorithm in IMITATORS
    if imitates and config.expert is None:
        raise UserError(
            f"algorithm={config.algorithm} was given without an expert: give expert=RUN, a "
            "finished run of `fledge control` in this world."
        )
    if config.expert is not None and not imitates:
        raise UserError(
            f"algorithm={config.algorithm} asks no expert: leave expert={config.expert} out."
        )
    if config.network == "graph" and not kind.actor_critic:
        raise UserError(
            f"algorithm={config.algorithm} has networks of its own: leave network=graph out, or "
            "give ppo."
        )
    if (kind.whole_episodes or kind.workers) and config.scale_rewards:
        raise UserError(
            f"algorithm={config.algorithm} takes rewards as they are: leave scale_rewards=true out."
        )
    if kind.workers and not isinstance(config.world, str):
        raise UserError(
            "workers look for their world by its name: give it as ./FILE.py:World, or "
            "algorithm=a2c."
        )
    if kind.workers and config.normalise:
        raise UserError(
            "workers have no statistics in common: leave normalise=true out, or give algorithm=a2c."
        )
    smallest = settings.sampling().smallest_group
    if config.copies < smallest:
        raise UserError(
            f"copies={config.copies} leaves no other episode to compare with: give {smallest} or "
            "more, or baseline=value."
        )
    updates, epochs = settings.count_updates(config.copies * config.steps_per_batch)
    if updates % epochs:
        raise UserError(
            f"updates_per_step={updates} in epochs={epochs}: each pass makes the same number of "
            "optimizer steps. Give a multiple of epochs."
        )


def judge_agent(
    config: ControlConfig, course: Course, built: Built, sampler: Any, world: World, best: BestAgent
) -> Judge:
    """By whole episodes without exploring, which keep the best agent; the result's own episodes are
    `conclude`'s.
    """

    def read(part: HeldOut, step: int) -> Figures:
        played = play_episodes(world, built.player.best, steering_seed(config.seed))
        if step == 0 and not config.normalise:
            say_if_far(world, played, course.show)
        kept = best.find()
        if kept is None or played.mean > kept[1].evaluation_return:
            keep_best(course.run, built, make_card(config, world, sampler, played.mean))
        return {
            "evaluation_return": played.mean,
            "evaluation_spread": float(played.returns.std(correction=0)),
            "world_steps": float(sampler.taken),
        }

    return Judge(read, ranks="evaluation_return")
