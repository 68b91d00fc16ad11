"""Recipes that are called from Python let go of their run, and count the seconds of all
processes.
"""

from __future__ import annotations

import gc
import io
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fledge.cli.resume import ResumeConfig, resume
from fledge.errors import UserError
from fledge.loop import Interrupted
from fledge.recipes.control.config import ControlConfig
from fledge.recipes.control.control import control
from fledge.recipes.language import demo as road
from fledge.recipes.language.align import AlignConfig, align
from fledge.recipes.language.distill import DistillConfig, distill
from fledge.recipes.language.prefer import PreferConfig, prefer
from fledge.recipes.language.pretrain import PretrainConfig, pretrain
from fledge.recipes.language.reward import RewardConfig, reward
from fledge.recipes.language.tune import TuneConfig, tune
from fledge.runs.folder import Run
from fledge.runs.show import Show, Watch

QUICK: dict[str, Any] = {
    "steps": 2,
    "precision": "fp32",
    "compile": "no",
    "device": "cpu",
    "warmup_steps": 0,
}
SMALL: dict[str, Any] = {**QUICK, "layers": 1, "width": 16, "heads": 2}
ASKED: dict[str, Any] = {**QUICK, "task": "reverse", "evaluation_prompts": 2, "max_new_tokens": 4}
PAIRS: dict[str, Any] = {**QUICK, "data": "pairs.jsonl", "pairs_per_step": 4}
PRETRAIN = PretrainConfig(
    **SMALL, data="text.txt", tokenizer="bytes", context=64, tokens_per_step=64, evaluation_rows=1
)
CONTROL: dict[str, Any] = {
    "world": "gridworld",
    "steps": 40,
    "evaluation_episodes": 2,
    "pictures": False,
}
BASE = Path("base")
RECIPES: dict[str, tuple[Callable[..., dict[str, Any]], Any]] = {
    "pretrain": (pretrain, PRETRAIN),
    "tune": (tune, TuneConfig(**ASKED, base=BASE, rows_per_step=4)),
    "reward": (reward, RewardConfig(**PAIRS, base=BASE)),
    "prefer": (prefer, PreferConfig(**PAIRS, base=BASE)),
    "align": (align, AlignConfig(**ASKED, base=BASE, prompts_per_step=2, samples_per_prompt=2)),
    "distill": (
        distill,
        DistillConfig(**ASKED, teacher=BASE, layers=1, width=16, heads=2, rows_per_step=4),
    ),
    "control": (control, ControlConfig(**CONTROL, algorithm="q_learning")),
    "compare": (control, ControlConfig(**CONTROL, compare="q_learning", seeds=1)),
}


def silent() -> Show:
    return Show(Console(file=io.StringIO()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Text, pairs and a model."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "text.txt").write_text("".join(f"sentence {number}.\n" for number in range(200)))
    rows = [{"prompt": f"say {n}", "chosen": f"{n}", "rejected": "?"} for n in range(40)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    here = {"data": str(folder / "text.txt"), "out": folder / "base"}
    pretrain(PRETRAIN.model_copy(update=here), silent())
    return folder


@pytest.fixture
def work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def open_files(folder: Path) -> set[str]:
    """What this process has open in a folder."""
    gc.collect()
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("no list of open files here")
    places = []
    for number in os.listdir("/proc/self/fd"):
        try:
            places.append(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:  # the one of this listing
            continue
    return {place for place in places if place.startswith(f"{folder}/")}


@pytest.mark.parametrize("verb", RECIPES)
def test_a_recipe_that_returned_has_no_file_open_and_its_run_can_be_opened(
    verb: str, work: Path
) -> None:
    recipe, config = RECIPES[verb]
    out = work / verb
    recipe(config.model_copy(update={"out": out}), silent())
    assert open_files(work) == set()
    with Run.open(out, writing=True) as again:
        assert again.finished
    assert resume(ResumeConfig(run=out), silent())["verb"] == again.verb
    assert open_files(work) == set()


class Pressing(Show):
    """Somebody presses Ctrl-C at the first step, and what else is to be done then is done."""

    also: Callable[[], object] = staticmethod(lambda: None)

    @contextmanager
    def progress(self, what: str, steps: int, figure: str, unit: str = "") -> Iterator[Watch]:
        with super().progress(what, steps, figure, unit) as watch:
            shown = watch.step

            def pressed(step: int, figures: Mapping[str, float]) -> None:
                if step >= 1 and watch.step is pressed:
                    watch.step = shown
                    self.also()
                    os.kill(os.getpid(), signal.SIGINT)
                shown(step, figures)

            watch.step = pressed
            yield watch


def test_ctrl_c_in_a_notebook_says_what_to_do_and_that_can_be_done(work: Path) -> None:
    config = PRETRAIN.model_copy(update={"out": work / "stopped"})
    with pytest.raises(Interrupted, match="Continue with: fledge resume") as stopped:
        pretrain(config, Pressing(Console(file=io.StringIO())))
    assert stopped.traceback[-1].frame  # a notebook keeps it, and with it what the recipe held
    assert open_files(work) == set()
    assert resume(ResumeConfig(run=work / "stopped"), silent())["steps"] == 2


def test_a_road_that_is_stopped_can_be_opened(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def only(folder: Path, seed: int) -> list[road.DemoStage]:
        return [("pretrain", pretrain, PRETRAIN.model_copy(update={"out": folder / "pretrain"}))]

    monkeypatch.setattr(road, "list_stages", only)
    with pytest.raises(Interrupted) as stopped:
        road.demo(road.DemoConfig(out=work / "road"), Pressing(Console(file=io.StringIO())))
    assert str(work / "road") in str(stopped.value)
    assert open_files(work) == set()
    for folder in (work / "road", work / "road" / "pretrain"):
        Run.open(folder, writing=True).close()


def test_a_run_that_was_given_is_its_givers_to_close(work: Path) -> None:
    config = PRETRAIN.model_copy(update={"out": work / "given"})
    run = Run.create(config.out, "pretrain", config.model_dump(mode="json"), seed=0)
    pretrain(config, silent(), run)
    with pytest.raises(UserError, match="is being written by process"):
        Run.open(work / "given", writing=True)
    run.close()
    assert open_files(work) == set()


@pytest.mark.parametrize("verb", [verb for verb in RECIPES if verb != "compare"])
def test_the_seconds_of_a_continued_run_are_those_of_all_its_processes(
    verb: str, work: Path
) -> None:
    recipe, config = RECIPES[verb]
    show, clock = Pressing(Console(file=io.StringIO())), time.perf_counter
    with pytest.MonkeyPatch.context() as patched:
        show.also = lambda: patched.setattr(time, "perf_counter", lambda: clock() + 36_000)
        with pytest.raises(Interrupted):
            recipe(config.model_copy(update={"out": work / f"{verb}-long"}), show)
    began = clock()
    seconds = resume(ResumeConfig(run=work / f"{verb}-long"), silent())["seconds"]
    assert 36_000 < seconds < 36_000 + 60
    whole = recipe(config.model_copy(update={"out": work / f"{verb}-whole"}), silent())
    assert 0 < whole["seconds"] < clock() - began
