"""A MuJoCo body as a tree of joints: who hangs on whom, and which observations and actions are
whose, read from the model file.

The root is one node, with all joints that carry it through the world; every other joint is a node
(after Wang et al. 2018, "NerveNet", whose nodes are bodies and joints).
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.worlds.mujoco_batch import BODIES, hide_warnings


@dataclass(frozen=True)
class BodyGraph:
    """n nodes: the root, number 0, and the joints in the order of the file. A parent's number is
    smaller than its children's.
    """

    names: tuple[str, ...]  # [n]; the root has its body's name
    parent: tuple[int, ...]  # [n]; the root's is −1
    # [n]: where in an observation a node's positions stand, then its speeds; two of a joint
    observed: tuple[tuple[int, ...], ...]
    driven: tuple[int, ...]  # [A]: the node that each action drives
    shape: Tensor  # [n − 1, 10]: what the file says of each joint; see `_shape`

    @property
    def observations(self) -> int:
        """How many numbers an observation has."""
        return sum(map(len, self.observed))

    @property
    def diameter(self) -> int:
        """The longest way from one node to another, in joints."""
        above = [self._above(i) for i in range(len(self.parent))]
        ways = [len(set(a) ^ set(b)) for a in above for b in above]
        return max(ways)

    def _above(self, node: int) -> list[int]:
        """The node and all that carry it."""
        return [] if node < 0 else [node, *self._above(self.parent[node])]


def body_of(world: str) -> BodyGraph:
    """The body of one of gymnasium's MuJoCo worlds, by its name. Raises UserError for a world that
    observes more than positions and speeds.
    """
    if world not in BODIES:
        raise UserError(
            f"world={world} was given: a graph policy wants a body of which only positions and "
            f"speeds are observed. Take {', '.join(BODIES)}, or read_body() on a model file of "
            "your own."
        )
    place = importlib.util.find_spec("gymnasium.envs.mujoco")
    assert place is not None
    assert place.origin is not None
    return read_body(
        Path(place.origin).parent / "assets" / BODIES[world].file, BODIES[world].hidden
    )


def read_body(model_file: Path | str, hidden: int) -> BodyGraph:
    """The body in a MuJoCo model file, where an observation is all positions but the first
    `hidden`, the root's own, then all speeds.

    Raises UserError without the extra `mujoco`; for a file that is none; and for a body that is no
    tree of hinges and slides under one root, or has no motors of its own.
    """
    try:
        mujoco: Any = importlib.import_module("mujoco")
    except ImportError as missing:
        raise UserError(
            "a graph policy reads the body's model file, and the package mujoco is not there: pip "
            "install 'fledge[mujoco]', or -e '.[mujoco]' in a clone"
        ) from missing
    try:
        with hide_warnings():
            model = mujoco.MjModel.from_xml_path(str(model_file))
    except ValueError as wrong:
        raise UserError(
            f"{model_file} is no model that MuJoCo reads ({wrong}): give the XML file of a body."
        ) from wrong
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    return _graph(model, data, str(model_file), hidden)


def _graph(model: Any, data: Any, file: str, hidden: int) -> BodyGraph:
    """model, data: mujoco.MjModel and MjData, the body as it stands at rest."""
    body_of_joint = [int(b) for b in model.jnt_bodyid]
    if not body_of_joint:
        raise UserError(f"{file} has no joint: give the model of a body that moves.")
    root = body_of_joint[0]
    own = [j for j, b in enumerate(body_of_joint) if b == root]  # the root's joints
    others = [j for j in range(model.njnt) if j not in own]
    node = dict.fromkeys(own, 0) | {j: i for i, j in enumerate(others, start=1)}
    wrong = [j for j in others if model.jnt_type[j] not in (2, 3)]  # slide, hinge
    if wrong:
        raise UserError(
            f"the joint {_name(model, wrong[0])} of {file} is no hinge and no slide: give a body "
            "of those."
        )
    parent = [-1, *(node.get(_joint_above(model, body_of_joint, j), -1) for j in others)]
    if -1 in parent[1:]:
        lost = _name(model, others[parent.index(-1, 1) - 1])
        raise UserError(
            f"the joint {lost} of {file} does not hang on the body {model.body(root).name}: give "
            "one body alone."
        )
    if not 0 <= hidden <= len(_positions(model, own)):
        raise UserError(
            f"{hidden} positions of {file} are not to be observed, and its root "
            f"{model.body(root).name} has {len(_positions(model, own))}: give a number from 0 to "
            "that."
        )
    places = [_places(model, j, hidden) for j in range(model.njnt)]
    root_places = [q for j in own for q in places[j] if q >= 0]
    if any(int(kind) != 0 for kind in model.actuator_trntype):
        raise UserError(
            f"an actuator of {file} drives no joint: give a body with a motor on each joint that "
            "it drives."
        )
    driven = tuple(node[int(j)] for j in model.actuator_trnid[:, 0])
    if not driven or len(set(driven)) < len(driven):
        raise UserError(
            f"the actuators of {file} drive the nodes {driven}: a graph policy wants at least one, "
            "and one on a node."
        )
    return BodyGraph(
        (model.body(root).name, *(_name(model, j) for j in others)),
        tuple(parent),
        (tuple(sorted(root_places)), *(tuple(places[j]) for j in others)),
        driven,
        _shape(model, data, [root, *(body_of_joint[j] for j in others)], others, parent),
    )


def _name(model: Any, joint: int) -> str:
    return str(model.joint(joint).name)


def _joint_above(model: Any, body_of_joint: Sequence[int], joint: int) -> int:
    """The joint before this one on the way from the world: on the same body, or the last one of the
    nearest body above with any.
    """
    body = body_of_joint[joint]
    if joint and body_of_joint[joint - 1] == body:
        return joint - 1
    while body:
        body = int(model.body_parentid[body])
        there = [j for j, b in enumerate(body_of_joint) if b == body]
        if there:
            return there[-1]
    return -1


def _positions(model: Any, joints: Sequence[int]) -> list[int]:
    """Where the positions of these joints stand among all positions."""
    counts = (7, 4, 1, 1)  # of a free joint, a ball, a slide, a hinge
    return [int(model.jnt_qposadr[j]) + i for j in joints for i in range(counts[model.jnt_type[j]])]


def _places(model: Any, joint: int, hidden: int) -> list[int]:
    """Where a joint's positions and then its speeds stand in an observation; negative where they
    are not in it.
    """
    counts = (6, 3, 1, 1)
    first = model.nq - hidden + int(model.jnt_dofadr[joint])
    positions = [q - hidden for q in _positions(model, [joint])]
    return positions + [first + i for i in range(counts[model.jnt_type[joint]])]


def _shape(
    model: Any, data: Any, bodies: Sequence[int], joints: Sequence[int], parent: Sequence[int]
) -> Tensor:
    """Of each joint: axis (3), way from its parent (3), lowest and highest angle (2), mass that
    hangs on it, gear.  -> [n − 1, 10]

    At rest. Each column is divided by its largest entry, and so without a unit: two legs that are
    alike have the same rows.
    """
    gear = {
        int(j): float(g)
        for j, g in zip(model.actuator_trnid[:, 0], model.actuator_gear[:, 0], strict=True)
    }
    anchors = [data.xpos[bodies[0]], *(data.xanchor[j] for j in joints)]
    rows = []
    for i, j in enumerate(joints, start=1):
        way = anchors[i] - anchors[parent[i]]
        low_high = model.jnt_range[j] * bool(model.jnt_limited[j])
        rows.append(
            [*data.xaxis[j], *way, *low_high, model.body_subtreemass[bodies[i]], gear.get(j, 0.0)]
        )
    table = torch.tensor(rows, dtype=torch.float64).reshape(-1, 10)
    largest = torch.cat([table.abs(), torch.zeros(1, 10)]).amax(0)
    return (table / torch.where(largest > 1e-9, largest, 1.0)).float()
