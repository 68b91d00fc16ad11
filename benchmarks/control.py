"""Agents in worlds: ours as `fledge control` trains them, against Stable-Baselines3 with the
settings of its zoo.

Seconds to 475: CartPole-v1, 8 copies, learning alone is timed; every 4,000 steps the greedy policy
plays the same 20 episodes, which is not, and the first mean of 475 or more ends the run. Steps per
second: PPO while it trains, both sides with the same copies, batch, minibatches and passes, and
ours with its own defaults; beside them what the worlds do without an agent. SB3 has the threads it
is faster with.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch

from fledge.evaluate.judged_episodes import play_episodes, steering_seed
from fledge.models.control.perceptron_kernel import use_threads
from fledge.recipes.control.agent_run import is_small, observe_after_updates
from fledge.recipes.control.builders import Making
from fledge.recipes.control.config import ControlConfig, fill_in
from fledge.recipes.control.kinds import classify_world, find_kind
from fledge.recipes.pacing import by_world_steps
from fledge.sample.episodes import Episodes
from fledge.stopwatch import Stopwatch
from fledge.worlds.make import make_world
from fledge.worlds.world import Box
from side_by_side import finish, options, say, table

ENOUGH, EVERY, EPISODES, BUDGET = 475.0, 4_000, 20, 100_000
# rl-baselines3-zoo, hyperparams/ppo.yml and dqn.yml, CartPole-v1; schedules fall in a line to 0.
ZOO_PPO: dict[str, Any] = {
    "n_steps": 32,
    "batch_size": 256,
    "gae_lambda": 0.8,
    "gamma": 0.98,
    "n_epochs": 20,
    "ent_coef": 0.0,
}
ZOO_DQN: dict[str, Any] = {
    "learning_rate": 2.3e-3,
    "batch_size": 64,
    "buffer_size": 100_000,
    "learning_starts": 1_000,
    "gamma": 0.99,
    "target_update_interval": 10,
    "train_freq": 256,
    "gradient_steps": 128,
    "exploration_fraction": 0.16,
    "exploration_final_eps": 0.04,
    "policy_kwargs": {"net_arch": [256, 256]},
}
THEIR_STEPS = {"CartPole-v1": 60_000, "HalfCheetah-v5": 12_288}  # of the speed measurement


@dataclass(frozen=True)
class Learned:
    """Seconds of learning and steps until 475, or as far as it came; and the best evaluation."""

    seconds: float
    steps: int
    best: float


@contextmanager
def our_agent(config: ControlConfig) -> Iterator[tuple[Any, Episodes, Any]]:
    """Algorithm, sampler and who plays, as the recipe makes them, and the threads it learns
    with.
    """
    kind = find_kind(config.algorithm)
    world = make_world(config.world, config.copies)
    config = fill_in(config, kind, classify_world(world))
    stopwatch = Stopwatch()
    making = Making(world, config, stopwatch, torch.device("cpu"))
    built = kind.build(making, making.settings)
    sampler = kind.sampler(world, built, stopwatch, config)
    before = torch.get_num_threads()
    if is_small(config, torch.device("cpu")):
        use_threads(before)
        torch.set_num_threads(1)
    try:
        yield (
            by_world_steps(observe_after_updates(built, kind), making.paces),
            sampler,
            built.player,
        )
    finally:
        torch.set_num_threads(before)
        use_threads(None)


def we_learn(algorithm: str, seed: int) -> Learned:
    config = ControlConfig.read(
        {
            "algorithm": algorithm, "world": "CartPole-v1", "steps": BUDGET, "seed": seed,
            "copies": 8,
        }
    )  # fmt: skip
    judge, taken, best, judged = make_world("CartPole-v1", EPISODES), 0.0, 0.0, 0
    with our_agent(config) as (learner, sampler, player):
        while sampler.taken < BUDGET and best < ENOUGH:
            began = time.perf_counter()
            learner.update(next(sampler))
            taken += time.perf_counter() - began
            if sampler.taken // EVERY > judged:
                judged = sampler.taken // EVERY
                best = max(best, play_episodes(judge, player.best, steering_seed(seed)).mean)
    return Learned(taken, sampler.taken, best)


def their_model(algorithm: str, seed: int) -> Any:
    from stable_baselines3 import DQN, PPO
    from stable_baselines3.common.env_util import make_vec_env

    def falling(value: float) -> Callable[[float], float]:
        return lambda left: left * value

    if algorithm == "dqn":  # the zoo trains it in one copy
        return DQN(
            "MlpPolicy",
            make_vec_env("CartPole-v1", 1, seed=seed),
            seed=seed,
            device="cpu",
            **ZOO_DQN,
        )
    world = make_vec_env("CartPole-v1", 8, seed=seed)
    rates: dict[str, Any] = {"learning_rate": falling(1e-3), "clip_range": falling(0.2)}
    return PPO("MlpPolicy", world, seed=seed, device="cpu", **ZOO_PPO, **rates)


def they_learn(algorithm: str, seed: int) -> Learned:
    from stable_baselines3.common.callbacks import BaseCallback

    model = their_model(algorithm, seed)
    judge = make_world("CartPole-v1", EPISODES)

    def best_action(obs: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(model.predict(obs.numpy(), deterministic=True)[0])

    class Judge(BaseCallback):
        def __init__(self) -> None:
            super().__init__()
            self.best, self.judging, self.judged = 0.0, 0.0, 0

        def _on_step(self) -> bool:
            if self.num_timesteps // EVERY > self.judged:
                self.judged = self.num_timesteps // EVERY
                began = time.perf_counter()
                self.best = max(
                    self.best, play_episodes(judge, best_action, steering_seed(seed)).mean
                )
                self.judging += time.perf_counter() - began
            return self.best < ENOUGH

    callback = Judge()
    began = time.perf_counter()
    model.learn(BUDGET, callback=callback)
    return Learned(
        time.perf_counter() - began - callback.judging, model.num_timesteps, callback.best
    )


def our_speed(world: str, steps: int, **settings: Any) -> float:
    """Steps per second, the first batch not counted."""
    with our_agent(
        ControlConfig.read({"algorithm": "ppo", "world": world, "steps": steps, **settings})
    ) as (
        learner,
        sampler,
        _,
    ):
        learner.update(next(sampler))
        first, began = sampler.taken, time.perf_counter()
        while sampler.taken < steps:
            learner.update(next(sampler))
        return (sampler.taken - first) / (time.perf_counter() - began)


def their_speed(world: str, steps: int, copies: int, **settings: Any) -> float:
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env

    model = PPO("MlpPolicy", make_vec_env(world, copies, seed=0), seed=0, device="cpu", **settings)
    model.learn(settings["n_steps"] * copies)
    began = time.perf_counter()
    model.learn(steps, reset_num_timesteps=True)
    return model.num_timesteps / (time.perf_counter() - began)


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def their_threads() -> int:
    """Of their PPO in CartPole, the faster of one thread and all."""
    rates = {}
    for count in {1, torch.get_num_threads()}:
        with threads(count):
            rates[count] = their_speed("CartPole-v1", 16_384, 8, **ZOO_PPO)
    return max(rates, key=lambda count: rates[count])


def alone(world: str, copies: int, steps: int) -> dict[str, float]:
    """Steps per second with actions drawn beforehand: gymnasium's own copies in one thread, and
    ours.
    """
    ours = make_world(world, copies)
    space = ours.action
    random = torch.Generator().manual_seed(0)
    if isinstance(space, Box):
        actions = torch.rand((64, copies, *space.shape), generator=random) * 2 - 1
    else:
        actions = torch.randint(space.sizes[0], (64, copies), generator=random)
    ours.reset(0)
    began = time.perf_counter()
    for i in range(steps):
        ours.step(actions[i % 64])
    ceilings = {"fledge": copies * steps / (time.perf_counter() - began)}
    ours.close()
    mode: Any = "vector_entry_point" if world == "CartPole-v1" else "sync"
    theirs = gymnasium.make_vec(world, num_envs=copies, vectorization_mode=mode)
    theirs.reset(seed=0)
    given = [np.asarray(action) for action in actions]
    began = time.perf_counter()
    for i in range(steps):
        theirs.step(given[i % 64])
    ceilings["gymnasium"] = copies * steps / (time.perf_counter() - began)
    theirs.close()
    return ceilings


def main() -> None:
    given = options(__doc__)
    seeds, rounds = (1, 1) if given.quick else (5, 3)
    quick = 8 if given.quick else 1
    theirs = their_threads()
    learned: dict[str, list[Learned]] = {}
    for algorithm in ("ppo", "dqn"):
        for seed in range(seeds):
            for who, work in (("ours", we_learn), ("SB3", they_learn)):
                with threads(theirs if who == "SB3" else torch.get_num_threads()):
                    reached = work(algorithm, seed)
                learned.setdefault(f"{who} {algorithm}", []).append(reached)
                say(
                    f"{who} {algorithm}, seed {seed}: {reached.best:.0f} after "
                    f"{reached.steps} steps, {reached.seconds:.1f} s"
                )
    speeds: dict[str, list[float]] = {}
    zoo = {"steps_per_batch": 32, "rows_per_update": 256, "epochs": 20}
    cheetah = {"n_steps": 256, "batch_size": 64, "n_epochs": 10}
    pole_steps = THEIR_STEPS["CartPole-v1"]
    cheetah_steps = THEIR_STEPS["HalfCheetah-v5"]
    sides = {
        "CartPole-v1, ours": lambda: our_speed("CartPole-v1", pole_steps // quick, copies=8, **zoo),
        "CartPole-v1, ours, its defaults": lambda: our_speed(
            "CartPole-v1", pole_steps // quick, copies=8
        ),
        "CartPole-v1, SB3": lambda: their_speed("CartPole-v1", pole_steps // quick, 8, **ZOO_PPO),
        "HalfCheetah-v5, ours": lambda: our_speed(
            "HalfCheetah-v5",
            max(2 * cheetah_steps // quick, 3 * 8 * 256),  # two batches after the first
            copies=8,
            steps_per_batch=256,
            rows_per_update=64,
        ),
        "HalfCheetah-v5, ours, its defaults": lambda: our_speed(
            "HalfCheetah-v5", 4 * cheetah_steps // quick, copies=8
        ),
        "HalfCheetah-v5, SB3": lambda: their_speed(
            "HalfCheetah-v5", cheetah_steps // quick, 8, **cheetah
        ),
    }
    for _ in range(rounds):
        for name, work in sides.items():
            with threads(theirs if name.endswith("SB3") else torch.get_num_threads()):
                speeds.setdefault(name, []).append(work())
            say(f"{name}: {speeds[name][-1]:,.0f} steps/s")
    ceilings = {world: alone(world, 8, 2_000 // quick) for world in THEIR_STEPS}
    middle = {name: statistics.median(values) for name, values in speeds.items()}
    ratios = {}
    for algorithm in ("ppo", "dqn"):
        own, other = (
            statistics.median(one.seconds for one in learned[f"{who} {algorithm}"])
            for who in ("ours", "SB3")
        )
        ratios[f"{algorithm}, seconds to {ENOUGH:.0f}: ours / SB3"] = own / other
    for world in THEIR_STEPS:
        ratios[f"{world}, PPO steps per second: ours / SB3"] = (
            middle[f"{world}, ours"] / middle[f"{world}, SB3"]
        )
        own = middle[f"{world}, ours, its defaults"]
        ratios[f"{world}, PPO steps per second, our defaults: ours / SB3"] = (
            own / middle[f"{world}, SB3"]
        )
    text = "\n\n".join(
        (
            table(
                (f"CartPole-v1 to {ENOUGH:.0f}", "reached", "seconds, median", "steps, median"),
                [
                    (
                        name,
                        f"{sum(one.best >= ENOUGH for one in runs)} of {len(runs)}",
                        f"{statistics.median(one.seconds for one in runs):.1f}",
                        f"{statistics.median(one.steps for one in runs):,.0f}",
                    )
                    for name, runs in learned.items()
                ],
            ),
            table(
                ("PPO, steps/s", "median"),
                [(name, f"{value:,.0f}") for name, value in middle.items()],
            ),
            table(
                ("worlds alone, steps/s", "fledge", "gymnasium"),
                [
                    (world, f"{rates['fledge']:,.0f}", f"{rates['gymnasium']:,.0f}")
                    for world, rates in ceilings.items()
                ],
            ),
        )
    )  # fmt: skip
    figures = {
        "threads of SB3": theirs,
        "learned": {name: [vars(one) for one in runs] for name, runs in learned.items()},
        "steps_per_second": speeds,
        "worlds_alone": ceilings,
    }
    targets = {
        "ppo, seconds to 475: ours / SB3": "≤ 0.33",
        "dqn, seconds to 475: ours / SB3": "≤ 0.33",
        "CartPole-v1, PPO steps per second, our defaults: ours / SB3": "≥ 3",
        "HalfCheetah-v5, PPO steps per second, our defaults: ours / SB3": "≥ 2.5",
    }
    finish(given.json, text, ratios, figures, targets)


if __name__ == "__main__":
    main()
