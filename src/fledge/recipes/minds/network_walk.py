"""A walk whose mind a network is to tell: it learns from simulated walks of the scene, is held
against the exact posterior, and reads the scene's own path; in a file, for other paths.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError, safe_open

from fledge.errors import UserError
from fledge.evaluate.judge import Figures
from fledge.plan.minds.amortised import Learning, MindLearner, MindNetwork, NetworkReading
from fledge.plan.minds.planned import Planned
from fledge.plan.minds.scene_file import SceneFile
from fledge.plan.minds.walk_scene import ACTS
from fledge.recipes.minds.telling import Table, write_table
from fledge.recipes.minds.walk import WalkFields, WalkInquiry
from fledge.tensor_file import write_tensors

NETWORK = "network.safetensors"
NOT_OF_MINDS = ("title", "source", "path", "helper")  # fields that change no plan


class NetworkFields(WalkFields, Protocol):
    """What is read of the verb's fields."""

    @property
    def updates(self) -> int: ...
    @property
    def walks_per_update(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def held_out_walks(self) -> int: ...


class NetworkWalk(WalkInquiry):
    """Each update is one of the network; the path is read at the end."""

    figure, ranks = "loss", "nats_apart"

    def __init__(self, file: SceneFile, config: NetworkFields) -> None:
        super().__init__(file, config)
        learning = Learning(
            config.updates, config.walks_per_update, config.width, config.learning_rate,
            config.held_out_walks,
        )  # fmt: skip
        self.file, self.total = file, config.updates
        self.learner = MindLearner(self.planned, learning, config.seed)

    def update(self, batch: Any, between_steps: Callable[[], None] = lambda: None) -> Figures:
        return self.learner.update(batch)

    def state_dict(self) -> dict[str, Any]:
        return self.learner.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state)

    def describe(self) -> str:
        learning = self.learner.learning
        return (
            f"{super().describe()}; a network of width {learning.width} learns from "
            f"{learning.walks} walks an update"
        )

    def judge(self) -> Figures:
        return self.learner.judge()

    def conclude(self, folder: Path) -> tuple[dict[str, Any], Sequence[str]]:
        network = self.learner.network
        words = {"scene": fingerprint(self.file), "width": str(self.learner.learning.width)}
        write_tensors(folder / NETWORK, network.state_dict(), words)
        self.filter = NetworkReading(self.planned, network)
        own, lines = read_path(self)
        more, told = super().conclude(folder)
        figures = self.judge()
        said = (
            f"minds: on {self.learner.learning.held_out} walks that it has not seen the network is "
            f"{figures['nats_apart']:.3f} nats from the exact posterior (KL, the mean over all "
            f"actions), {figures['nats_apart_at_the_end']:.3f} at their ends"
        )
        more["tables"] += own["tables"]
        return own | more, [*told[:-1], *lines, said, told[-1]]


class ReadWalk(WalkInquiry):
    """Read by a network that has learned before: no update, an action a step."""

    def __init__(self, file: SceneFile, config: WalkFields, network: Path) -> None:
        super().__init__(file, config)
        self.filter = NetworkReading(self.planned, load_network(network, file, self.planned))

    def conclude(self, folder: Path) -> tuple[dict[str, Any], Sequence[str]]:
        own, lines = tell_beside(self.filter)
        more, told = super().conclude(folder)
        more["tables"] += own["tables"]
        return own | more, [*told[:-1], *lines, told[-1]]


def read_path(inquiry: WalkInquiry) -> tuple[dict[str, Any], Sequence[str]]:
    """Takes in the whole path."""
    for _ in inquiry.filter.steps:
        inquiry.filter.update(0)
        inquiry.keep()
    return tell_beside(inquiry.filter)


def tell_beside(reading: Any) -> tuple[dict[str, Any], Sequence[str]]:
    """How far the network is from the exact posterior, action by action of the path."""
    rows = [
        [str(number), ACTS[act], f"{apart:.3f}", f"{100 * distance:.1f} %"]
        for number, ((_, _, act), apart, distance) in enumerate(
            zip(reading.steps[: reading.seen], *reading.say_apart(), strict=True), 1
        )
    ]
    note = (
        "KL from the exact posterior, in nats, and the share of it that would have to move; a path "
        "that few minds would take is one that the network has seldom seen"
    )
    table = Table(
        "The network beside the exact posterior", note, ["step", "did", "nats", "moved"], rows
    )
    nats = [float(row[2]) for row in rows]
    return {"path_nats_apart": nats, "tables": [vars(table)]}, write_table(table)


def fingerprint(file: SceneFile) -> str:
    """Of all that minds are planned by, the path left out."""
    fields = {name: value for name, value in file.fields.items() if name not in NOT_OF_MINDS}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def find_network(given: Path) -> Path:
    """given: a run, or its file."""
    return given if given.is_file() else given / NETWORK


def load_network(given: Path, file: SceneFile, planned: Planned) -> MindNetwork:
    """Raises UserError for what is no network, or one of another scene."""
    path = find_network(given)
    wanted = "a finished run of `fledge minds` with inference=amortised"
    try:
        with safe_open(path, framework="pt") as opened:
            words = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(f"network={given} holds no {NETWORK}: give {wanted}.") from error
    if words.get("scene") != fingerprint(file):
        raise UserError(
            f"network={given} has learned another scene than {file.name}: only path, title and "
            f"helper may differ. Give {wanted} on this one."
        )
    network = MindNetwork(planned, int(words["width"]))
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(
            f"network={given} is of another version of fledge: learn it anew."
        ) from error
    return network


def check_fields(network: Path | None, inference: str) -> None:
    """Raises UserError for a network that nobody would read."""
    if network is not None and inference != "amortised":
        raise UserError(
            f"network={network} was given with inference={inference}, which reads none: give "
            "inference=amortised, or leave it out."
        )
