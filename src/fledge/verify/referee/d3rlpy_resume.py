"""A run of d3rlpy's is saved halfway as a file with all that it needs, loaded by another learner
and carried on: are the weights those of a run that went through?
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import d3rlpy  # pyright: ignore[reportMissingImports]
import numpy as np
from torch import Tensor

from fledge.verify.referee.second_way import tell_apart
from fledge.verify.referee.small_world import STEPS, read_weights
from fledge.verify.referee.world_question import STATES, WorldProblem, draw_rollouts


def compare_saved(build: Callable[[], Any], problem: WorldProblem) -> str:
    """build: -> a learner with its networks. It learns from the problem's rollouts."""
    data = _collect(problem)
    with tempfile.TemporaryDirectory() as folder:
        start = _read(_begin(build))
        through, first = _begin(build), _begin(build)
        _fit(through, data, STEPS)
        _fit(first, data, STEPS // 2)
        file = Path(folder) / "half.d3"
        first.save(str(file))
        resumed = d3rlpy.load_learnable(str(file), device="cpu:0")
        _fit(resumed, data, STEPS // 2)
        return tell_apart(start, _read(through), _read(resumed))


def _begin(build: Callable[[], Any]) -> Any:
    d3rlpy.seed(0)
    return build()


def _fit(learner: Any, data: Any, steps: int) -> None:
    """As a process does that is started anew."""
    d3rlpy.seed(0)
    learner.fit(
        data, n_steps=steps, n_steps_per_epoch=steps, show_progress=False,
        logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
    )  # fmt: skip


def _read(learner: Any) -> Tensor:
    return read_weights(learner.impl.q_function.parameters())


def _collect(problem: WorldProblem) -> Any:
    rollouts = list(draw_rollouts(problem))
    columns = {
        "observations": [np.eye(STATES, dtype=np.float32)[list(r.state)] for r in rollouts],
        "actions": [np.array(r.action) for r in rollouts],
        "rewards": [np.array(r.reward, dtype=np.float32) for r in rollouts],
        "terminals": [np.array([*r.terminated[:-1], True], dtype=np.float32) for r in rollouts],
    }
    return d3rlpy.dataset.MDPDataset(
        **{name: np.concatenate(parts) for name, parts in columns.items()},
        action_space=d3rlpy.ActionSpace.DISCRETE,
    )
