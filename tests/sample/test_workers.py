"""Worker processes: what they send, what they are told when the weights change, and how they fail
and end.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest
import torch

from fledge.errors import UserError
from fledge.models.control.actor_critic import ActorCritic
from fledge.sample import workers as workers_module
from fledge.sample.workers import Workers, first_steps
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from fledge.weigh import gae
from fledge.worlds.make import make_world


class WrongShape(torch.nn.Module):
    def act(self, obs: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, None]:
        return obs[7], None


def lives(pid: int) -> bool:
    """And is not only waiting for somebody to ask how it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def policy() -> ActorCritic:
    world = make_world("CartPole-v1", 1)
    return ActorCritic(
        world.observation, world.action, generator=torch.Generator().manual_seed(0), widths=(8,)
    )


def test_batches_come_and_soon_by_the_new_weights_and_a_death_is_told() -> None:
    actor = policy()
    said_of: list[str] = []
    sampler = Workers(
        "CartPole-v1", 3, actor, Stopwatch(), workers=2, steps=7, seed=0, say=said_of.append
    )
    try:
        first = next(sampler)
        assert first.chosen.shape == (3, 7)
        assert first.logp is not None
        said = actor.log_prob(first.obs, first.action)
        torch.testing.assert_close(said[first.chosen], first.logp[first.chosen])
        with torch.no_grad():
            # from now on everybody pushes to the left
            list(actor.actor.parameters())[-1][:] = torch.tensor([50.0, -50.0])
        batches: list[Trajectories] = []
        lags: list[float] = []
        # Each is taken when both workers have one ready: how old it is does not hang on which of
        # them the machine holds up then.
        while len(batches) < 12 or (sampler.returns.keys() != {0, 1} and len(batches) < 1000):
            assert all(link.poll(60) for link in sampler.links.values())
            batches.append(next(sampler))
            lags.append(sampler.figures["lag"])
        assert bool((batches[-1].action == 0).all())  # what lay ready before is used up by then
        # One that is sent waits for two at most, and as many pass while the next one, begun then,
        # waits for its turn.
        assert max(lags) <= 4
        assert sampler.taken == sum(int(b.chosen.sum()) for b in (first, *batches))
        assert sampler.returns.keys() == {0, 1}
        assert sampler.figures["workers"] == 2
        os.kill(sampler.processes[0].pid or 0, signal.SIGKILL)
        sampler.processes[0].join()
        for _ in range(4):  # soon, though batches lie ready: what it had sent before is read first
            next(sampler)
            if said_of:
                break
        assert said_of == [
            "Worker 0 ended with code -9 and left no word: the machine may be out of memory. 1 of "
            "2 go on."
        ]
        assert sampler.returns.keys() == {1}
        assert sampler.figures["workers"] == 1
        assert sampler.figures["episode_return"] == sampler.returns[1][0]
        os.kill(sampler.processes[1].pid or 0, signal.SIGKILL)
        with pytest.raises(UserError, match="the last worker process ended with code -9"):
            list(itertools.islice(iter(sampler.__next__, None), 6))
    finally:
        sampler.close()
    assert not any(process.is_alive() for process in sampler.processes)


def test_what_a_worker_complains_of_reaches_the_user() -> None:
    sampler = Workers("words:nothing", 1, policy(), Stopwatch(), workers=1, steps=3, seed=0)
    try:
        with pytest.raises(UserError, match="nothing") as told:
            next(sampler)
        assert "Traceback" not in str(told.value)
        assert "a worker failed" not in str(told.value)  # it is the user's mistake, and said as one
    finally:
        sampler.close()


def test_a_mistake_in_a_worker_is_told_with_its_place() -> None:
    sampler = Workers("CartPole-v1", 1, WrongShape(), Stopwatch(), workers=1, steps=3, seed=0)
    try:
        with pytest.raises(UserError, match=r"a worker failed \(.*test_workers.py, line \d+\)"):
            next(sampler)
    finally:
        sampler.close()


def test_a_worker_that_is_stopped_holds_nobody_up() -> None:
    sampler = Workers("CartPole-v1", 3, policy(), Stopwatch(), workers=2, steps=7, seed=0)
    try:
        next(sampler)
        os.kill(sampler.processes[0].pid or 0, signal.SIGSTOP)
        for _ in range(20):
            next(sampler)  # of the other
    finally:
        began = time.monotonic()
        sampler.close()
    # the limit is 2 s, and the machine may be busy; it was for ever
    assert time.monotonic() - began < 60
    assert not any(process.is_alive() for process in sampler.processes)


class Inherited:
    """Starts no process; notes what one would have inherited of SIGINT."""

    def __init__(self) -> None:
        self.handlers: list[Any] = []
        self.Pipe = Pipe

    def Process(self, **_: Any) -> Inherited:
        return self

    def start(self) -> None:
        self.handlers.append(signal.getsignal(signal.SIGINT))


def test_workers_ignore_ctrl_c_from_their_first_moment_and_the_learner_hears_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A handler is the main thread's to change: workers that another one starts set their own."""
    context = Inherited()
    monkeypatch.setattr(workers_module.multiprocessing, "get_context", lambda kind: context)

    def start() -> None:
        Workers("CartPole-v1", 1, policy(), Stopwatch(), workers=2, steps=1, seed=0)

    ours = signal.getsignal(signal.SIGINT)
    start()
    assert context.handlers == [signal.SIG_IGN] * 2
    assert signal.getsignal(signal.SIGINT) is ours
    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert context.handlers[2:] == [ours] * 2


def test_workers_of_a_learner_that_was_killed_end_by_themselves() -> None:
    code = (
        "from tests.sample.test_workers import *\nimport time\nif __name__ == '__main__':\n    "
        "sampler = Workers('CartPole-v1', 3, policy(), Stopwatch(), workers=2, steps=700, "
        "seed=0)\n    next(sampler)\n    print(*(process.pid for process in sampler.processes), "
        "flush=True)\n    time.sleep(600)\n"
    )
    root = str(Path(__file__).parents[2])
    learner = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=root,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": root},
    )
    assert learner.stdout is not None
    workers = [int(word) for word in learner.stdout.readline().split()]
    assert len(workers) == 2
    learner.kill()
    learner.wait()
    until = time.monotonic() + 60
    while any(map(lives, workers)) and time.monotonic() < until:
        time.sleep(0.2)
    assert not any(map(lives, workers))


def test_a_row_whose_last_step_is_left_out_bootstraps_from_where_it_was_left() -> None:
    """Observations are their own value; five of six steps are wanted: what row 1 did last led to 6,
    not to 7.
    """
    no = torch.zeros(2, 3, dtype=torch.bool)
    rows = first_steps(
        Trajectories(torch.arange(8.0).view(2, 4), no.float(), ~no, no.float(), no, no), 5
    )
    target = gae(rows.reward, rows.obs, rows.chosen, rows.terminated, rows.truncated, 1.0, 0.0)[1]
    assert target.tolist() == [[1, 2, 3], [5, 6, 0]]
