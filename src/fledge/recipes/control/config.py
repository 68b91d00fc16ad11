"""Every field of `fledge control`, and what an algorithm takes where one was left open."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, field_validator

from fledge.recipes.control.kinds import KINDS, Kind
from fledge.worlds.make import name_of

WIDEST = 100_000  # units of a hidden layer


def check_world(given: Any) -> Any:
    if (
        not isinstance(given, str)
        and not callable(given)
        and not hasattr(given, "observation_space")
    ):
        raise ValueError(f"give a world's name, its class, or what makes one, not {given!r}")
    return given


# From Python also what makes an environment, or one; a run's config.json keeps its name.
WorldName = Annotated[str, PlainValidator(check_world), PlainSerializer(name_of)]


class ControlConfig(BaseModel):
    """Train an agent in a world by ppo, dqn, reinforce, … and judge it in episodes of its own.
    `none` is the algorithm's own value.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
    )

    algorithm: str = Field(default="ppo", description=f"one of {', '.join(KINDS)}")
    expert: Path | None = Field(
        default=None,
        description=(
            "cloning, dagger: whom to imitate, a finished run of `fledge control` in this world"
        ),
    )
    base: Path | None = Field(
        default=None,
        description=(
            "a finished run in this world to go on from: its weights, with a schedule of its own"
        ),
    )
    world: WorldName = Field(
        default="CartPole-v1",
        description=(
            "a gymnasium name, such as Hopper-v5; ./mine.py:World; gridworld, gridworld:MAP.txt; "
            "words:TASK"
        ),
    )
    steps: int = Field(
        default=100_000,
        ge=1,
        description=(
            "in the world, all copies together, so many and no more (whole episodes are played to "
            "their end)"
        ),
    )
    seed: int = Field(default=0, ge=0, lt=2**31, description="of every random number in the run")
    compare: str | None = Field(
        default=None,
        description=(
            "several algorithms in place of one, such as ppo,dqn,reinforce: curves with intervals"
        ),
    )
    seeds: int = Field(
        default=3,
        ge=1,
        description="compare: runs of each algorithm, with this seed and the next ones",
    )
    out: Path | None = Field(
        default=None,
        description="run folder; by default the first free of runs/control, runs/control-2, …",
    )
    copies: int | None = Field(default=None, ge=1, description="of the world, side by side")
    steps_per_batch: int | None = Field(
        default=None, ge=1, description="of each copy, between two updates"
    )
    rows_per_update: int | None = Field(
        default=None, ge=1, description="steps that an optimizer step learns from"
    )
    epochs: int | None = Field(
        default=None,
        ge=1,
        description="passes over each batch: ppo, off_policy; of the critic: natural, trpo",
    )
    learning_rate: float | None = Field(default=None, gt=0, description="at its beginning")
    schedule: Literal["constant", "linear", "cosine"] | None = Field(
        default=None, description="of the learning rate, down to 0"
    )
    gamma: float | None = Field(default=None, gt=0, le=1, description="discount per step")
    gae_lambda: float | None = Field(
        default=None, ge=0, le=1, description="of the advantage estimation"
    )
    clip: float | None = Field(
        default=None, ge=0, description="the gradient is scaled down to this norm; 0 never"
    )
    widths: tuple[int, ...] | None = Field(
        default=None, description="of the hidden layers, such as 64,64"
    )
    network: Literal["mlp", "graph"] = Field(
        default="mlp", description="graph: of the policy, over a MuJoCo body's joints"
    )
    normalise: bool | None = Field(
        default=None, description="observations by running mean and spread"
    )
    scale_rewards: bool | None = Field(
        default=None, description="by the running spread of the returns"
    )
    entropy_coefficient: float = Field(default=0.0, ge=0, description="of the entropy bonus")
    value_coefficient: float = Field(
        default=0.5, ge=0, description="of the value error in the loss"
    )
    clip_range: float = Field(
        default=0.2, gt=0, description="ppo: the ratio counts from 1 − this to 1 + this"
    )
    value_clip: float | None = Field(
        default=None,
        gt=0,
        description="ppo: the value may move this far from its old one; none: freely",
    )
    update_kl: float | None = Field(
        default=None,
        gt=0,
        description="nats a step between new and old policy: ends ppo's passes, bounds trpo's step",
    )
    baseline: Literal["none", "constant", "batch", "leave_one_out", "optimal", "value"] = Field(
        default="leave_one_out",
        description="reinforce: what a return is compared with; value: a critic's",
    )
    baseline_value: float = Field(
        default=0.0, description="reinforce with baseline=constant, off_policy: that constant"
    )
    importance: Literal["decision", "trajectory"] = Field(
        default="decision",
        description="off_policy: weights of each reward, or of the whole episode",
    )
    truncate_at: float | None = Field(
        default=None,
        gt=0,
        description=(
            "off_policy, async: the largest importance weight; none: async 1, off_policy any"
        ),
    )
    world_process: Literal["trainer", "own"] = Field(
        default="trainer",
        description=(
            "where gymnasium's worlds act: with the agent, or each copy in a process of its own"
        ),
    )
    workers: int = Field(
        default=2, ge=1, description="async: processes, each with its own copies of the world"
    )
    natural_rate: float = Field(default=0.05, gt=0, description="natural: of its step")
    updates_per_batch: int | None = Field(
        default=None,
        ge=1,
        description=(
            "dqn, sac, td3, cloning, dagger, goal_cloning: optimizer steps after each batch"
        ),
    )
    buffer: int = Field(
        default=100_000, ge=1, description="dqn, sac, td3: steps that are remembered"
    )
    learning_starts: int = Field(
        default=1_000, ge=0, description="dqn, sac, td3: steps before the first optimizer step"
    )
    target_every: int = Field(
        default=8, ge=1, description="dqn: optimizer steps between copies to the target network"
    )
    n_step: int = Field(default=3, ge=1, description="dqn: rewards before the bootstrap")
    double: bool = Field(
        default=True, description="dqn: the learning network chooses, the target network judges"
    )
    dueling: bool = Field(
        default=False, description="dqn: value and advantage in streams of their own"
    )
    prioritised: bool | None = Field(
        default=None, description="dqn: what surprised is remembered more often"
    )
    exploration_share: float = Field(
        default=0.1, ge=0, le=1, description="dqn: of the steps, in which ε falls"
    )
    last_epsilon: float = Field(default=0.04, ge=0, le=1, description="dqn: ε from then on")
    evaluate_every: int | None = Field(
        default=None,
        ge=0,
        description=(
            "world steps between evaluations; 0: only before and after; none: a tenth of all"
        ),
    )
    evaluation_episodes: int = Field(
        default=20, ge=1, description="that an evaluation plays, without exploring"
    )
    stop_at_return: float | None = Field(
        default=None, description="end as soon as an evaluation reaches this"
    )
    save_every_s: float = Field(default=30.0, ge=0, description="seconds between checkpoints")
    pictures: bool = Field(
        default=True,
        description="film the trained agent for the report, where the world has pictures",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto: a GPU if there is one"
    )

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
    "copies": 8, "steps_per_batch": 32, "rows_per_update": 64, "epochs": 1, "learning_rate": 1e-3,
    "schedule": "constant", "gamma": 0.99, "gae_lambda": 0.95, "clip": 0.5, "widths": (64, 64),
    "normalise": False, "scale_rewards": False, "updates_per_batch": 128, "prioritised": False,
}  # fmt: skip


def fill_in(config: ControlConfig, kind: Kind, world_kind: str) -> ControlConfig:
    """With every field that was left open filled in: the algorithm's own value for such a world,
    else for any.
    """
    own = OTHERWISE | dict(kind.settings) | dict(kind.worlds.get(world_kind, {}))
    own["evaluate_every"] = max(1, config.steps // 10)
    left = {name: value for name, value in own.items() if getattr(config, name) is None}
    return config.model_copy(update=left)
