"""Tasks of other packages, where they are installed: their own graders and games, asked by name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from fledge.errors import UserError
from fledge.splits import SPLITS
from fledge.tasks.checking import check_task
from fledge.tasks.conversed import Conversed, count_turns
from fledge.tasks.named import load_task
from fledge.tasks.reasoning_gym import ReasoningGymTask

MISSING = "is not here .*: pip install 'fledge\\[text_worlds\\]'"


def test_what_is_not_installed_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    monkeypatch.setitem(sys.modules, "textworld", None)
    for name in ("reasoning_gym:leg_counting", "textworld:games"):
        with pytest.raises(UserError, match=MISSING):
            load_task(name)


@pytest.mark.parametrize("dataset", ["leg_counting", "basic_arithmetic", "word_sorting"])
def test_a_dataset_of_reasoning_gym_is_judged_by_its_own_grader(dataset: str) -> None:
    gym = pytest.importorskip("reasoning_gym")
    task = load_task(f"reasoning_gym:{dataset}", seed=3)
    check_task(task)
    examples = [task.example(i, split) for split in SPLITS for i in range(4)]
    assert len({example.prompt for example in examples}) == 12
    assert examples == [
        load_task(f"reasoning_gym:{dataset}", seed=3).example(i, split)
        for split in SPLITS
        for i in range(4)
    ]
    theirs = gym.create_dataset(dataset, size=10**9, seed=3)
    said = [str(example.answer) if i % 2 else "17 cats" for i, example in enumerate(examples)]
    for example, text, verdict in zip(examples, said, task.judge(examples, said), strict=True):
        entry = theirs[int(example.hidden)]
        assert entry["question"].strip() == example.prompt
        assert verdict.score == theirs.score_answer(text, entry)
        assert verdict.right == (text == example.answer)


def test_a_dataset_of_one_question_is_one_sentence() -> None:
    class Alone:
        def __getitem__(self, number: int) -> dict[str, str]:
            return {"question": "What is it?", "answer": "it"}

    task = ReasoningGymTask("reasoning_gym:alone", 0, Alone())
    told = []
    for split in SPLITS:
        try:
            task.example(0, split)
        except UserError as error:
            told.append(str(error))
    assert len(told) == 2  # it lies in one of the three
    assert all("so few different questions" in each for each in told)


def test_that_string_hashes_move_its_questions_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("reasoning_gym")
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    assert "start with PYTHONHASHSEED=0" in str(load_task("reasoning_gym:ransom_note").note)
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    assert load_task("reasoning_gym:ransom_note").note is None


def test_what_a_grader_cannot_read_earns_nothing() -> None:
    pytest.importorskip("reasoning_gym")
    task = load_task("reasoning_gym:prime_factorization")
    example = task.example(0, "train")
    right, wrong = task.judge([example, example], [str(example.answer), "no number"])
    assert (right.right, wrong.right, wrong.score) == (True, False, 0.0)


def test_a_dataset_that_there_is_not_is_one_sentence() -> None:
    pytest.importorskip("reasoning_gym")
    with pytest.raises(UserError, match="perhaps you meant reasoning_gym:leg_counting"):
        load_task("reasoning_gym:leg_count")


@pytest.fixture(scope="module")
def games(tmp_path_factory: pytest.TempPathFactory) -> Path:
    textworld = pytest.importorskip("textworld")
    folder = tmp_path_factory.mktemp("games")
    for seed in range(2):
        options: Any = textworld.GameOptions()
        options.nb_rooms, options.nb_objects, options.quest_length = 2, 3, 2
        options.seeds, options.path = 10 + seed, str(folder / f"game{seed}.z8")
        textworld.generator.compile_game(textworld.generator.make_game(options), options)
    return folder


def test_a_game_of_textworld_is_won_by_its_own_way(games: Path) -> None:
    task = load_task(f"textworld:{games}")
    assert isinstance(task, Conversed)
    check_task(task)
    examples = [task.example(i, "train") for i in range(2)]
    for example in examples:
        way = str(example.answer).split("\n")
        assert count_turns(task) >= 2 * len(way)
        assert task.reply(example, []) is not None
        replies = [task.reply(example, way[: n + 1]) for n in range(len(way))]
        assert all(replies[:-1])
        assert replies[-1] is None  # it is won
        again = load_task(f"textworld:{games}")
        assert isinstance(again, Conversed)
        # at once, and in another order: where games were left changes nothing
        assert [again.reply(example, way[: n + 1]) for n in reversed(range(len(way)))] == list(
            reversed(replies)
        )
    half = [str(example.answer).split("\n")[0] for example in examples]
    assert [verdict.right for verdict in task.judge(examples, half)] == [False, False]


def test_files_that_are_no_games_are_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("textworld")
    with pytest.raises(UserError, match="holds no games of TextWorld"):
        load_task(f"textworld:{tmp_path}")
