"""How fast agents learn at equal batches: ours against Stable-Baselines3 and CleanRL's own files.

PPO: world steps a second while it trains, the same copies, steps a batch, minibatches and passes on
all sides. DQN and SAC: optimizer steps a second at equal batch and widths, of ours and of SB3 alone
(`train`), and of CleanRL, whose files have no function for one, beside our whole loop: one step of
the world and one update. CleanRL's DQN has layers of 120 and 84, and so has ours beside it. Two
threads or one, whichever a side is faster with.

--cleanrl FOLDER: `cleanrl/` of a checkout of vwxyzjn/cleanrl, whose files are run as they are, each
as a program in this process; they want tyro and tensorboard.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import runpy
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gymnasium
import torch

from control import ZOO_PPO, our_agent, our_speed, their_speed, threads
from fledge.recipes.control.config import ControlConfig
from side_by_side import finish, options, say, table

CHEETAH: dict[str, Any] = {"n_steps": 256, "batch_size": 64, "n_epochs": 10}
OUR_PPO: dict[str, dict[str, Any]] = {
    "CartPole-v1": {"steps_per_batch": 32, "rows_per_update": 256, "epochs": 20},
    "HalfCheetah-v5": {"steps_per_batch": 256, "rows_per_update": 64, "epochs": 10},
}
THEIR_PPO = {"CartPole-v1": ZOO_PPO, "HalfCheetah-v5": CHEETAH}
BATCHES = {"CartPole-v1": 256, "HalfCheetah-v5": 2048}  # world steps between updates
# One update a world step, batches of 64 and 256 rows, two layers of 256.
OUR_DQN: dict[str, Any] = {
    "algorithm": "dqn", "world": "CartPole-v1", "copies": 1, "widths": (256, 256),
    "rows_per_update": 64, "steps_per_batch": 32, "updates_per_step": 32, "learning_starts": 256,
    "double": False, "n_step": 1, "prioritised": False,
}  # fmt: skip
OUR_SAC: dict[str, Any] = {
    "algorithm": "sac", "world": "HalfCheetah-v5", "copies": 1, "widths": (256, 256),
    "rows_per_update": 256, "steps_per_batch": 32, "updates_per_step": 32, "learning_starts": 512,
}  # fmt: skip


def our_updates(fields: Mapping[str, Any], updates: int) -> float:
    """Optimizer steps a second, nothing else timed."""
    config = ControlConfig.read({**fields, "steps": 1_000_000})
    with our_agent(config) as (paced, sampler, _):
        for _ in range(fields["learning_starts"] // 32 + 1):
            paced.update(next(sampler))
        algorithm = paced.algorithm
        while hasattr(algorithm, "algorithm"):
            algorithm = algorithm.algorithm
        began = time.perf_counter()
        for _ in range(updates):
            algorithm.fit()
        return updates / (time.perf_counter() - began)


def our_loop(fields: Mapping[str, Any], steps: int) -> float:
    """World steps, and as many optimizer steps, a second."""
    config = ControlConfig.read({**fields, "steps": 1_000_000})
    with our_agent(config) as (paced, sampler, _):
        for _ in range(fields["learning_starts"] // 32 + 1):
            paced.update(next(sampler))
        first, began = sampler.taken, time.perf_counter()
        while sampler.taken < first + steps:
            paced.update(next(sampler))
        return (sampler.taken - first) / (time.perf_counter() - began)


def their_updates(algorithm: str, updates: int) -> float:
    import stable_baselines3
    from stable_baselines3.common.env_util import make_vec_env

    fields = OUR_DQN if algorithm == "DQN" else OUR_SAC
    model = getattr(stable_baselines3, algorithm)(
        "MlpPolicy", make_vec_env(fields["world"], 1, seed=0), seed=0, device="cpu",
        batch_size=fields["rows_per_update"], learning_starts=fields["learning_starts"],
        policy_kwargs={"net_arch": [256, 256]}, buffer_size=100_000,
    )  # fmt: skip
    model.learn(fields["learning_starts"] + 8)
    began = time.perf_counter()
    model.train(updates, batch_size=fields["rows_per_update"])
    return updates / (time.perf_counter() - began)


class Marks(io.StringIO):
    """The moments at which a program said how fast it is."""

    def __init__(self) -> None:
        super().__init__()
        self.moments: list[float] = []

    def write(self, text: str, /) -> int:
        if text.startswith("SPS:"):
            self.moments.append(time.perf_counter())
        return len(text)


def run_cleanrl(folder: Path, file: str, steps_a_mark: int, **said: Any) -> float:
    """World steps a second of one of its programs, from the first time that it says so to the
    last.
    """
    marks, before, home = Marks(), sys.argv, Path.cwd()
    as_now = gymnasium.wrappers.TransformObservation
    gymnasium.wrappers.TransformObservation = (  # written for gymnasium 0.29, which asked for less
        lambda world, change: as_now(world, change, world.observation_space)
    )
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in said.items()]
    sys.argv = [file, "--no-cuda", *arguments]
    sys.path.insert(0, str(folder.parent))  # of cleanrl_utils
    try:
        with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(marks):
            os.chdir(place)  # where it writes its logs
            runpy.run_path(str(folder / file), run_name="__main__")
    finally:
        gymnasium.wrappers.TransformObservation = as_now
        os.chdir(home)
        sys.argv = before
        sys.path.remove(str(folder.parent))
    passed = marks.moments[-1] - marks.moments[0]
    return steps_a_mark * (len(marks.moments) - 1) / passed


def cleanrl_sides(folder: Path, quick: int) -> dict[str, Callable[[], float]]:
    def ppo(file: str, world: str, minibatches: int, iterations: int) -> Callable[[], float]:
        ours = OUR_PPO[world]
        return lambda: run_cleanrl(
            folder, file, BATCHES[world], env_id=world, num_envs=8,
            num_steps=ours["steps_per_batch"], num_minibatches=minibatches,
            update_epochs=ours["epochs"], total_timesteps=iterations * BATCHES[world],
        )  # fmt: skip

    def steps(fields: Mapping[str, Any]) -> int:
        # It tells every 100, and asks for what gymnasium 1.0 has renamed as an episode of 1,000
        # steps ends.
        return min(fields["learning_starts"] + max(400, 800 // quick), 990)

    return {
        "PPO CartPole-v1, CleanRL": ppo("ppo.py", "CartPole-v1", 1, 2 + 80 // quick),
        "PPO HalfCheetah-v5, CleanRL": ppo(
            "ppo_continuous_action.py", "HalfCheetah-v5", 32, 2 + 4 // quick
        ),
        "DQN loop, CleanRL": lambda: run_cleanrl(
            folder, "dqn.py", 100, batch_size=64, train_frequency=1, target_network_frequency=10,
            learning_starts=256, total_timesteps=steps(OUR_DQN),
        ),
        "SAC loop, CleanRL": lambda: run_cleanrl(
            folder, "sac_continuous_action.py", 100, env_id="HalfCheetah-v5", batch_size=256,
            learning_starts=512, total_timesteps=steps(OUR_SAC),
        ),
    }  # fmt: skip


def list_sides(folder: Path | None, quick: int) -> dict[str, Callable[[], float]]:
    """Rates, by what is done and by whom."""
    sides: dict[str, Callable[[], float]] = {}
    for world, batches in (("CartPole-v1", 80), ("HalfCheetah-v5", 5)):
        amount = max(3, batches // quick) * BATCHES[world]
        sides[f"PPO {world}, ours"] = functools.partial(
            our_speed, world, amount, copies=8, **OUR_PPO[world]
        )
        sides[f"PPO {world}, SB3"] = functools.partial(
            their_speed, world, amount, 8, **THEIR_PPO[world]
        )
    for algorithm, fields in (("DQN", OUR_DQN), ("SAC", OUR_SAC)):
        sides[f"{algorithm} updates, ours"] = functools.partial(our_updates, fields, 480 // quick)
        sides[f"{algorithm} updates, SB3"] = functools.partial(
            their_updates, algorithm, 480 // quick
        )
        if folder is not None:
            loop = {**fields, "widths": (120, 84)} if algorithm == "DQN" else fields
            sides[f"{algorithm} loop, ours"] = functools.partial(our_loop, loop, 640 // quick)
    return sides | (cleanrl_sides(folder, quick) if folder else {})


def choose_threads(sides: Mapping[str, Callable[[], float]], most: int) -> dict[str, int]:
    """With how many each side is faster, by one run of each kind."""
    chosen = {}
    for name, work in sides.items():
        rates = {}
        for count in {1, most}:
            with threads(count):
                rates[count] = work()
        chosen[name] = max(rates, key=lambda count: rates[count])
        say(f"{name}: {rates}")
    return chosen


def main() -> None:
    given = options(
        __doc__,
        cleanrl="FOLDER of CleanRL's files; without it there is no such side",
        only="sides whose name has this in it, such as PPO or 'DQN updates'",
    )
    folder = Path(given.cleanrl).resolve() if given.cleanrl else None
    most, quick, rounds = torch.get_num_threads(), 8 if given.quick else 1, 1 if given.quick else 3
    sides, short = (
        {name: work for name, work in list_sides(folder, n).items() if (given.only or "") in name}
        for n in (quick, 8)
    )
    chosen = choose_threads(short, most)
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, work in sides.items():
            with threads(chosen[name]):
                rates[name].append(work())
            say(f"{name}: {rates[name][-1]:,.0f} a second")
    ratios = {}
    for name in sides:
        what, who = name.rsplit(", ", 1)
        if who != "ours":
            each = zip(rates[f"{what}, ours"], rates[name], strict=True)
            ratios[f"{what}: ours / {who}"] = statistics.median(mine / its for mine, its in each)
    rows = [
        (name, chosen[name], f"{statistics.median(x):,.0f}", f"{min(x):,.0f}", f"{max(x):,.0f}")
        for name, x in rates.items()
    ]
    text = table(("a second", "threads", "median", "lowest", "highest"), rows)
    aims = dict.fromkeys(ratios, "≥ 2")
    finish(given.json, text, ratios, {"rates": rates, "threads": chosen}, aims)


if __name__ == "__main__":
    main()
