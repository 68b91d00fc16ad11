"""A file of CleanRL's as the user has it (ppo.py) as a peer: the script is run as it is, with its
own command line, over a scripted world. No line of it is copied, changed or cut out.

While it runs its Adam is a recorder that sets the table as it is built and takes no step, and what
Categorical samples is what was done. Its networks become tables: one unit of every hidden layer
answers to one state, and the last layer's weights from these units are the table.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import runpy
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn

from fledge.errors import UserError
from fledge.verify.referee.world_equations import insert_resets
from fledge.verify.referee.world_question import ACTIONS, STATES, Rollout, WorldProblem

WORLD = "fledge/Script-v0"
CERTAIN = 20.0  # tanh of it is 1 in float32
# From gymnasium 1.0 on a vector of worlds spends a step of its own on every reset.
SPENDS_STEPS = int(gymnasium.__version__.partition(".")[0]) >= 1


class ScriptedWorld(gymnasium.Env[Any, Any]):
    """Lives through `rollout`, whatever is done in it; states are one-hot."""

    observation_space = gymnasium.spaces.Box(0.0, 1.0, (STATES,))
    action_space = gymnasium.spaces.Discrete(ACTIONS)
    rollout: ClassVar[Rollout]
    at: ClassVar[int] = 0
    over: ClassVar[bool] = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        here = type(self)
        here.over = False
        return _one_hot(here.rollout.state[here.at % len(here.rollout)]), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        here, r = type(self), type(self).rollout
        at, here.at = here.at, here.at + 1
        here.over = r.terminated[at] or r.truncated[at]
        return _one_hot(r.following[at]), r.reward[at], r.terminated[at], r.truncated[at], {}

    @classmethod
    def act(cls) -> int:
        """What was done here; where a step only resets, 0."""
        return 0 if cls.over or cls.at >= len(cls.rollout) else cls.rollout.action[cls.at]


def _one_hot(state: int) -> Any:
    return np.eye(STATES, dtype=np.float32)[state]


class CleanRlPpo:
    name = "cleanrl:ppo"

    def __init__(self, file: Path, setting: dict[str, Any], problem: WorldProblem) -> None:
        self.file, self.problem = file, problem
        mark = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
        self.version = f"{file.name} {mark}, gymnasium {gymnasium.__version__}"
        self.setting = {"gamma": problem.gamma, "gae_lambda": problem.trace} | setting
        # A rollout with steps that only reset is no even number of steps.
        self.cuts = not SPENDS_STEPS
        if WORLD not in gymnasium.registry:
            gymnasium.register(WORLD, entry_point=lambda **ignored: ScriptedWorld())

    def answer(self, rollout: Rollout, pieces: int = 1) -> Tensor:
        taken, _ = self._run(rollout, pieces, [])
        return -torch.stack(taken).mean(0)

    def losses(self, rollout: Rollout, tables: Sequence[Tensor]) -> list[float]:
        """The numbers on which it calls `backward`, one epoch at each table: its advantages and old
        log-probabilities stay those of the first.
        """
        _, lost = self._run(rollout, 1, tables)
        return lost[1:]

    def _run(
        self, rollout: Rollout, pieces: int, tables: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[float]]:
        """The script from its first line to its last: gradients of all steps, losses of all."""
        ScriptedWorld.rollout, ScriptedWorld.at, ScriptedWorld.over = rollout, 0, False
        steps = len(insert_resets(rollout)) if SPENDS_STEPS else len(rollout)
        told = {
            "env_id": WORLD,
            "num_envs": 1,
            "num_steps": steps,
            "total_timesteps": steps,
            "num_minibatches": pieces,
            "update_epochs": 1 + len(tables),
            "max_grad_norm": 1e9,
            "cuda": False,
        }
        taken: list[Tensor] = []
        lost: list[float] = []
        coming = iter([*tables, self.problem.table])

        def step(layers: dict[int, nn.Parameter]) -> None:
            taken.append(_read(layers))
            _hold(layers, next(coming) if tables else self.problem.table)

        recorder = _make_recorder(self.problem.table, step)
        with _as_script(self.file, self.setting | told), _record(recorder, lost):
            runpy.run_path(str(self.file), run_name="__main__")
        return taken, lost


def _make_recorder(table: Tensor, step: Callable[[dict[int, nn.Parameter]], None]) -> Any:
    class Recorder(torch.optim.Adam):
        def __init__(self, params: Any, **settings: Any) -> None:
            every = list(params)
            super().__init__(every, **settings)
            self.last = _find_last_layers(every)
            _hold(self.last, table)

        def step(self, closure: Any = None) -> None:
            step(self.last)

    return Recorder


@torch.no_grad()
def _find_last_layers(every: list[nn.Parameter]) -> dict[int, nn.Parameter]:
    """Of each chain of layers from states on, the last weights by their number of outputs: the
    actor's and the critic's. All below hands each state on in a unit of its own.

    Raises UserError where the networks are no two such chains.
    """
    last: dict[int, nn.Parameter] = {}
    for weight in every:
        weight.zero_()
        if weight.dim() == 2 and weight.shape[0] in (1, ACTIONS):
            last[weight.shape[0]] = weight
        elif weight.dim() == 2:
            weight[:STATES, :STATES] = CERTAIN * torch.eye(STATES)
    if last.keys() != {1, ACTIONS}:
        shapes = ", ".join(str(tuple(weight.shape)) for weight in every)
        raise UserError(
            f"the file's networks have weights of shapes {shapes}: peer=cleanrl:ppo wants an actor "
            f"and a critic of layers one after another, from {STATES} numbers to {ACTIONS} and 1, "
            "as in CleanRL's ppo.py."
        )
    return last


@torch.no_grad()
def _hold(last: dict[int, nn.Parameter], table: Tensor) -> None:
    """table [S·A + S]"""
    last[ACTIONS][:, :STATES] = table[: STATES * ACTIONS].view(STATES, ACTIONS).T
    last[1][:, :STATES] = table[None, STATES * ACTIONS :]


def _read(last: dict[int, nn.Parameter]) -> Tensor:
    parts = []
    for outputs in (ACTIONS, 1):
        slope = last[outputs].grad
        assert slope is not None
        parts.append(slope[:, :STATES].T.flatten().double().clone())
    return torch.cat(parts)


@contextlib.contextmanager
def _as_script(file: Path, told: dict[str, Any]) -> Iterator[None]:
    """In a folder of its own, that it may write to, with its words on its command line; generators
    and folder are put back. Raises ValueError for words that it refuses.
    """
    words = [str(file)]
    for name, value in told.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", str(value)]
    # The script seeds the one generator that numpy has for everyone.
    state, other = random.getstate(), np.random.get_state()  # noqa: NPY002
    place = os.getcwd()
    with (
        tempfile.TemporaryDirectory(prefix="fledge-referee-") as folder,
        mock.patch.object(sys, "argv", words),
        torch.random.fork_rng(devices=[]),
    ):
        try:
            os.chdir(folder)
            yield
        except SystemExit as error:
            raise ValueError("its command line does not know that") from error
        finally:
            os.chdir(place)
            random.setstate(state)
            np.random.set_state(other)  # noqa: NPY002


@contextlib.contextmanager
def _record(recorder: Any, lost: list[float]) -> Iterator[None]:
    """The optimizer, what is sampled, and the numbers that are differentiated."""
    original = Tensor.backward

    def backward(loss: Tensor, *given: Any, **more: Any) -> None:
        lost.append(float(loss.detach()))
        original(loss, *given, **more)

    def sample(law: Any, *ignored: Any) -> Tensor:
        return torch.full(law.logits.shape[:-1], ScriptedWorld.act())

    kind = torch.distributions.Categorical
    with (
        mock.patch.object(torch.optim, "Adam", recorder),
        mock.patch.object(kind, "sample", sample),
        mock.patch.object(Tensor, "backward", backward),
    ):
        yield


def build_peer(peer: str, setting: dict[str, Any], problem: WorldProblem, file: Path) -> CleanRlPpo:
    return CleanRlPpo(file.resolve(), setting, problem)
