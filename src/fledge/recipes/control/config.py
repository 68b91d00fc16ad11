"""Every field of `fledge control`, and what an algorithm takes where one was left open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    SerializerFunctionWrapHandler,
    ValidationError,
    create_model,
    field_validator,
    model_serializer,
)
from pydantic.fields import FieldInfo

from fledge.algorithms.registry import Subject, find_entry
from fledge.algorithms.settings import fields_of
from fledge.errors import UserError
from fledge.recipes.algorithm_fields import AlgorithmFields
from fledge.recipes.control.kinds import IMITATORS, KINDS, AgentKind, find_kind
from fledge.worlds.make import name_of


def split_names(compared: str) -> list[str]:
    """The algorithms of compare=ppo,dqn."""
    return [name.strip() for name in compared.split(",")]


WIDEST = 100_000  # units of a hidden layer
COMMON = {"steps", "evaluation_episodes"}  # the same for all that are compared


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


class ControlConfig(AlgorithmFields):
    """Train an agent in a world by ppo, dqn, reinforce, … and judge it in episodes of its own."""

    subject: ClassVar[Subject] = "worlds"
    left: ClassVar[frozenset[str]] = frozenset()
    """Where several are compared, the fields that each takes of its own unless they are given."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
    )

    algorithm: str = Field(
        default="ppo",
        description=f"one of {', '.join(KINDS)}; or FILE.py:Class for one of your own",
    )
    expert: Path | None = Field(
        default=None,
        description=(
            "cloning, dagger, gail, airl: whom to imitate, a finished run of `fledge control` in "
            "this world"
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
    copies: int = Field(default=8, ge=1, description="of the world, side by side")
    steps_per_batch: int = Field(default=32, ge=1, description="of each copy, between two updates")
    learning_rate: float = Field(default=1e-3, gt=0, description="at its beginning")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        default="constant", description="of the learning rate, down to 0"
    )
    clip: float = Field(
        default=0.5, ge=0, description="the gradient is scaled down to this norm; 0 never"
    )
    widths: tuple[int, ...] = Field(
        default=(64, 64), description="of the hidden layers, such as 64,64"
    )
    network: Literal["mlp", "graph"] = Field(
        default="mlp", description="graph: of the policy, over a MuJoCo body's joints"
    )
    normalise: bool = Field(default=False, description="observations by running mean and spread")
    scale_rewards: bool = Field(default=False, description="by the running spread of the returns")
    world_process: Literal["trainer", "own"] = Field(
        default="trainer",
        description=(
            "where gymnasium's worlds act: with the agent, or each copy in a process of its own"
        ),
    )
    workers: int = Field(
        default=2, ge=1, description="async: processes, each with its own copies of the world"
    )
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
    threads: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="of the CPU; by default 1 for a small network and as many as are measured to "
        "be fastest for others, or as OMP_NUM_THREADS says",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto: a GPU if there is one"
    )

    @classmethod
    def compose(cls, given: Mapping[str, Any]) -> type[Self]:
        """With the defaults of the algorithm in any world; where several are compared, with every
        setting that one of them has, each left to the algorithm unless it is given.
        """
        if given.get("compare") not in (None, "none"):
            return cls._compose_many(split_names(str(given["compare"])))
        usual = find_kind(str(given.get("algorithm", "ppo"))).usual
        composed = super().compose(given)
        changed: dict[str, Any] = {}
        for name, default in usual.items():
            field = composed.model_fields[name]
            changed[name] = (field.annotation, FieldInfo.merge_field_infos(field, default=default))
        return create_model(composed.__name__, __base__=composed, **changed)

    @classmethod
    def _compose_many(cls, names: Sequence[str]) -> type[Self]:
        left: dict[str, Any] = {}
        for name in names:
            left |= fields_of(find_entry("worlds", name).settings("worlds"))
            kind = find_kind(name)
            own = set(kind.usual).union(*kind.worlds.values()) & cls.model_fields.keys()
            for field in own - COMMON:
                left[field] = cls.model_fields[field].annotation, cls.model_fields[field]
        fields: dict[str, Any] = {
            name: (annotation | None, FieldInfo.merge_field_infos(field, default=None))
            for name, (annotation, field) in left.items()
        }
        composed = create_model(f"{cls.__name__} of those compared", __base__=cls, **fields)
        composed.chosen, composed.left = "several", frozenset(left)
        return composed

    @model_serializer(mode="wrap")
    def _without_what_is_left(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A field that is left to each is absent: null is what a user said of it."""
        unsaid = self.left - self.model_fields_set
        return {name: value for name, value in write(self).items() if name not in unsaid}

    @property
    def steps_between_evaluations(self) -> int:
        """Of the world; 0: only before and after."""
        tenth = max(1, self.steps // 10)
        return tenth if self.evaluate_every is None else self.evaluate_every

    @field_validator("widths", mode="before")
    @classmethod
    def _numbers(cls, given: Any) -> Any:
        """The command line's 64,64."""
        return [part.strip() for part in given.split(",")] if isinstance(given, str) else given

    @field_validator("widths")
    @classmethod
    def _some(cls, widths: tuple[int, ...] | None) -> tuple[int, ...] | None:
        # None where several are compared, each with its own
        if widths is not None and not all(0 < width <= WIDEST for width in widths):
            raise ValueError(f"each must be from 1 to {WIDEST}")
        return widths


def choose(config: ControlConfig, name: str, **changes: Any) -> ControlConfig:
    """One of the algorithms that are compared, alone: with those of the given fields that it has,
    and an expert only where it imitates one.
    """
    known = ControlConfig.compose({"algorithm": name}).model_fields.keys() - {"compare", "seeds"}
    if name not in IMITATORS:
        known -= {"expert"}
    given = config.model_dump() | {"world": config.world}
    own = {field: given[field] for field in known & given.keys()}
    try:
        return ControlConfig.read(own | {"algorithm": name} | changes)
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(map(str, wrong["loc"]))
        raise UserError(
            f"compare={config.compare} with {where}={wrong['input']}, which {name} cannot have "
            f"({wrong['msg'].lower()}): give another value, or leave it to each."
        ) from error


def fill_in(config: ControlConfig, kind: AgentKind, world_kind: str) -> ControlConfig:
    """With the algorithm's own values for such a world wherever the user gave none."""
    own = dict(kind.worlds.get(world_kind, {}))
    left = {name: value for name, value in own.items() if name not in config.model_fields_set}
    return config.model_copy(update=left)
