"""The tree, the observations and the motors of a body are those that another parser and the world
itself find.
"""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import gymnasium
import pytest
import torch

from fledge.errors import UserError
from fledge.models.control.body_graph import BodyGraph, body_of, read_body
from fledge.worlds.mujoco_batch import BODIES, hide_warnings
from tests.models.control.bodies import ASSETS, BEHIND, GOOD, chain

pytest.importorskip("mujoco")
WORLDS = pytest.mark.parametrize("world", BODIES)


def joints_of(file: Path) -> tuple[dict[str, str], list[str], list[float]]:
    """By xml.etree: the joint above each joint, "" for the root's own; the joint of each motor, in
    order; and its gear.
    """
    above: dict[str, str] = {}

    def visit(body: ElementTree.Element, carried_by: str, root: bool) -> None:
        for joint in body.findall("joint"):
            above[joint.attrib["name"]] = "" if root else carried_by
            carried_by = "root" if root else joint.attrib["name"]
        for child in body.findall("body"):
            visit(child, carried_by, False)

    tree = ElementTree.parse(file).getroot()
    for body in tree.iterfind("worldbody/body"):
        visit(body, "", True)
    motors = tree.findall("actuator/motor")
    gears = [float(motor.attrib.get("gear", "1").split()[0]) for motor in motors]
    return above, [motor.attrib["joint"] for motor in motors], gears


def parents(body: BodyGraph) -> dict[str, str]:
    return {
        name: "root" if parent == 0 else body.names[parent]
        for name, parent in zip(body.names[1:], body.parent[1:], strict=True)
    }


@WORLDS
def test_the_tree_and_the_motors_are_those_of_the_file(world: str) -> None:
    above, motors, gears = joints_of(ASSETS / BODIES[world].file)
    body = body_of(world)
    assert parents(body) == {joint: other for joint, other in above.items() if other}
    assert list(body.names[1:]) == [joint for joint, other in above.items() if other]
    root = [joint for joint, other in above.items() if not other]
    assert [body.names[i] for i in body.driven] == [
        body.names[0] if joint in root else joint for joint in motors
    ]
    for node, gear in zip(body.driven, gears, strict=True):
        if node and 0 not in body.driven:
            assert body.shape[node - 1, 9].item() == pytest.approx(gear / max(gears))


@WORLDS
def test_every_observation_is_of_the_node_that_the_world_says(world: str) -> None:
    """The world's first observation, against MuJoCo's own positions and speeds of each joint, by
    name.
    """
    with hide_warnings():
        made = gymnasium.make(world)
    inside = made.unwrapped
    obs = made.reset(seed=3)[0]
    file = inside.fullpath  # pyright: ignore[reportAttributeAccessIssue]
    assert Path(file).name == BODIES[world].file
    body = body_of(world)
    assert len(obs) == body.observations
    for name, places in zip(body.names[1:], body.observed[1:], strict=True):
        joint = inside.data.joint(name)  # pyright: ignore[reportAttributeAccessIssue]
        assert obs[list(places)].tolist() == [*joint.qpos, *joint.qvel], name
    assert sorted(place for places in body.observed for place in places) == list(range(len(obs)))
    made.close()


def test_the_shapes_of_the_cheetahs_joints_are_those_drawn_in_its_file() -> None:
    body = body_of("HalfCheetah-v5")
    row = dict(zip(body.names[1:], body.shape, strict=True))
    for joint in row.values():
        assert joint[:3].tolist() == [0, 1, 0]
    torch.testing.assert_close(row["bthigh"][3:6], torch.tensor([-0.5, 0, 0]) / 0.5)
    torch.testing.assert_close(row["fshin"][3], torch.tensor(-0.14 / 0.5))
    # the longest way down is the back shin's
    torch.testing.assert_close(row["fshin"][5], torch.tensor(-0.24 / 0.25))
    torch.testing.assert_close(row["bfoot"][6:8], torch.tensor([-0.4 / 1.2, 0.785 / 1.05]))
    assert row["bthigh"][8] == 1
    assert row["bthigh"][8] > row["bshin"][8] > row["bfoot"][8]


def test_a_leg_behind_a_leg_and_a_leg_without_a_joint_between(tmp_path: Path) -> None:
    """Two joints on one body hang on one another; a body that has none is passed over. The longest
    way is counted in joints.
    """
    body = read_body(chain(tmp_path, BEHIND), 0)
    assert body.names == ("trunk", "one", "two", "three", "other")
    assert body.parent == (-1, 0, 1, 2, 0)
    assert body.observed == ((0, 1, 6, 7), (2, 8), (3, 9), (4, 10), (5, 11))
    assert read_body(chain(tmp_path, BEHIND), 1).observed == (
        (0, 5, 6),
        (1, 7),
        (2, 8),
        (3, 9),
        (4, 10),
    )
    assert body.diameter == 4
    assert body.driven == (3, 1)


def test_an_ant_is_read_where_its_contact_forces_are_not_observed() -> None:
    body = read_body(ASSETS / "ant.xml", 2)
    assert body.parent == (-1, 0, 1, 0, 3, 0, 5, 0, 7)
    assert [body.names[i] for i in body.driven][:2] == ["hip_4", "ankle_4"]
    assert body.observed[0] == (*range(5), *range(13, 19))
    assert body.diameter == 4


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (GOOD.replace('type="hinge" name="one"', 'type="ball" name="one"'), "one .* no hinge"),
        (
            GOOD.replace(
                "</worldbody>", '<body><joint name="lone"/><geom size="1"/></body></worldbody>'
            ),
            "lone .* trunk",
        ),
        (
            GOOD.replace('<motor joint="one"/>', '<motor joint="one"/><motor joint="one"/>'),
            "one on a node",
        ),
        (GOOD.replace('<motor joint="one"/>', ""), "at least one"),
        (GOOD.replace('<motor joint="one"/>', '<motor site="here"/>'), "drives no joint"),
        ("<mujoco><worldbody/></mujoco>", "no joint"),
        ("<mujoco><worldbody>", "no model"),
    ],
)
def test_bodies_that_do_not_fit_are_refused_by_name(given: str, says: str, tmp_path: Path) -> None:
    read_body(chain(tmp_path, GOOD), 0)
    with pytest.raises(UserError, match=says):
        read_body(chain(tmp_path, given), 0)
    for hidden in (-1, 2):
        with pytest.raises(UserError, match=f"{hidden} positions of .* trunk has 1"):
            read_body(chain(tmp_path, GOOD), hidden)


def test_nothing_is_left_in_the_users_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MuJoCo writes what it thinks of gymnasium's files into a file where the user is."""
    monkeypatch.chdir(tmp_path)
    body_of("HalfCheetah-v5")
    assert not list(tmp_path.iterdir())


def test_a_world_without_a_body_and_a_machine_without_mujoco(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UserError, match=r"world=CartPole-v1.*HalfCheetah-v5"):
        body_of("CartPole-v1")
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(UserError, match=r"pip install 'fledge\[mujoco\]"):
        body_of("Hopper-v5")
