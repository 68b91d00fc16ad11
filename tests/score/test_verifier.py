"""The task's verdict: an answer that never stopped is none."""

from __future__ import annotations

from pathlib import Path

from fledge.engine.request import Completion, Ended
from fledge.score.verifier import Verifier
from fledge.tasks.named import load_task

ENDS: tuple[Ended, ...] = ("stop", "length", "stop")


def test_right_wrong_and_unfinished_answers() -> None:
    task = load_task("reverse", seed=0)
    example = task.example(0, "train")
    assert example.answer is not None
    texts = [example.answer, example.answer, "???"]
    completions = [Completion([1], [6], [0.0], ended) for ended in ENDS]
    marks = Verifier(task)([example] * 3, completions, texts)
    assert marks == {"reward": [1.0, 0.0, 0.0], "exact_match": [1.0, 0.0, 0.0]}


def test_the_reward_is_the_tasks_dense_score() -> None:
    task = load_task("reverse", seed=0)
    example = task.example(0, "train")
    assert example.answer is not None
    near = example.answer[:-1]
    marks = Verifier(task)([example], [Completion([1], [6], [0.0], "stop")], [near])
    assert marks["reward"] == [v.score for v in task.judge([example], [near])]
    assert 0 < marks["reward"][0] < 1
    assert marks["exact_match"] == [0.0]


def test_not_to_stop_never_pays(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "def prompts():\n    return ['a']\ndef score(prompt, completion):\n    return "
        "float(completion)\n"
    )
    task = load_task(str(path))
    completions = [Completion([1], [6], [0.0], "length")] * 2 + [
        Completion([1], [6], [0.0], "stop")
    ] * 2
    marks = Verifier(task)([task.example(0, "train")] * 4, completions, ["-5", "5", "-5", "5"])
    assert marks["reward"] == [-5.0, 0.0, -5.0, 5.0]
    assert marks["exact_match"] == [0.0, 0.0, 0.0, 1.0]
    assert marks["judge_failed"] == [0.0] * 4
