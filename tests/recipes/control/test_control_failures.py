"""A world that fails while an agent learns in it: one sentence, and the run can go on from its last
checkpoint.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from rich.console import Console

from fledge.errors import UserError
from fledge.recipes.control.config import ControlConfig
from fledge.recipes.control.control import control
from fledge.report.report import write_report
from fledge.runs.folder import Run
from fledge.runs.show import Show


class Fragile(gymnasium.Env):
    """Ten steps an episode; from its `breaks_at`-th step on, all copies together, it raises or
    shows what is no number.
    """

    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    steps, breaks_at, how = 0, 10**9, "raises"

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.count = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        type(self).steps += 1
        self.count += 1
        seen = np.full(2, self.count / 10, np.float32)
        if self.steps >= self.breaks_at:
            if self.how == "raises":
                raise RuntimeError("the motor is on fire")
            seen[1] = np.nan
        return seen, 1.0, self.count == 10, False, {}


@pytest.mark.parametrize(
    ("how", "said"),
    [("raises", "the motor is on fire"), ("shows nan", "shows nan at place 1 of its observation")],
)
def test_a_world_that_breaks_leaves_the_checkpoint_as_it_was(
    how: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        gymnasium.registry, "Fragile-v0", EnvSpec("Fragile-v0", lambda **given: Fragile(**given))
    )
    monkeypatch.setattr(Fragile, "steps", 0)
    monkeypatch.setattr(Fragile, "breaks_at", 400)
    monkeypatch.setattr(Fragile, "how", how)
    said_aloud = io.StringIO()
    show = Show(Console(file=said_aloud, width=200))
    given: dict[str, Any] = {
        "world": "Fragile-v0", "steps": 600, "copies": 2, "steps_per_batch": 16,
        "rows_per_update": 16, "evaluation_episodes": 2, "pictures": False,
        "out": tmp_path / "run", "save_every_s": 0.0, "evaluate_every": 0,
    }  # fmt: skip
    config = ControlConfig.read(given)
    run = Run.create(tmp_path / "run", "control", config.model_dump(mode="json"), seed=0)
    with run, pytest.raises(UserError, match=said):
        control(config, show, run)
    assert run.failure is not None
    assert re.search(said, run.failure)
    page = write_report(tmp_path / "run").read_text()
    assert "It ended with a mistake: " in page
    saved = run.checkpoints.latest(lambda line: None)
    assert saved is not None
    assert saved[0] >= 5
    monkeypatch.setattr(Fragile, "breaks_at", 10**9)  # mended
    with Run.open(tmp_path / "run", writing=True) as again:
        summary = control(config, show, again)
        steps = [row["step"] for row in again.metrics.rows() if "loss" in row]
    assert f"continuing {tmp_path / 'run'} from step {saved[0]}" in said_aloud.getvalue().replace(
        "\n", " "
    )
    assert again.failure is None
    assert not (tmp_path / "run" / "failed.txt").exists()
    assert steps == list(range(1, len(steps) + 1))  # nothing was begun anew, and nothing is missing
    assert summary["steps"] >= 600
    assert summary["evaluation_return"] == 10
