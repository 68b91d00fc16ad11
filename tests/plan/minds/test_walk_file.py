"""Scenes of a walk as files: one sentence for each mistake, before anything is planned."""

from __future__ import annotations

import pytest

import fledge.plan.minds.scene_file as scene_file
from fledge.errors import UserError
from fledge.plan.minds.scene_file import parse_scene
from fledge.plan.minds.walk_file import read_walk

TRUCKS = (scene_file.FOLDER / "food-trucks.toml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("title =", "titel =", "a field `titel`"),
        ("things = [", "thing = [", "perhaps you meant `things`"),
        ('a = "Korean"\nb = "Lebanese"', "", "has no goal"),
        ('a = "Korean"', 'a = "Thai"', "has 'Thai' at a"),
        ('b = "Lebanese"', 'b = "Korean"', "Korean stands in two places"),
        ('b = "Lebanese"', 'z = "Lebanese"', "which is not on the map"),
        ("b....##......\n", ".#...##......\n", "names 'b', which is not on the map"),
        (
            ".....##......\nb....##......\n.....##..S", "#....##......\nb#...##......\n#....##..S",
            "no way leads from S to the place b",
        ),
        ("..S..a", ".....a", "has 0 starts"),
        ("..S..a", "..S..?", "line 5, column 13 of the map is '?'"),
        ("..S..a", "..S..aa", "line 5 of the map has 14 columns"),
        ("right 3 take", "right 2 take", "take, is where nothing stands"),
        ("right 3 take", "take 2 right", "take, is where nothing stands"),
        ("up 4", "north 4", "has the word 'north'"),
        ("up 4", "up ²", "has the word '²'"),
        ("[0.5, 2]", "[0]", "give numbers above 0"),
        ("step_cost = 0.2", "step_cost = -1", "from 0"),
        ("step_cost = 0.2", "gamma = 1", "from 0 to 0.9999"),
        ("Mexican = 20", "Thai = 20", "is {'Thai': 20}"),
        ("title = ", "title ", "cannot be read"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(old: str, new: str, said: str) -> None:
    assert old in TRUCKS
    with pytest.raises(UserError) as caught:
        read_walk(parse_scene(TRUCKS.replace(old, new, 1), "mine"))
    assert said in str(caught.value)
