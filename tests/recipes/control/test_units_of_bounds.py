"""One world in four units is one world: whatever learns in it does the same, and says the same of
itself, to the last bit.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from rich.console import Console
from safetensors.torch import load_file

from fledge.recipes.control.config import ControlConfig
from fledge.recipes.control.control import control
from fledge.runs.show import Show

# Around 0 by powers of two every number of float32 has its like. Around 256 it has none, but the
# world only asks on which side of three quarters an action lies, and of some 300 actions none comes
# that near (10⁻⁷ of the width) but once in 30,000 runs.
UNITS = {
    "One": (-1.0, 1.0),
    "Wide": (-2048.0, 2048.0),
    "Tiny": (-(2.0**-10), 2.0**-10),
    "Far": (128.0, 384.0),
}


class Knob(gymnasium.Env):
    """Twenty steps; 1 for each in which the knob is turned past three quarters of its way."""

    observation_space = gymnasium.spaces.Box(0, 1, (1,), np.float32)

    def __init__(self, low: float, high: float, render_mode: str | None = None) -> None:
        self.low, self.high, self.render_mode, self.count = low, high, render_mode, 0
        self.action_space = gymnasium.spaces.Box(low, high, (1,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict]:
        self.count = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.count += 1
        past = (float(action[0]) - self.low) / (self.high - self.low) > 0.75
        return np.full(1, self.count / 20, np.float32), float(past), False, self.count == 20, {}


@pytest.fixture(autouse=True)
def knobs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, (low, high) in UNITS.items():
        made = EnvSpec(
            f"{name}Knob-v0", lambda **given: Knob(**given), kwargs={"low": low, "high": high}
        )
        monkeypatch.setitem(gymnasium.registry, f"{name}Knob-v0", made)


def learned(
    folder: Path, name: str, algorithm: str, **more: Any
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Every figure of a run, and its weights."""
    given: dict[str, Any] = {
        "world": f"{name}Knob-v0", "algorithm": algorithm, "steps": 160, "seed": 3, "copies": 2,
        "steps_per_batch": 40, "widths": (8,), "evaluate_every": 80, "evaluation_episodes": 2,
        "pictures": False, "out": folder / f"{algorithm}{name}", "save_every_s": 1000.0,
        "device": "cpu", **more,
    }  # fmt: skip
    own = {"rows_per_update": 20, "updates_per_step": 4, "learning_starts": 40}
    if algorithm in ("ppo", "trpo"):
        own = {"rows_per_update": 20}
    known = ControlConfig.compose(given).model_fields
    config = ControlConfig.read({k: each for k, each in own.items() if k in known} | given)
    control(config, Show(Console(file=io.StringIO())))
    run = config.out
    assert run is not None
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return rows, load_file(run / "model" / "model.safetensors")


@pytest.mark.parametrize(
    "algorithm",
    [
        *("ppo", "trpo", "reinforce", "sac"),
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("a2c", "actor_critic", "natural", "off_policy", "td3")
        ),
    ],
)
def test_one_world_in_other_units_is_learned_alike(algorithm: str, tmp_path: Path) -> None:
    units = UNITS if algorithm == "ppo" else ("One", "Wide", "Tiny")
    each = [learned(tmp_path, name, algorithm) for name in units]
    rows, weights = each[0]
    # the unit matters to what is paid
    assert any(0 < row.get("episode_return", 0) < 20 for row in rows)
    assert all("cut_actions" in row for row in rows if "steps_taken" in row)
    for others, theirs in each[1:]:
        assert others == rows
        assert theirs.keys() == weights.keys()
        assert all(
            np.array_equal(theirs[key], weights[key]) for key in weights if "bounds" not in key
        )


def test_an_expert_of_another_unit_is_asked_in_units(tmp_path: Path) -> None:
    """What it would do is in units of the bounds like what is done: cloning in wide units is
    cloning in small ones.
    """
    each = []
    for name in ("One", "Wide"):
        learned(tmp_path, name, "ppo")
        each.append(learned(tmp_path, name, "dagger", expert=tmp_path / f"ppo{name}"))
    assert each[0][0] == each[1][0]
