"""`fledge control`: an agent learns to act in a world, and is judged in a separate one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor

from fledge.errors import UserError
from fledge.generators import seed_generators
from fledge.loop import train
from fledge.recipes.compare import compare
from fledge.recipes.control_builders import Built, Making
from fledge.recipes.control_kinds import IMITATORS, KINDS, Kind, kind_for, kind_of_world
from fledge.recipes.pacing import Paced, by_world_steps, say_skipped
from fledge.recipes.show import Show, Watch
from fledge.runs.atomic import write_bytes
from fledge.runs.folder import Run
from fledge.runs.model_files import written_model
from fledge.sample.whole_episodes import WholeEpisodes
from fledge.seeds import seed_for
from fledge.stopwatch import Stopwatch
from fledge.tensor_file import write_tensors
from fledge.worlds.frames import animation, film
from fledge.worlds.make import make_world
from fledge.worlds.units import parts_of_its_own
from fledge.worlds.world import Box, World

WIDEST = 100_000  # units of a hidden layer
SMALL = 256  # units of the widest hidden layer: up to there a second thread gains a fifth at best, and beside another process loses all


class ControlConfig(BaseModel):
    """Train an agent in a world by ppo, dqn, reinforce, … and judge it in episodes of its own. `none` is the algorithm's own value."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    algorithm: str = Field(default="ppo", description=f"one of {', '.join(KINDS)}")
    expert: Path | None = Field(
        default=None, description="cloning, dagger: whom to imitate, a finished run of `fledge control` in this world"
    )
    world: str = Field(
        default="CartPole-v1",
        description="a gymnasium name, such as Hopper-v5; ./mine.py:World; gridworld, gridworld:MAP.txt; words:TASK",
    )
    steps: int = Field(default=100_000, ge=1, description="steps in the world, all copies together")
    seed: int = Field(default=0, ge=0, lt=2**31, description="of every random number in the run")
    compare: str | None = Field(
        default=None, description="several algorithms in place of one, such as ppo,dqn,reinforce: curves with intervals"
    )
    seeds: int = Field(default=3, ge=1, description="compare: runs of each algorithm, with this seed and the next ones")
    out: Path | None = Field(
        default=None, description="run folder; by default the first free of runs/control, runs/control-2, …"
    )
    copies: int | None = Field(default=None, ge=1, description="of the world, side by side")
    steps_per_batch: int | None = Field(default=None, ge=1, description="of each copy, between two updates")
    rows_per_update: int | None = Field(default=None, ge=1, description="steps that an optimizer step learns from")
    epochs: int | None = Field(
        default=None, ge=1, description="passes over each batch: ppo, off_policy; of the critic: natural, trpo"
    )
    learning_rate: float | None = Field(default=None, gt=0, description="at its beginning")
    schedule: Literal["constant", "linear", "cosine"] | None = Field(
        default=None, description="of the learning rate, down to 0"
    )
    gamma: float | None = Field(default=None, gt=0, le=1, description="discount per step")
    gae_lambda: float | None = Field(default=None, ge=0, le=1, description="of the advantage estimation")
    clip: float | None = Field(default=None, ge=0, description="the gradient is scaled down to this norm; 0 never")
    widths: tuple[int, ...] | None = Field(default=None, description="of the hidden layers, such as 64,64")
    network: Literal["mlp", "graph"] = Field(
        default="mlp", description="graph: of the policy, over a MuJoCo body's joints"
    )
    normalise: bool | None = Field(default=None, description="observations by running mean and spread")
    scale_rewards: bool | None = Field(default=None, description="by the running spread of the returns")
    entropy_coefficient: float = Field(default=0.0, ge=0, description="of the entropy bonus")
    value_coefficient: float = Field(default=0.5, ge=0, description="of the value error in the loss")
    clip_range: float = Field(default=0.2, gt=0, description="ppo: the ratio counts from 1 − this to 1 + this")
    value_clip: float | None = Field(
        default=None, gt=0, description="ppo: the value may move this far from its old one; none: freely"
    )
    update_kl: float | None = Field(
        default=None, gt=0, description="nats a step between new and old policy: ends ppo's passes, bounds trpo's step"
    )
    baseline: Literal["none", "constant", "batch", "leave_one_out", "optimal", "value"] = Field(
        default="leave_one_out", description="reinforce: what a return is compared with; value: a critic's"
    )
    baseline_value: float = Field(
        default=0.0, description="reinforce with baseline=constant, off_policy: that constant"
    )
    importance: Literal["decision", "trajectory"] = Field(
        default="decision", description="off_policy: weights of each reward, or of the whole episode"
    )
    truncate_at: float | None = Field(
        default=None,
        gt=0,
        description="off_policy, async: the largest importance weight; none: async 1, off_policy any",
    )
    world_process: Literal["trainer", "own"] = Field(
        default="trainer",
        description="where gymnasium's worlds act: with the agent, or each copy in a process of its own",
    )
    workers: int = Field(default=2, ge=1, description="async: processes, each with its own copies of the world")
    natural_rate: float = Field(default=0.05, gt=0, description="natural: of its step")
    updates_per_batch: int | None = Field(
        default=None, ge=1, description="dqn, sac, td3, cloning, dagger, goal_cloning: optimizer steps after each batch"
    )
    buffer: int = Field(default=100_000, ge=1, description="dqn, sac, td3: steps that are remembered")
    learning_starts: int = Field(
        default=1_000, ge=0, description="dqn, sac, td3: steps before the first optimizer step"
    )
    target_every: int = Field(default=8, ge=1, description="dqn: optimizer steps between copies to the target network")
    n_step: int = Field(default=3, ge=1, description="dqn: rewards before the bootstrap")
    double: bool = Field(default=True, description="dqn: the learning network chooses, the target network judges")
    dueling: bool = Field(default=False, description="dqn: value and advantage in streams of their own")
    prioritised: bool | None = Field(default=None, description="dqn: what surprised is remembered more often")
    exploration_share: float = Field(default=0.1, ge=0, le=1, description="dqn: of the steps, in which ε falls")
    last_epsilon: float = Field(default=0.04, ge=0, le=1, description="dqn: ε from then on")
    evaluate_every: int | None = Field(
        default=None,
        ge=0,
        description="world steps between evaluations; 0: only before and after; none: a tenth of all",
    )
    evaluation_episodes: int = Field(default=20, ge=1, description="that an evaluation plays, without exploring")
    stop_at_return: float | None = Field(default=None, description="end as soon as an evaluation reaches this")
    save_every_s: float = Field(default=30.0, ge=0, description="seconds between checkpoints")
    pictures: bool = Field(
        default=True, description="film the trained agent for the report, where the world has pictures"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: a GPU if there is one")

    @field_validator("widths", mode="before")
    @classmethod
    def _numbers(cls, given: Any) -> Any:
        """The command line's 64,64."""
        return [part.strip() for part in given.split(",")] if isinstance(given, str) else given

    @field_validator("widths")
    @classmethod
    def _some(cls, widths: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if widths is not None and not all(0 < width <= WIDEST for width in widths):
            raise ValueError(f"each must be from 1 to {WIDEST}")
        return widths


OTHERWISE = {
    "copies": 8, "steps_per_batch": 32, "rows_per_update": 64, "epochs": 1, "learning_rate": 1e-3, "schedule": "constant",
    "gamma": 0.99, "gae_lambda": 0.95, "clip": 0.5, "widths": (64, 64), "normalise": False, "scale_rewards": False,
    "updates_per_batch": 128, "prioritised": False,
}  # fmt: skip


def settled(config: ControlConfig, kind: Kind, world_kind: str) -> ControlConfig:
    """With every field that was left open filled in: the algorithm's own value for such a world, else for any."""
    own = OTHERWISE | dict(kind.settings) | dict(kind.worlds.get(world_kind, {}))
    own["evaluate_every"] = max(1, config.steps // 10)
    left = {name: value for name, value in own.items() if getattr(config, name) is None}
    return config.model_copy(update=left)


def control(config: ControlConfig, show: Show, run: Run | None = None) -> dict[str, Any]:
    """Raises UserError for an unknown algorithm or world, settings that do not go together, and a world that fails."""
    if config.compare is not None:
        return compare(config, show, run, control, prepared)
    seed_generators(config.seed)  # for worlds of the user's that draw from what the process shares
    config, kind, stopwatch = prepared(config), kind_for(config.algorithm), Stopwatch()
    assert config.copies is not None
    assert config.steps_per_batch is not None
    assert config.gamma is not None
    device = torch.device(
        "cuda" if config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available()) else "cpu"
    )
    with ExitStack() as worlds:
        world, judge_world = (
            worlds.enter_context(closing(make_world(config.world, n, processes=config.world_process == "own")))
            for n in (config.copies, config.evaluation_episodes)
        )
        making = Making(world, config, stopwatch, device)
        built = kind.build(making)
        if config.normalise and built.encoder is None:
            raise UserError(f"algorithm={config.algorithm} takes observations as they are: leave normalise=true out.")
        sampler = kind.sampler(world, built, stopwatch, config, show.line)
        if kind.workers:
            worlds.callback(sampler.close)
        if run is None:  # now that nothing can be wrong with it any more
            run = Run.create(
                config.out,
                "control",
                config.model_dump(mode="json"),
                seed=config.seed,
                parents=[config.expert] if config.expert else [],
            )
            worlds.callback(run.close)
        show.line(f"control: {config.algorithm} in {config.world}, {config.steps:,} steps → {run.folder}")
        parts = parts_of_its_own(world.action)
        if bool(parts.any()):
            show.line(
                f"Of an action the parts {parts.nonzero().flatten().tolist()} have no bounds on both sides: they are learned in the "
                "world's own units, all others from −1 to 1."
            )
        if run.checkpoints.latest(show.line) is not None:
            if kind.workers:
                show.line("Workers do not wait for each other, so no run of theirs ends with the same bits.")
            elif not world.restorable:
                show.line(
                    f"{config.world} cannot be put back where it was: its episodes begin anew, so the run ends with other bits."
                )
        with threads_for(config, device):
            algorithm = by_world_steps(built.algorithm, making.paces, sampler)
            last = learn(config, run, show, built, algorithm, sampler, judge_world, stopwatch)
        return finish(config, run, built, last, sampler.taken, show)


def prepared(config: ControlConfig) -> ControlConfig:
    """The settings in full. Raises UserError for an unknown algorithm or world, and for settings that do not go together."""
    kind = kind_for(config.algorithm)
    with closing(make_world(config.world, 1)) as probe:
        config = settled(config, kind, kind_of_world(probe))
        check(config, kind, probe)
    return config


@contextmanager
def threads_for(config: ControlConfig, device: torch.device) -> Iterator[None]:
    """One thread for a small network, and so the same bits whatever threads there are; worlds keep those they were made with."""
    before = torch.get_num_threads()
    if device.type == "cpu" and config.network == "mlp" and max(config.widths or (0,)) <= SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def check(config: ControlConfig, kind: Kind, world: World) -> None:
    """Raises UserError for what cannot work together, before anything is computed."""
    if not isinstance(world.action, kind.actions):
        raise UserError(
            f"algorithm={config.algorithm} is for {'real numbers' if Box in kind.actions else 'one action of several'}, and "
            f"{config.world} wants {'real numbers' if isinstance(world.action, Box) else 'one of several'}: give ppo."
        )
    if kind.tables and kind_of_world(world) != "tables":
        raise UserError(
            f"algorithm={config.algorithm} fills a table, and {config.world} has no states to count: give dqn or ppo."
        )
    if kind_of_world(world) == "pictures" and config.algorithm != "dqn":
        raise UserError(f"{config.world} shows pictures: give algorithm=dqn, which has a convolution for them.")
    assert config.copies is not None
    if config.copies > config.steps:
        raise UserError(f"copies={config.copies} and steps={config.steps}: give as many steps as copies, or more.")
    if kind.remembers and config.steps <= config.learning_starts:
        raise UserError(
            f"steps={config.steps} and learning_starts={config.learning_starts}: nothing would be learned. Give more steps, or a smaller "
            "learning_starts."
        )
    imitates = config.algorithm in IMITATORS
    if imitates and config.expert is None:
        raise UserError(
            f"algorithm={config.algorithm} was given without an expert: give expert=RUN, a finished run of `fledge control` in this world."
        )
    if config.expert is not None and not imitates:
        raise UserError(f"algorithm={config.algorithm} asks no expert: leave expert={config.expert} out.")
    if config.network == "graph" and not kind.actor_critic:
        raise UserError(f"algorithm={config.algorithm} has networks of its own: leave network=graph out, or give ppo.")
    if (kind.whole_episodes or kind.workers) and config.scale_rewards:
        raise UserError(f"algorithm={config.algorithm} takes rewards as they are: leave scale_rewards=true out.")
    if kind.workers and config.normalise:
        raise UserError("workers have no statistics in common: leave normalise=true out, or give algorithm=a2c.")
    if config.algorithm == "reinforce" and config.baseline in ("leave_one_out", "optimal") and config.copies < 2:
        raise UserError("copies=1 leaves no other episode to compare with: give 2 or more, or baseline=value.")


def learn(
    config: ControlConfig,
    run: Run,
    show: Show,
    built: Built,
    algorithm: Paced,
    sampler: Any,
    judge_world: World,
    stopwatch: Stopwatch,
) -> dict[str, float]:
    """The loop, counted in batches; `world_steps` in its figures counts steps."""
    assert config.copies is not None
    assert config.steps_per_batch is not None
    assert config.evaluate_every is not None
    every = config.evaluate_every

    def due() -> bool:
        """Whether the last batch has passed a multiple of `evaluate_every` world steps."""
        return every > 0 and sampler.taken // every > (sampler.taken - sampler.figures["steps_taken"]) // every

    def evaluate(step: int) -> dict[str, float]:
        returns = play(judge_world, built.player.best, seed_for(config.seed, "evaluation"))
        return {
            "evaluation_return": float(returns.mean()),
            "evaluation_spread": float(returns.std(correction=0)),
            "world_steps": float(sampler.taken),
        }

    def enough(evaluation: dict[str, float]) -> bool:
        return config.stop_at_return is not None and evaluation["evaluation_return"] >= config.stop_at_return

    with show.progress("control", config.steps, "episode_return") as bar:
        watch = InWorldSteps(bar)
        return train(
            algorithm, sampler, run, stopwatch, watch, steps=2 * config.steps, evaluate=evaluate,
            evaluate_every=due, over=lambda: sampler.taken >= config.steps,
            better=lambda e: e["evaluation_return"], enough=enough, save_every_s=config.save_every_s,
        )  # fmt: skip


class InWorldSteps:
    """Tells a bar how many world steps have been made, in place of batches."""

    def __init__(self, bar: Watch) -> None:
        self.bar = bar

    def step(self, step: int, figures: Mapping[str, float]) -> None:
        self.bar.step(int(figures["world_steps"]), figures)

    def line(self, text: str) -> None:
        self.bar.line(text)


class _Best:
    """Plays the action thought best."""

    def __init__(self, best: Callable[[Tensor], Tensor]) -> None:
        self.best = best

    def act(self, obs: Tensor, generator: torch.Generator) -> tuple[Tensor, None]:
        return self.best(obs), None


def play(world: World, best: Callable[[Tensor], Tensor], seed: int) -> Tensor:
    """One episode in each copy, the same ones each time, without exploring.  -> returns [n] float64"""
    rows = next(WholeEpisodes(world, _Best(best), Stopwatch(), seed=seed))
    return rows.reward.double().sum(1)


def finish(
    config: ControlConfig, run: Run, built: Built, last: dict[str, float], taken: int, show: Show
) -> dict[str, Any]:
    """Weights, film and summary. Its seconds are those of sampling and learning, without evaluations, also of a run that was continued."""
    weights = {name: value.contiguous() for name, value in built.module.state_dict().items()}
    with written_model(run.model_folder) as beside:
        write_tensors(beside / "model.safetensors", weights)
    pictured = ""
    if config.pictures:
        found, why = film(config.world, built.player.best, seed=seed_for(config.seed, "evaluation", "film"))
        if found is not None:
            write_bytes(run.folder / "agent.png", animation(found.frames, found.seconds))
            pictured = f", filmed in {run.folder / 'agent.png'}"
        else:
            show.line(why)
    rows = run.metrics.rows()
    evaluations = [row for row in rows if "evaluation_return" in row]
    summary = {
        "verb": "control",
        "run": str(run.folder),
        "algorithm": config.algorithm,
        "world": config.world,
        "seed": config.seed,
        "steps": taken,
        "seconds": sum(row["total"] for row in run.timings.rows()),
        "evaluation_return": last["evaluation_return"],
        "best_evaluation_return": max(row["evaluation_return"] for row in evaluations),
        "before": {"evaluation_return": evaluations[0]["evaluation_return"]},
        "after": {"evaluation_return": last["evaluation_return"]},
    }
    run.finish(summary)
    say_skipped(run, show)
    show.line(
        f"control: return {evaluations[0]['evaluation_return']:.1f} → {last['evaluation_return']:.1f} "
        f"(mean of {config.evaluation_episodes} episodes, ± {last['evaluation_spread']:.1f}) after {taken:,} steps, in "
        f"{summary['seconds']:.1f} s without evaluations{pictured}."
    )
    show.line(f"Next: fledge report run={run.folder}")
    return summary
