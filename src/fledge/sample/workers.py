"""Trajectories out of worker processes: each acts in worlds of its own, by weights that may be a few updates old, and nobody waits.

As in Espeholt et al. 2018 (IMPALA), §3: actors send whole batches with the log-probabilities they acted by, and fetch the weights before
each. Which batch comes first is the operating system's choice, so two runs differ, and a run that is continued does too.
"""

from __future__ import annotations

import copy
import queue
import signal
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import multiprocessing

from fledge.errors import UserError
from fledge.sample.episodes import Actor, Episodes
from fledge.seeds import seed_for
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from fledge.worlds.make import make_world
from fledge.worlds.units import check_bounds

PATIENCE_S = 1.0  # between two looks at whether the workers are alive
WAITING = 1  # batches of each worker that may lie ready: more would only be older


class SharedActor(Actor, Protocol):
    """A network that acts, and that processes can share."""

    def share_memory(self) -> Any: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...


class Workers:
    """Endless batches, each of one worker's `copies` rows of `steps` steps, in the order in which they come.

    The module's weights move to shared memory; the learner changes them there. figures: `lag`, the batches that were learned from
    between the fetching of a batch's weights and the batch.
    """

    def __init__(
        self,
        world: str,
        copies: int,
        module: SharedActor,
        stopwatch: Stopwatch,
        *,
        workers: int,
        steps: int,
        seed: int,
        bounds: torch.Tensor | None = None,
    ) -> None:
        """bounds: of the world's actions, as `units.bounds_of` says them."""
        self.world, self.bounds = world, bounds
        self.stopwatch, self.figures, self.taken = stopwatch, {}, 0
        module.share_memory()
        context = multiprocessing.get_context("spawn")
        self.version = torch.zeros(1, dtype=torch.long).share_memory_()  # batches that were handed out
        self.queue: Any = context.Queue(workers * WAITING)
        self.returns: dict[int, tuple[float, float]] = {}
        self.processes = [
            context.Process(
                target=work,
                args=(world, copies, module, steps, seed_for(seed, "workers", i), self.version, self.queue, i),
                daemon=True,
            )
            for i in range(workers)
        ]
        with _deaf_to_ctrl_c():
            for process in self.processes:
                process.start()

    def __next__(self) -> Trajectories:
        """Raises UserError when a worker has failed or died."""
        with self.stopwatch.phase("sample"):
            who, kind, content, version, figures = self._wait()
        if kind == "error":
            self.close()
            raise UserError(content)
        rows = Trajectories(**{k: None if v is None else torch.from_numpy(v) for k, v in content.items()})  # pyright: ignore
        self.taken += int(figures["steps_taken"])
        if "episode_return" in figures:
            self.returns[who] = (figures["episode_return"], figures["episode_length"])
        self.figures = {
            "world_steps": float(self.taken),
            "steps_taken": figures["steps_taken"],
            "lag": float(int(self.version) - version),
        } | {name: figures[name] for name in ("cut_actions",) if name in figures}
        if self.returns:
            means = [sum(each) / len(self.returns) for each in zip(*self.returns.values(), strict=True)]
            self.figures |= {"episode_return": means[0], "episode_length": means[1]}
        self.version += 1
        return rows

    def _wait(self) -> Any:
        while True:
            try:
                return self.queue.get(timeout=PATIENCE_S)
            except queue.Empty:
                dead = [process for process in self.processes if not process.is_alive()]
                if dead:
                    self.close()
                    raise UserError(
                        f"a worker process ended with code {dead[0].exitcode} and left no word: the machine may be out of memory. "
                        "Give fewer `workers` or `copies`."
                    ) from None

    def close(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.join()
        self.queue.close()
        self.queue.cancel_join_thread()

    def state_dict(self) -> dict[str, Any]:
        return {"taken": self.taken, "version": int(self.version), "bounds": self.bounds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises UserError for a world that is told in other bounds."""
        check_bounds(state.get("bounds"), self.bounds, self.world)
        self.taken = state["taken"]
        self.version.fill_(state["version"])


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """What is started meanwhile ignores SIGINT from its first moment: the learner answers it, saves, and then ends the workers."""
    if threading.current_thread() is not threading.main_thread():  # which alone may say what a signal does
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def work(
    world: str, copies: int, module: SharedActor, steps: int, seed: int, version: torch.Tensor, out: Any, who: int
) -> None:
    """What a worker does until the learner ends it, or has ended itself without a word."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    own = None
    try:
        own = make_world(world, copies)
        actor = copy.deepcopy(module)
        sampler = Episodes(own, actor, Stopwatch(), steps=steps, seed=seed)
        while True:
            when = int(version)
            actor.load_state_dict(module.state_dict())
            rows = next(sampler)
            # As bytes: a tensor's memory would be gone with a worker that dies before it is fetched.
            sent = {name: None if value is None else value.numpy() for name, value in rows.items()}
            if not _handed_over(out, (who, "rows", sent, when, dict(sampler.figures))):
                return
    except (Exception, SystemExit) as error:  # whatever it is, the learner has to hear of it
        out.put((who, "error", complaint(error), 0, {}))
    finally:
        if own is not None:
            own.close()


def _handed_over(out: Any, sent: Any) -> bool:
    """Whether the learner took it: it may have been killed meanwhile, and then nobody ever will."""
    learner = multiprocessing.parent_process()
    assert learner is not None
    while learner.is_alive():
        try:
            out.put(sent, timeout=PATIENCE_S)
        except queue.Full:
            continue
        return True
    out.cancel_join_thread()  # or the process would wait for a reader before it ends
    return False


def complaint(error: BaseException) -> str:
    """What the learner is told of it: of a mistake that is no known one, the place as well."""
    if isinstance(error, UserError):
        return str(error)
    where = traceback.extract_tb(error.__traceback__)[-1]
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"a worker failed ({said}, {where.filename}, line {where.lineno}). What was saved before is intact."
