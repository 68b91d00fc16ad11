"""What every run does, once: a run that cannot begin is taken back, validation steers, test is read
once, the summary compares.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fledge.errors import UserError
from fledge.evaluate.judge import Figures, Judge
from fledge.recipes.course import Course, Start, describe_judged
from fledge.recipes.training import TrainingConfig
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.splits import HeldOut


class Counting:
    """Sampler and algorithm in one: batches are numbers, and the loss falls by 1 a step."""

    unfinished = None

    def __init__(self, fails_at: int = 0) -> None:
        self.figures: dict[str, float] = {}
        self.made, self.fails_at = 0, fails_at

    def __next__(self) -> int:
        return self.made + 1

    def update(
        self, batch: int, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        if batch == self.fails_at:
            raise UserError("the judge of the user fails")
        self.made = batch
        return {"loss": 10.0 - batch}

    def state_dict(self) -> dict[str, Any]:
        return {"made": self.made}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.made = state["made"]


class Reads:
    """Knows how far the training is; keeps which part was read when."""

    def __init__(self, training: Counting) -> None:
        self.training, self.parts = training, list[tuple[HeldOut, int]]()

    def __call__(self, part: HeldOut, step: int) -> Figures:
        self.parts.append((part, step))
        return {"right": self.training.made / 10 + (0.05 if part == "test" else 0.0)}


@pytest.fixture
def show() -> Show:
    return Show(Console(file=io.StringIO()))


def spoken(show: Show) -> list[str]:
    file = show.console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue().splitlines()


def config(folder: Path, **fields: Any) -> TrainingConfig:
    return TrainingConfig(out=folder, steps=6, evaluate_every=2, **fields)


def go(course: Course, training: Counting, stop_at: float | None = None) -> Reads:
    read = Reads(training)
    judge = Judge(read, "right", items={"validation": 3, "test": 4}, what="row", prefix="held_")
    course.fit(training, training, [judge], stop_at=stop_at)
    return read


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_validation_is_read_as_it_goes_and_test_once_when_it_is_trained(
    tmp_path: Path, show: Show
) -> None:
    folder = tmp_path / "run"
    with Start("tune", show, None).begin(config(folder), parents=[], data=["reverse"]) as course:
        read = go(course, Counting())
        summary = course.finish({"extra": 1}, held_out={"validation": 3, "test": 4}, then="go on")
    parts = [("validation", step) for step in (0, 2, 4, 6)]
    assert read.parts == [*parts, ("test", 0)]
    assert [row["held_right"] for row in rows(folder) if "held_right" in row] == [0, 0.2, 0.4, 0.6]
    assert rows(folder)[-1] == {"step": 6, "test_right": 0.65}
    assert summary.pop("seconds") > 0
    assert summary == {
        "verb": "tune", "run": str(folder), "steps": 6, "extra": 1,
        "before": {"held_right": 0.0}, "after": {"held_right": 0.6}, "test": {"right": 0.65},
        "held_out": {"validation": 3, "test": 4},
    }  # fmt: skip
    assert "0.650 on 4 rows of the test part" in spoken(show)[-2]
    assert spoken(show)[-1] == "Next: go on"
    with Run.open(folder, writing=True) as again:  # its lock was let go
        assert again.finished


def test_an_evaluation_that_reaches_what_was_asked_for_is_the_last(
    tmp_path: Path, show: Show
) -> None:
    with Start("tune", show, None).begin(config(tmp_path / "run")) as course:
        go(course, Counting(), stop_at=0.4)
        assert course.step == 4
        assert course.finish(then="")["steps"] == 4


def test_checkpoints_are_ranked_so_that_more_is_better() -> None:
    loss = Judge(lambda part, step: {}, "bits", "loss", lower_is_better=True, prefix="validation_")
    figures = {"validation_loss": 2.0, "validation_bits": 3.0, "loss": 9.0, "right": 0.5}
    assert loss.rank(figures) == -2.0
    assert Judge(lambda part, step: {}, "right").rank(figures) == 0.5


def tell(first: Figures, last: Figures, test: Figures, number: int = 40) -> str:
    judge = Judge(
        lambda part, step: {}, "exact_match", otherwise="true_score", what="prompt",
        items={"validation": number, "test": number},
    )  # fmt: skip
    return describe_judged("tune", judge, first, last, test)


def test_points_are_told_where_nothing_is_right() -> None:
    nothing = {"exact_match": 0.0, "true_score": 0.25}
    assert tell(nothing, nothing, nothing).startswith("tune: true score 0.250 on 40 prompts")
    said = tell(nothing, nothing, nothing | {"exact_match": 0.1})
    assert said.startswith("tune: exact match 10.0\u00a0% on 40 prompts")


@pytest.mark.parametrize(("right", "number"), [(0, 1), (6, 7), (7, 7), (3, 29)])
def test_a_share_of_few_is_told_with_how_far_the_truth_may_be(right: int, number: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    wanted = stats.binomtest(right, number).proportion_ci(method="wilson")
    figures = {"exact_match": right / number, "true_score": 0.5}
    said = tell({"exact_match": 1.0}, figures, figures, number)
    range_ = f"{100 * wanted.low:.0f} to {100 * wanted.high:.0f} % possible"
    assert f"read once (so few leave {range_});" in said
    assert "possible" not in tell(figures, figures, figures, 30)


def read_nothing(start: Start, folder: Path) -> None:
    with start.begin(config(folder)) as course:
        assert course.run.folder.exists()
        raise UserError("there is no such text")


def test_a_new_run_that_a_mistake_ends_before_its_first_step_is_taken_back(
    tmp_path: Path, show: Show
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(UserError, match="no such text"):
        read_nothing(Start("tune", show, None), folder)
    assert not folder.exists()


def test_a_run_that_has_begun_is_kept_with_the_reason_and_goes_on(
    tmp_path: Path, show: Show
) -> None:
    folder = tmp_path / "run"
    settings = config(folder, save_every_s=0)
    with pytest.raises(UserError), Start("tune", show, None).begin(settings) as course:
        go(course, Counting(fails_at=4))
    assert "the judge of the user fails" in (folder / "failed.txt").read_text()
    with Run.open(folder, writing=True) as run:
        start = Start("tune", show, run)
        assert not start.new
        with pytest.raises(UserError), start.begin(settings):
            raise UserError("the text is gone")  # takes nothing of a run that was there before
    assert len(list((folder / "checkpoints").iterdir())) > 0
    with (
        Run.open(folder, writing=True) as run,
        Start("tune", show, run).begin(settings) as course,
    ):
        go(course, Counting())
        assert course.finish(then="")["after"] == {"held_right": 0.6}
    assert [row["loss"] for row in rows(folder) if "loss" in row] == [9, 8, 7, 6, 5, 4]
