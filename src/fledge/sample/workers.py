"""Trajectories out of worker processes: each acts in worlds of its own, by weights that may be a
few updates old, and nobody waits.

As in Espeholt et al. 2018 (IMPALA), §3: actors send whole batches with the log-probabilities they
acted by, and fetch the weights before each. Which batch comes first is the operating system's
choice, so two runs differ, and a run that is continued does too.
"""

from __future__ import annotations

import copy
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

import torch
from torch import multiprocessing

from fledge.errors import UserError
from fledge.sample.episodes import Actor, Episodes
from fledge.seeds import seed_for
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from fledge.user_code import describe_deed
from fledge.worlds.make import make_world
from fledge.worlds.units import check_bounds

# for workers to end when they are told to: one that is stopped does not hear it, and is killed
END_S = 2.0
WAITING = 1  # batches of each worker that may lie ready: more would only be older


class SharedActor(Actor, Protocol):
    """A network that acts, and that processes can share."""

    def share_memory(self) -> Any: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...


class Workers:
    """Endless batches, each of one worker's `copies` rows of `steps` steps, in the order in which
    they come.

    The module's weights move to shared memory; the learner changes them there. figures: `lag`, the
    batches that were learned from between the fetching of a batch's weights and the batch;
    `workers`, those that live; episode_return and episode_length, theirs. A worker that dies is
    told of in a line, and the others go on without it: a new one would begin as it did, with the
    same end.
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
        limit: int | None = None,
        say: Callable[[str], Any] = warnings.warn,
    ) -> None:
        """bounds: of the world's actions, as `units.bounds_of` says them. limit: how many steps are
        handed out, ever.
        say: is told when a worker has died.
        """
        self.world, self.bounds, self.limit = world, bounds, limit
        self.stopwatch, self.figures, self.taken = stopwatch, {}, 0
        module.share_memory()
        context = multiprocessing.get_context("spawn")
        self.version = torch.zeros(
            1, dtype=torch.long
        ).share_memory_()  # batches that were handed out
        self.returns: dict[int, tuple[float, float]] = {}
        self.say, self.processes = say, []
        # A pipe for each, and not a queue for all: one that dies while it writes leaves no lock
        # behind that others wait for.
        self.links: dict[int, Any] = {}  # of those that live; who was heard last stands last
        with _deaf_to_ctrl_c():
            for i in range(workers):
                self.links[i], theirs = context.Pipe()
                own_seed = seed_for(seed, "workers", i)
                args = (world, copies, module, steps, own_seed, self.version, theirs)
                process: Any = context.Process(target=work, args=args, daemon=True)
                process.start()
                theirs.close()
                self.processes.append(process)

    def __next__(self) -> Trajectories:
        """Raises UserError when a worker has failed, or the last one has died."""
        with self.stopwatch.phase("sample"):
            who, kind, content, version, figures = self._wait()
        if kind == "error":
            self.close()
            raise UserError(content)
        tensors: dict[str, Any] = {
            name: None if value is None else torch.from_numpy(value)
            for name, value in content.items()
        }
        rows = Trajectories(**tensors)
        rows = rows if self.limit is None else first_steps(rows, self.limit - self.taken)
        taken = int(rows.chosen.sum())
        self.taken += taken
        if "episode_return" in figures:
            self.returns[who] = (figures["episode_return"], figures["episode_length"])
        self.figures = {
            "world_steps": float(self.taken),
            "steps_taken": float(taken),
            "lag": float(int(self.version) - version),
            "workers": float(len(self.links)),
        } | {name: figures[name] for name in ("cut_actions",) if name in figures}
        if self.returns:
            means = [
                sum(each) / len(self.returns) for each in zip(*self.returns.values(), strict=True)
            ]
            self.figures |= {"episode_return": means[0], "episode_length": means[1]}
        self.version += 1
        return rows

    def _wait(self) -> Any:
        """Who sent it, and what: of those that have something, whoever was not heard for
        longest.
        """
        while True:
            sentinels = {who: self.processes[who].sentinel for who in self.links}
            ready = wait([*self.links.values(), *sentinels.values()])
            for who, link in list(self.links.items()):
                dead = sentinels[who] in ready
                if not dead and link not in ready:
                    continue
                try:
                    while link.poll():
                        message = link.recv()
                        # What a dead one has sent last is only heard if it is why it died.
                        if dead and message[0] != "error":
                            continue
                        with suppress(OSError):
                            link.send("taken")
                        self.links[who] = self.links.pop(who)
                        return (who, *message)
                except (EOFError, OSError):
                    dead = True
                if dead:
                    self._lose(who)

    def _lose(self, who: int) -> None:
        """A worker has died without a word. Raises UserError if it was the last."""
        self.links.pop(who).close()
        self.returns.pop(who, None)
        process = self.processes[who]
        process.join(END_S)
        how = (
            f"ended with code {process.exitcode} and left no word: the machine may be out of memory"
        )
        if not self.links:
            self.close()
            raise UserError(f"the last worker process {how}. Give fewer `workers` or `copies`.")
        self.say(f"Worker {who} {how}. {len(self.links)} of {len(self.processes)} go on.")

    def close(self) -> None:
        """Ends the workers, whatever state they are in."""
        for process in self.processes:
            process.terminate()
        until = time.monotonic() + END_S
        for process in self.processes:
            process.join(max(0.0, until - time.monotonic()))
            process.kill()
            process.join()
        for link in self.links.values():
            link.close()
        self.links.clear()

    def state_dict(self) -> dict[str, Any]:
        return {"taken": self.taken, "version": int(self.version), "bounds": self.bounds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises UserError for a world that is told in other bounds."""
        check_bounds(state.get("bounds"), self.bounds, self.world)
        self.taken = state["taken"]
        self.version.fill_(state["version"])


def first_steps(rows: Trajectories, most: int) -> Trajectories:
    """The first `most` steps that were chosen, in the order of time, copy by copy.

    What a row's last step led to stands behind it to the row's end: from there a critic says what
    would have come.
    """
    number = rows.chosen.T.flatten().cumsum(0).view(rows.chosen.T.shape).T  # [B, T]: 1, 2, …
    kept = rows.replace(chosen=rows.chosen & (number <= most)).trim()
    place = torch.arange(kept.obs.shape[1])
    behind = torch.where(kept.chosen, place[1:], 0).amax(1, keepdim=True)  # [B, 1]
    return kept.replace(
        obs=kept.obs[torch.arange(len(kept))[:, None], torch.minimum(place, behind)]
    )


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """What is started meanwhile ignores SIGINT from its first moment: the learner answers it,
    saves, and then ends the workers.
    """
    # The main thread alone may say what a signal does.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def work(
    world: str,
    copies: int,
    module: SharedActor,
    steps: int,
    seed: int,
    version: torch.Tensor,
    link: Connection,
) -> None:
    """What a worker does until the learner ends it, or has ended itself without a word."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    own = None
    try:
        own = make_world(world, copies)
        actor = copy.deepcopy(module)
        sampler = Episodes(own, actor, Stopwatch(), steps=steps, seed=seed)
        untaken = 0
        while True:
            when = int(version)
            actor.load_state_dict(module.state_dict())
            rows = next(sampler)
            # As bytes: a tensor's memory would be gone with a worker that dies before it is
            # fetched.
            sent = {name: None if value is None else value.numpy() for name, value in rows.items()}
            try:
                while untaken >= WAITING:
                    link.recv()
                    untaken -= 1
                link.send(("rows", sent, when, dict(sampler.figures)))
                untaken += 1
            except (EOFError, OSError):
                return  # the learner is gone, and nobody will ever take it
    except BaseException as error:  # whatever it is, the learner has to hear of it
        with suppress(OSError):
            link.send(("error", complaint(error), 0, {}))
    finally:
        if own is not None:
            own.close()


def complaint(error: BaseException) -> str:
    """What the learner is told of it: of a mistake that is no known one, the place as well."""
    if isinstance(error, UserError):
        return str(error)
    where = traceback.extract_tb(error.__traceback__)[-1]
    said = describe_deed(error).removeprefix("raised ")
    return (
        f"a worker failed ({said}, {where.filename}, line {where.lineno}). What was saved before "
        "is intact."
    )
