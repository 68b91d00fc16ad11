"""Worlds as tasks: drawn by index, held out by what they are, judged by being played again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fledge.errors import UserError
from fledge.splits import SPLITS
from fledge.tasks.checking import check_task
from fledge.tasks.conversed import (
    Conversed,
    count_turns,
    in_one_line,
    write_messages,
    write_transcript,
)
from fledge.tasks.named import load_task
from fledge.tasks.worlds.make import WORLDS

EVERY = [f"{world.name}:{level}" for world in WORLDS.values() for level in range(1, 6)]


def load_world(name: str, seed: int = 0) -> Any:
    task = load_task(name, seed=seed)
    assert isinstance(task, Conversed)
    return task


@pytest.mark.parametrize("name", EVERY)
def test_a_judge_tells_right_from_wrong_and_ways_fit_the_turns(name: str) -> None:
    task = load_world(name)
    check_task(task)
    for i in range(12):
        way = task.example(i, "train").answer.split("\n")
        assert 1 <= len(way) <= task.turns


@pytest.mark.parametrize("name", ["household", "shell:3", "shop:2"])
def test_the_same_index_is_the_same_beginning_and_the_splits_share_none(name: str) -> None:
    one, other, third = load_world(name), load_world(name), load_world(name, seed=1)
    drawn = {split: [one.example(i, split) for i in range(12)] for split in SPLITS}
    for split, examples in drawn.items():
        assert examples == [other.example(i, split) for i in range(12)]
        assert examples != [third.example(i, split) for i in range(12)]
    layouts = {
        split: {one.play(example, [])[0].layout for example in examples}
        for split, examples in drawn.items()
    }
    assert not layouts["train"] & layouts["test"]
    assert not layouts["train"] & layouts["validation"]


def test_half_a_way_earns_a_part_and_nothing_counts_after_the_last_turn() -> None:
    task = load_world("household:1")
    example = next(
        e for e in (task.example(i, "train") for i in range(50)) if e.answer.count("\n") == 2
    )
    *most, last = example.answer.split("\n")
    waste = ["look"] * (task.turns - 3)

    def score(*said: str) -> tuple[float, bool]:
        [verdict] = task.judge([example], ["\n".join(said)])
        return verdict.score, verdict.right

    assert score(*most) == (0.25, False)  # it is held: half of the way, of which half is paid
    assert score(*most, last) == (1.0, True)
    assert score(*waste, *most, last) == (1.0, True)
    assert score("look", *waste, *most, last) == (0.25, False)
    assert score(*most, last, f"take {last.split()[1]}") == (1.0, True)  # it was over by then


def test_replies_end_where_the_world_does() -> None:
    task = load_world("shop:1")
    example = task.example(0, "train")
    way = example.answer.split("\n")
    assert task.reply(example, way[:1]).startswith("Page ")
    assert task.reply(example, way) is None
    assert task.reply(example, ["look around"] * (task.turns - 1)) == "That is no command."
    # time that runs out is no end of the world's
    assert task.reply(example, ["look around"] * task.turns) == "That is no command."


def test_a_conversation_is_written_turn_by_turn() -> None:
    task = load_world("shop:1")
    example = task.example(0, "train")
    first, last = example.answer.split("\n")
    page = task.reply(example, [first])
    assert write_messages(task, example) == [
        {"role": "user", "content": example.prompt},
        {"role": "assistant", "content": first},
        {"role": "user", "content": page},
        {"role": "assistant", "content": last},
    ]
    assert write_transcript(task, example, [first, last]) == f"> {first}\n{page}\n> {last}"
    assert in_one_line(" open\n lamp \t") == "open lamp"


def test_levels_are_named_alone_and_together() -> None:
    mixed = load_task("household:1-3,reverse")
    assert count_turns(mixed) == load_world("household:3").turns
    examples = [mixed.example(i, "train") for i in range(8)]
    assert {e.task for e in examples} == {"household:1", "household:2", "household:3", "reverse"}
    answers = [e.answer or "" for e in examples]
    assert all(verdict.right for verdict in mixed.judge(examples, answers))
    assert isinstance(mixed, Conversed)
    for example in examples:
        reply = mixed.reply(example, ["look"])
        assert (reply is None) == (example.task == "reverse")


def test_a_single_text_in_a_mixture_keeps_its_lines(tmp_path: Path) -> None:
    file = tmp_path / "poems.jsonl"
    file.write_text("".join(f'{{"prompt": "{i}", "answer": "one\\ntwo"}}\n' for i in range(40)))
    mixed = load_task(f"shop:1,{file}")
    [poem, *_] = [e for i in range(2) if (e := mixed.example(i, "train")).task == str(file)]
    assert count_turns(mixed, poem) == 1
    assert write_messages(mixed, poem) == [
        {"role": "user", "content": poem.prompt},
        {"role": "assistant", "content": "one\ntwo"},
    ]


@pytest.mark.parametrize(
    "name", ["household:3-1", "household:0-2", "shop:1-7", "shell:1-999999999999"]
)
def test_levels_that_are_none_are_one_sentence(name: str) -> None:
    with pytest.raises(UserError, match=r"names no levels of \w+: it has 1 to 5"):
        load_task(name)


@pytest.mark.parametrize("name", ["household:0", "household:9", "shell:x", "shop:-1"])
def test_a_level_that_is_none_is_one_sentence(name: str) -> None:
    with pytest.raises(UserError, match=r"names no level of \w+: it has 1 to 5"):
        load_task(name)


def test_a_name_that_is_near_is_proposed() -> None:
    with pytest.raises(UserError, match="perhaps you meant household"):
        load_task("houshold")
