"""Stories about minds: exact chances, no habit that answers them, splits by scene, a judge that can
be trusted.
"""

from __future__ import annotations

import re

import pytest

from fledge.errors import UserError
from fledge.splits import SPLITS
from fledge.tasks.checking import check_task
from fledge.tasks.examples import Example, Verdict
from fledge.tasks.minds.mind_task import (
    MIND_TASKS,
    MindTask,
    make_mind_task,
    read_answer,
    read_asked,
    read_story,
)
from fledge.tasks.named import TaskMixture, load_task
from tests.tasks.minds.reading import READERS

KINDS = [f"{task}:{kind}" for task, kinds in MIND_TASKS.items() for kind in kinds]


def make(name: str, seed: int = 0) -> MindTask:
    task = make_mind_task(name, seed)
    assert task is not None
    return task


@pytest.fixture(scope="module")
def asked() -> dict[str, list[Example]]:
    """Of every kind all questions of 120 scenes."""
    return {
        name: [make(name).example(i, "train") for i in range(120 * make(name).kind.questions)]
        for name in KINDS
    }


@pytest.mark.parametrize("name", KINDS)
def test_chances_are_those_worked_out_from_the_text_alone(
    name: str, asked: dict[str, list[Example]]
) -> None:
    for example in asked[name]:
        question = example.prompt.rpartition("\n")[2].partition(" Answer")[0]
        wanted = READERS[name](read_story(example), question)
        chances = read_asked(example).chances
        assert {k: p for k, p in chances.items() if p} == pytest.approx(wanted, abs=1e-12), example
        assert example.answer == max(wanted, key=lambda answer: wanted[answer])
        listed = re.split(", | or ", example.prompt.rpartition(": ")[2].rstrip("."))
        assert listed == list(chances)


# Of a scene's questions, in the order in which the story names the answers.
HABITS = {
    "the last place": lambda story, answers: max(answers, key=lambda a: story.rfind(a)),
    "the first place": lambda story, answers: min(
        (a for a in answers if a in story), key=lambda a: story.find(a)
    ),
    "the first that is listed": lambda story, answers: answers[0],
}


@pytest.mark.parametrize("name", [f"false_beliefs:{kind}" for kind in MIND_TASKS["false_beliefs"]])
def test_no_habit_answers_both_what_is_believed_and_what_is_true(
    name: str, asked: dict[str, list[Example]]
) -> None:
    """Any habit for the belief with any habit for the truth."""
    number = make(name).kind.questions
    scenes = [asked[name][i : i + number] for i in range(0, len(asked[name]), number)]

    def hits(example: Example, habit: str) -> bool:
        answers = list(read_asked(example).chances)
        return HABITS[habit](read_story(example), answers) == example.answer

    for first in HABITS:
        for last in HABITS:
            both = sum(hits(scene[0], first) and hits(scene[-1], last) for scene in scenes)
            assert both < 0.75 * len(scenes), (first, last)
    if name != "false_beliefs:habit":
        apart = sum(scene[0].answer != scene[-1].answer for scene in scenes)
        assert 0.25 * len(scenes) < apart < 0.8 * len(scenes)


def test_all_questions_of_a_scene_are_on_one_side_and_no_scene_is_on_two() -> None:
    for name in ("false_beliefs:second_order", "irony:evident"):
        task = make(name)
        sides = {split: {read_story(task.example(i, split)) for i in range(48)} for split in SPLITS}
        assert not sides["train"] & sides["test"]
        assert not sides["train"] & sides["validation"]
        assert not sides["validation"] & sides["test"]
        assert len(sides["test"]) > 12


def test_an_example_depends_on_seed_split_and_index_alone() -> None:
    assert make("goals:offers").example(7, "test") == make("goals:offers").example(7, "test")
    assert make("goals:offers", 1).example(7, "test") != make("goals:offers").example(7, "test")


def test_a_completion_is_worth_the_chance_of_the_one_answer_it_names() -> None:
    task = make("false_beliefs:habit")
    example = next(e for e in (task.example(i, "train") for i in range(0, 80, 2))
                   if min(read_asked(e).chances.values()) > 0)  # fmt: skip
    chances = read_asked(example).chances
    best, *others = sorted(chances, key=lambda answer: -chances[answer])
    said = [best, f"In the {best.upper()}.", others[0], f"{best} or {others[0]}", "nowhere", ""]
    verdicts = task.judge([example] * len(said), said)
    assert verdicts == [
        Verdict(chances[best], True), Verdict(chances[best], True),
        Verdict(chances[others[0]], False), *[Verdict(0.0, False)] * 3,
    ]  # fmt: skip
    assert read_answer("the boxes", ["box", "bag"]) is None


def test_tasks_pass_the_check_of_every_run_and_kinds_are_chosen_by_name() -> None:
    every = load_task("false_beliefs,goals,irony", seed=3)
    check_task(every)
    assert isinstance(every, TaskMixture)
    assert [part.name for part in every.parts] == KINDS
    two = load_task("false_beliefs:moved+told")
    assert isinstance(two, TaskMixture)
    assert [part.name for part in two.parts] == ["false_beliefs:moved", "false_beliefs:told"]
    assert load_task("irony:odds").name == "irony:odds"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("false_beliefs:movd", "perhaps you meant false_beliefs:moved"),
        ("goals:moved", "it has dishes, street, offers"),
        ("irony:odds+odds", "names irony:odds twice"),
        ("false_belief", "perhaps you meant false_beliefs"),
    ],
)
def test_mistakes_are_told(name: str, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        load_task(name)
