"""`fledge minds`: what somebody wants, believes and will do, out of a scene in a text file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from fledge.errors import UserError
from fledge.evaluate.judge import Figures, Judge
from fledge.next_command import write_command
from fledge.plan.minds.evidence import Evidence
from fledge.plan.minds.matrix_game import read_game
from fledge.plan.minds.reference_game import read_reference
from fledge.plan.minds.reward_scene import read_reward_scene
from fledge.plan.minds.scene_file import SceneFile, list_scenes, read_scene
from fledge.plan.minds.social_scene import read_social
from fledge.plan.minds.tug_of_war import read_tug
from fledge.plan.minds.welfare import read_welfare
from fledge.recipes.course import Course, Start, Summary
from fledge.recipes.minds.listed import ListedInquiry
from fledge.recipes.minds.network_walk import (
    NetworkWalk,
    ReadWalk,
    check_fields,
    find_network,
)
from fledge.recipes.minds.reward_chains import RewardChains
from fledge.recipes.minds.rewards import RewardInquiry
from fledge.recipes.minds.walk import WalkInquiry
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.sample.iterations import Iterations

LISTED: Mapping[str, Callable[[SceneFile], Evidence]] = {
    "game": read_game, "reference": read_reference, "social": read_social, "tug": read_tug,
    "welfare": read_welfare,
}  # fmt: skip


class MindsConfig(BaseModel):
    """Infer what goes on in somebody's head: what they want and believe, given what they did and
    what they could see; P(mind | actions) ∝ P(actions | mind) P(mind), exactly, by particles, or
    by a network that has learned it from simulated walks. What is looked into is a short text
    file: docs/minds.md.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    scene: str = Field(
        default="food-trucks",
        description=f"{', '.join(list_scenes())}, or a text file of your own, ./mine.txt",
    )
    inference: Literal["enumeration", "particles", "amortised"] = Field(
        default="enumeration",
        description="of a walk: all minds there are, a sample of them, or a network that learns to "
        "tell them",
    )
    particles: int = Field(default=1000, ge=2, description="minds that inference=particles draws")
    updates: int = Field(
        default=1000, ge=1, description="of the network of inference=amortised, each by fresh walks"
    )
    walks_per_update: int = Field(default=64, ge=1, description="walks that an update draws")
    width: int = Field(default=64, ge=1, le=4096, description="numbers in the network's state")
    learning_rate: float = Field(
        default=3e-3, gt=0, description="of Adam for the network, falling to 0"
    )
    held_out_walks: int = Field(
        default=200, ge=1, description="by which the network is held against the exact posterior"
    )
    network: Path | None = Field(
        default=None,
        description="a run with inference=amortised on this scene: its network reads the path, "
        "without learning",
    )
    horizon: int = Field(default=200, ge=1, description="actions that are foretold after the last")
    steps: int = Field(
        default=100_000,
        ge=1,
        description="actions that are looked at (of rewards iterations, of a network updates), if "
        "so many",
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="of all that is drawn")
    out: Path | None = Field(
        default=None,
        description="run folder; by default the first free of runs/minds, runs/minds-2, …",
    )
    save_every_s: float = Field(default=30.0, ge=0, description="seconds between checkpoints")

    @property
    def evaluate_every(self) -> int:
        return 0


class Inquiry(Protocol):
    """A scene that is looked into, step by step. total: how many steps there are. figure: what
    progress shows. ranks: what evaluations are ranked by. conclude: what it comes to, for the
    summary, and the same for a terminal.
    """

    unfinished: None
    total: int
    figure: str
    ranks: str

    def update(self, batch: Any, between_steps: Any = ...) -> dict[str, float]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...
    def describe(self) -> str: ...
    def judge(self) -> Figures: ...
    def conclude(self, folder: Path) -> tuple[dict[str, Any], Sequence[str]]: ...


def minds(config: MindsConfig, show: Show, run: Run | None = None) -> Summary:
    """Raises UserError for a scene that cannot be read, and one that no mind explains."""
    start = Start("minds", show, run)
    file = read_scene(config.scene)
    inquiry = open_inquiry(file, config)
    judge = Judge(  # there is one part: what was seen
        lambda part, step: inquiry.judge(), ranks=inquiry.ranks, lower_is_better=True
    )
    read = [] if config.network is None else [str(find_network(config.network))]
    with start.begin(config, data=[config.scene, *read]) as course:
        course.say(f"{file.title}: {inquiry.describe()}")
        course.fit(
            inquiry, Iterations(), [judge], figure=inquiry.figure,
            steps=min(config.steps, inquiry.total),
        )  # fmt: skip
        return conclude(course, inquiry)


def open_inquiry(file: SceneFile, config: MindsConfig) -> Inquiry:
    """By the scene's kind.  Raises UserError for one that there is not."""
    if file.kind == "walk":
        return open_walk(file, config)
    if file.kind not in (*LISTED, "reward"):
        raise UserError(
            f"the scene {file.name} is of kind {file.kind!r}: give walk, reward, "
            f"{', '.join(LISTED)}, or leave `kind` out for a walk."
        )
    if config.inference != "enumeration":
        raise UserError(
            f"inference={config.inference} was given, and a scene of kind {file.kind} is always "
            "enumerated: leave it out."
        )
    if file.kind == "reward":
        scene = read_reward_scene(file, config.seed)
        return RewardChains(scene, config.seed) if scene.chains else RewardInquiry(scene)
    return ListedInquiry(file, LISTED[file.kind](file))


def open_walk(file: SceneFile, config: MindsConfig) -> WalkInquiry:
    """Raises UserError for a scene that is none, and a network that does not fit."""
    check_fields(config.network, config.inference)
    if config.network is not None:
        return ReadWalk(file, config, config.network)
    return (NetworkWalk if config.inference == "amortised" else WalkInquiry)(file, config)


def conclude(course: Course, inquiry: Inquiry) -> Summary:
    own, lines = inquiry.conclude(course.run.folder)
    return course.finish(
        own, then=write_command("report", run=course.run.folder), lines=lines, test={}
    )
