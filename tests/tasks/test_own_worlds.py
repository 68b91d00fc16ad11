"""Worlds of text in a file of the user's: what they answer, what a failure costs, and what is asked
of them before they are trusted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fledge.errors import UserError
from fledge.evaluate.judging import show_answer
from fledge.recipes.look.sample import open_verifier
from fledge.sample import conversing
from fledge.sample.conversing import Spoken, answer_task, is_truncated, read_text
from fledge.sample.rollouts import build_trajectories
from fledge.score.verifier import Verifier
from fledge.tasks.checking import check_task
from fledge.tasks.conversed import Unanswered, write_messages, write_transcript
from fledge.tasks.examples import Verdict
from fledge.tasks.named import load_task
from fledge.tasks.own_process import Limits
from fledge.tasks.python_world import PythonWorld
from tests.docs.test_python import python_blocks
from tests.sample.test_conversing import BYTES, Reader, make_policy

PAGE = Path(__file__).resolve().parents[2] / "docs/text-worlds.md"
# Says back what was said, until it is "stop"; right is who says "a" and then "stop".
ECHO = """
import os, time
TURNS = 3
def prompts():
    return [{"prompt": f"p{i}", "answer": "a\\nstop"} for i in range(60)]
def score(prompt, completion):
    return float(completion == "a\\nstop")
def reply(prompt, said):
    if said[-1] == "stop":
        return None
    if said[-1] == "trouble":
        TROUBLE
    return f"{prompt} {len(said)} {said[-1]}"
"""
SHORT = Limits(seconds=1.5, failed_score=-7.0, say=lambda _: None)


def load(folder: Path, source: str, limits: Limits | None = SHORT) -> Any:
    (folder / "mine.py").write_text(source)
    return load_task(str(folder / "mine.py"), limits=limits)


def test_the_documented_world_is_what_the_page_says(tmp_path: Path) -> None:
    """Its binary search against the number itself; all its answers reach it in four turns."""
    blocks = python_blocks(PAGE.read_text(encoding="utf-8"))
    [source] = [block for block in blocks if block.startswith("# guess.py")]
    task = load(tmp_path, source)
    check_task(task)
    examples = [task.example(i, "train") for i in range(200)]
    for example in examples:
        turns = example.answer.split("\n")
        assert len(turns) <= task.turns == 4
        *guesses, secret = map(int, turns)
        replies = [task.reply(example, turns[: n + 1]) for n in range(len(turns))]
        assert replies == [*("higher" if g < secret else "lower" for g in guesses), None]
    assert len({example.answer for example in examples}) == 15
    asked, *said = write_messages(task, examples[0])
    assert asked["content"] == examples[0].prompt
    assert {turn["role"] for turn in said[::2]} == {"assistant"}
    assert {turn["content"] for turn in said[1::2]} <= {"higher", "lower"}
    verdicts = task.judge(examples, [str(example.answer) for example in examples])
    assert all(verdict.right for verdict in verdicts)


@pytest.mark.parametrize("limits", [SHORT, None])
def test_it_answers_turn_by_turn_in_a_process_and_without(
    limits: Limits | None, tmp_path: Path
) -> None:
    task = load(tmp_path, ECHO.replace("TROUBLE", "pass"), limits)
    assert isinstance(task, PythonWorld)
    check_task(task)
    example = task.example(0, "train")
    assert task.reply(example, ["a"]) == f"{example.prompt} 1 a"
    assert task.reply(example, ["a", "stop"]) is None
    assert write_transcript(task, example, ["a", "stop"]) == f"> a\n{example.prompt} 1 a\n> stop"


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("time.sleep(9)", "reply() took longer than 1.5 s to 'trouble' on the prompt 'p"),
        ("os.kill(os.getpid(), 9)", "reply() ended its process with signal SIGKILL"),
        ("1 / 0", "reply() raised ZeroDivisionError"),
        ("return 7", "reply() returned 7 to 'trouble'"),
        ("return '\\ud800'", "reply() returned '\\ud800'"),
    ],
)
def test_a_failure_costs_its_own_conversation(
    trouble: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = load(tmp_path, ECHO.replace("TROUBLE", trouble))
    check_task(task)
    examples = [task.example(i, "train") for i in range(4)]
    texts = ["a\nstop", "a\ntrouble", "a\nb\nc", "a\nstop"]
    monkeypatch.setattr(conversing, "generate", Reader(texts))
    talks = answer_task(make_policy(1024), BYTES, task, examples, max_new_tokens=8)
    assert [read_text(BYTES, talk) for talk in talks] == texts
    assert [is_truncated(talk) for talk in talks] == [False, True, True, False]
    failed = [talk.failed for talk in talks if isinstance(talk, Spoken)]
    assert [verdict is None for verdict in failed] == [True, False, True, True]
    assert failed[1] is not None
    assert said in str(failed[1].failure)
    marks = Verifier(task, cut_reward=0.0)(examples, talks, texts)
    assert marks == {
        "reward": [1.0, -7.0, 0.0, 1.0], "exact_match": [1.0, 0.0, 0.0, 1.0],
        "judge_failed": [0.0, 1.0, 0.0, 0.0],
    }  # fmt: skip
    rows = build_trajectories(talks, marks["reward"], [0, 1, 2, 3])
    assert rows.truncated.any(1).tolist() == [False, True, True, False]
    # What an evaluation keeps of it; nothing is asked, and fails, a second time.
    prompt = examples[1].prompt
    shown = show_answer(task, examples[1], texts[1], talks[1])
    assert shown == f"> a\n{prompt} 1 a\n> trouble\n{failed[1].failure}"
    # a mixture has the same failure, and a state that counts it
    assert task.state_dict()["failed"] == 1
    # Had it been answered before, the reading ends there.
    assert said in write_transcript(task, examples[1], ["a", "trouble", "b"]).split("\n")[-1]


def test_too_many_failures_end_the_run(tmp_path: Path) -> None:
    """While conversations go on a tenth of all replies may fail, in the end a tenth of them."""
    task = load(tmp_path, ECHO.replace("TROUBLE", "1 / 0"))
    example = task.example(0, "train")
    right = ["a\nstop"]
    assert task.judge([example] * 20, right * 20) == [Verdict(1.0, True)] * 20
    for _ in range(100):
        task.reply(example, ["a"])
    for _ in range(8):
        with pytest.raises(Unanswered, match="ZeroDivisionError"):
            task.reply(example, ["trouble"])
    with pytest.raises(UserError, match="so ended 8 of 29 answers: mend it") as told:
        task.judge([example], right)
    assert not isinstance(told.value, Unanswered)
    state = task.state_dict()
    assert (state["judged"], state["replied"], state["failed"]) == (21, 100, 8)
    again = load(tmp_path, ECHO.replace("TROUBLE", "1 / 0"))
    again.load_state_dict(state)
    for number in range(9, 15):  # of the whole run: 14 are more than a tenth of 135, 13 not of 134
        kind = Unanswered if number < 14 else UserError
        with pytest.raises(kind, match="ZeroDivisionError") as told:
            again.reply(example, ["trouble"])
    assert "so ended 14 of 135 answers" in str(told.value)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("TURNS = 3", "", "has reply() and no TURNS: say how many turns"),
        ("TURNS = 3", "TURNS = 1", "has reply() and TURNS = 1: say"),
        ("TURNS = 3", "TURNS = True", "has reply() and TURNS = True: say"),
        ("def reply", "def answer", "has TURNS and no function reply(prompt, said)"),
        ("TROUBLE", "pass\n    1 / 0", "raised ZeroDivisionError: division by zero to 'a' on the"),
        ("len(said)", "time.time_ns()", "does not say the same when it is asked about ['a'"),
        ('"answer": "a\\nstop"', '"answer": "a\\n\\nstop"', "own answer has the turn ''"),
        ('"answer": "a\\nstop"', '"answer": "a\\nb\\nc\\nstop"', "4 turns and TURNS is 3: raise"),
        ('"answer": "a\\nstop"', '"answer": "stop\\na"', "after turn 1 of the 2 of its own answer"),
        ('"answer": "a\\nstop"', '"answer": "a\\nb"', "goes on after its own answer has ended"),
    ],
)
def test_one_that_cannot_be_trusted_is_one_sentence(
    before: str, after: str, said: str, tmp_path: Path
) -> None:
    source = ECHO.replace(before, after)
    with pytest.raises(UserError) as told:
        check_task(load(tmp_path, source.replace("TROUBLE", "pass")))
    assert said in str(told.value)
    assert "\n" not in str(told.value)


def test_a_search_for_one_text_does_not_take_it(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(ECHO.replace("TROUBLE", "pass"))
    with pytest.raises(UserError, match="answers, turn by turn, and a search makes one text"):
        open_verifier(str(tmp_path / "mine.py"), "p1")


def test_it_stands_in_a_mixture(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(ECHO.replace("TROUBLE", "1 / 0"))
    task: Any = load_task(f"{tmp_path / 'mine.py'},reverse,household:1", limits=SHORT)
    check_task(task)
    assert task.turns == 8
    mine = next(e for e in (task.example(i, "train") for i in range(9)) if "mine" in e.task)
    assert task.reply(mine, ["a"]) == f"{mine.prompt} 1 a"
    with pytest.raises(Unanswered):
        task.reply(mine, ["trouble"])
