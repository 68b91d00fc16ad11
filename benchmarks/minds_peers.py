"""One peer of benchmarks/minds.py, in an interpreter of its own: `PYTHON minds_peers.py SIDE
PROBLEM.npz REPEATS` prints the seconds of so many repeats, what came out, and versions, as JSON.
It imports nothing of fledge.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def take(update: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Processor seconds of so many, after one that is not counted; what the last of them said."""
    said = update()
    began = time.process_time()
    for _ in range(repeats):
        said = update()
    return time.process_time() - began, said


def run_pomdp_py(problem: Any, repeats: int) -> tuple[float, Any]:
    """Its exact update of a histogram, action by action: the mind is a state that stays."""
    import pomdp_py

    prior, table = problem["prior"], problem["table"]  # [M], [T, M]
    minds = list(range(len(prior)))

    class Seen(pomdp_py.ObservationModel):
        def __init__(self) -> None:
            self.step = 0

        def probability(self, observation: Any, next_state: Any, action: Any) -> float:
            return float(table[self.step, next_state])

    class Same(pomdp_py.TransitionModel):
        def probability(self, next_state: Any, state: Any, action: Any) -> float:
            return float(next_state == state)

    seen, same = Seen(), Same()

    def update() -> list[float]:
        belief = pomdp_py.Histogram({mind: float(p) for mind, p in zip(minds, prior, strict=True)})
        for step in range(len(table)):
            seen.step = step
            belief = pomdp_py.update_histogram_belief(
                belief, "watch", "seen", seen, same, static_transition=True
            )
        return [belief[mind] for mind in minds]

    return take(update, repeats)


# Python 3.12's syntax, and memo reads it out of a file: so it is written to one.
MEMO = """
import jax
import jax.numpy as jnp
import numpy as np
from memo import memo

jax.config.update("jax_enable_x64", True)
Mind = np.arange(MINDS)

@jax.jit
def take(array, m):
    return array[m]

@memo
def watch[m: Mind](belief: ..., likely: ...):
    watcher: thinks[walker: given(m in Mind, wpp=take(belief, m))]
    watcher: observes_event(wpp=take(likely, walker.m))
    watcher: knows(m)
    return watcher[Pr[walker.m == m]]

one = jax.jit(lambda belief, likely: watch(belief, likely))

@jax.jit
def whole(belief, table):
    return jax.lax.scan(lambda b, likely: (watch(b, likely),) * 2, belief, table)[0]
"""


def load_memo(problem: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "memo_program.py"
        path.write_text(MEMO.replace("MINDS", str(len(problem["prior"]))))
        spec = importlib.util.spec_from_file_location("memo_program", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        # Compiled while its text is there to be read.
        prior, table = (module.jnp.array(problem[name]) for name in ("prior", "table"))
        module.one(prior, table[0]).block_until_ready()
        module.whole(prior, table).block_until_ready()
    return module


def run_memo(problem: Any, repeats: int) -> tuple[float, Any]:
    """A compiled program, asked action by action."""
    module = load_memo(problem)
    prior, table = (module.jnp.array(problem[name]) for name in ("prior", "table"))
    rows = list(table)

    def update() -> list[float]:
        belief = prior
        for row in rows:
            belief = module.one(belief, row)
        return belief.tolist()

    return take(update, repeats)


def run_memo_scan(problem: Any, repeats: int) -> tuple[float, Any]:
    """The same, the whole path within one compiled loop."""
    module = load_memo(problem)
    prior, table = (module.jnp.array(problem[name]) for name in ("prior", "table"))
    return take(lambda: module.whole(prior, table).tolist(), repeats)


def run_imitation(problem: Any, repeats: int) -> tuple[float, Any]:
    """Iterations of MCEIRL: soft values, visits, gradient, Adam."""
    import torch
    from imitation.algorithms.mce_irl import MCEIRL, mce_occupancy_measures, mce_partition_fh
    from imitation.rewards.reward_nets import BasicRewardNet
    from seals.base_envs import TabularModelPOMDP

    torch.set_num_threads(1)
    env = TabularModelPOMDP(
        transition_matrix=problem["transition"],  # [S, A, S]
        observation_matrix=problem["features"].astype(np.float32),  # [S, F]
        reward_matrix=problem["reward"],
        horizon=int(problem["steps"]),
        initial_state_dist=problem["start"],
    )
    net = BasicRewardNet(
        env.observation_space, env.action_space, hid_sizes=(), use_action=False,
        use_next_state=False, use_done=False,
    )  # fmt: skip
    learner = MCEIRL(problem["expert"], env, net, rng=np.random.default_rng(0), log_interval=None)
    features = torch.from_numpy(env.observation_matrix)
    taken, _ = take(lambda: learner._train_step(features), repeats)
    _, _, policy = mce_partition_fh(env, reward=problem["reward"])
    visits, _ = mce_occupancy_measures(env, reward=problem["reward"], pi=policy)
    return taken, visits[:-1].sum(0).tolist()  # of the states in which reward is earned


SIDES = {
    "memo": (run_memo, ("memo-lang", "jax")),
    "memo_scan": (run_memo_scan, ("memo-lang", "jax")),
    "pomdp_py": (run_pomdp_py, ("pomdp-py",)),
    "imitation": (run_imitation, ("imitation", "seals")),
}


def main() -> None:
    side, file, repeats = sys.argv[1:]
    work, packages = SIDES[side]
    taken, said = work(np.load(file), int(repeats))
    versions = {name: importlib.metadata.version(name) for name in packages}
    print(json.dumps({"seconds": taken, "said": said, "versions": versions}))


if __name__ == "__main__":
    main()
