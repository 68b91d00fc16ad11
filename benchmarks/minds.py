"""Which mind is it, on a 20 × 20 map that hides things, beside memo and pomdp_py; rewards out of
walks, beside imitation's MCE-IRL; and what rewards recovered in 50 random worlds earn.

`--peers PYTHON` is an interpreter with pomdp-py, `--memo PYTHON` one with memo-lang (it needs
Python 3.12), `--imitation PYTHON` one with imitation: their dependencies do not go together, nor
with ours. Each round asks every side in turn, the peers in a process of their own, whose imports
and first call are not counted.

Updates: one action taken into the posterior over all minds. The peers get the table of how likely
each mind would have acted so, made by us; `updates` of ours reads it out of plans, which is more,
`updates_of_table` gets it too. Planning, for all hypotheses in one batch, is in none of them; its
seconds are among the figures. memo is asked action by action, and as `memo_scan` for the whole path
in one compiled loop. Posteriors must agree to 1e-9.

Iterations: soft values, visits, gradient and a step of Adam, in one world, and in 50 at once
(imitation: one after the other). The counts of visits, which make the gradient, must agree to 1e-9
at the same reward. One thread each, and seconds of the processor, all threads of a process summed:
a step of ours is so short that on a busy machine its wall clock is that of the neighbours.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fledge.plan.minds.chances import Chances
from fledge.plan.minds.inverse_planning import InversePlanning, filter_minds
from fledge.plan.minds.planned import plan_minds
from fledge.plan.minds.reward_inference import (
    RewardInference,
    act_best,
    discount,
    earn,
    follow_policy,
    solve_causal,
)
from fledge.plan.minds.scene_file import parse_scene
from fledge.plan.minds.walk_file import read_walk
from side_by_side import (
    alternate,
    finish,
    judge,
    options,
    rate_table,
    rates,
    say,
    speed_up,
)

PEERS = Path(__file__).with_name("minds_peers.py")
SIDE = 20
WALLS = {(i, 8) for i in range(3, 17)} | {(i, 13) for i in range(12)}
GOALS = {"a": (10, 18), "b": (10, 2), "c": (1, 17)}
START = (18, 10)
THINGS = ["red", "green", "blue"]
# Up between the walls, which hide all three places there, back, and round the second one.
PATH = "up 8 left 1 right 1 up 9 down 9 down 6 right 4 up 5 right 4"
AGREE = 1e-9
AIMS = {  # of like with like: the table of how likely each action is goes in, posteriors come out
    "updates_of_table_memo_scan": "≥ 10", "updates_of_table_pomdp_py": "≥ 20",
    "iterations_imitation": "≥ 5",
}  # fmt: skip


def processor_seconds(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def write_scene() -> str:
    rows = [["#" if (i, j) in WALLS else "." for j in range(SIDE)] for i in range(SIDE)]
    for sign, (i, j) in {**GOALS, "S": START}.items():
        rows[i][j] = sign
    drawn = "\n".join("".join(row) for row in rows)
    expected = "".join(
        f'"{thing} at {place}" = {{ {place} = {{ {thing} = 20 }} }}\n'
        for thing in THINGS
        for place in ("b", "c")
    )
    return (
        f'map = """\n{drawn}\n"""\nthings = {json.dumps(THINGS)}\npath = "{PATH}"\n'
        'rationality = [0.25, 0.5, 1, 2, 4, 8]\nstep_cost = 0.2\n[places]\na = "red"\n'
        'b = "green"\n[beliefs]\n"anything" = {}\n' + expected
    )


def make_worlds(worlds: int, side: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Moves on a torus that slip to any side by 0.1, and rewards.  -> [W, A, S, S], [W, S]"""
    S = side * side
    place = torch.arange(S)
    row, column = place // side, place % side
    ways = [
        ((row - 1) % side) * side + column, row * side + (column + 1) % side,
        ((row + 1) % side) * side + column, row * side + (column - 1) % side,
    ]  # fmt: skip
    moves = torch.stack([torch.nn.functional.one_hot(way, S) for way in ways]).double()
    transition = 0.9 * moves + 0.1 * moves.mean(0)
    generator = torch.Generator().manual_seed(seed)
    reward = torch.randn(worlds, S, generator=generator, dtype=torch.float64)
    return transition.expand(worlds, 4, S, S).contiguous(), reward


def recover_rewards(worlds: int) -> float:
    """In random 10 × 10 worlds of which a tenth of the places pays, out of an expert's expected
    visits: what the best policy of the recovered rewards earns, as a share of the expert's, in the
    worst world where anything pays.
    """
    transition, _ = make_worlds(1, 10, 0)
    transition = transition.expand(worlds, -1, -1, -1)
    random = torch.Generator().manual_seed(5)
    pays = torch.rand(worlds, 100, dtype=torch.float64, generator=random) < 0.1
    reward = pays * torch.rand(worlds, 100, dtype=torch.float64, generator=random)
    start, steps = torch.full((worlds, 100), 0.01, dtype=torch.float64), 25
    best = act_best(transition, reward, steps)
    expert = discount(follow_policy(transition, start, best), 1.0)
    features = torch.eye(100, dtype=torch.float64).expand(worlds, -1, -1)
    inference = RewardInference(
        transition, start, features, expert, steps, learning_rate=0.3, penalty=1e-4
    )
    for _ in range(120):
        inference.update()
    policy = act_best(transition, inference.reward, steps)
    share = earn(transition, start, policy, reward) / earn(transition, start, best, reward)
    return float(share[reward.sum(-1) > 0].min())


def ask_peer(python: str, side: str, problem: Path, repeats: int) -> dict[str, Any]:
    words = [python, str(PEERS), side, str(problem), str(repeats)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=900)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["ended without a word"])[-1])
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    given = options(
        __doc__,
        peers="an interpreter with pomdp-py",
        memo="an interpreter with memo-lang",
        imitation="an interpreter with imitation",
    )
    torch.set_num_threads(1)
    repeats, rounds, worlds = (3, 2, 5) if given.quick else (20, 5, 50)
    kept = tempfile.TemporaryDirectory(prefix="minds-")
    folder = Path(kept.name)
    scene, made = read_walk(parse_scene(write_scene(), "bench")), {}
    planning = processor_seconds(lambda: made.update(planned=plan_minds(scene)))
    planned = made["planned"]
    walk = InversePlanning(planned)
    table = torch.stack([planned.log_policy(k, s)[:, a].exp() for k, s, a in walk.steps])
    np.savez(folder / "minds.npz", prior=planned.prior.numpy(), table=table.numpy())
    T, M = table.shape
    say(f"{M} minds, {T} actions, {planned.q.numel():,} numbers planned")

    transition, reward = make_worlds(worlds, 10, 0)
    steps, start = 30, torch.full((worlds, 100), 0.01, dtype=torch.float64)
    features = torch.eye(100, dtype=torch.float64).expand(worlds, 100, 100)
    expert = solve_causal(Chances(transition), start, reward, steps).counts(1.0)
    np.savez(
        folder / "rewards.npz", transition=transition[0].transpose(0, 1).numpy(),
        features=features[0].numpy(), reward=reward[0].numpy(), start=start[0].numpy(),
        steps=steps, expert=expert[0].numpy(),
    )  # fmt: skip

    def infer_walks() -> float:
        def once() -> None:
            filter_ = InversePlanning(planned)
            for _ in range(T):
                filter_.update(1)
            made["posterior"] = filter_.posterior

        once()
        return processor_seconds(lambda: [once() for _ in range(repeats)])

    def infer_rewards(number: int) -> float:
        inference = RewardInference(
            transition[:number], start[:number], features[:number], expert[:number], steps
        )
        inference.update()
        return processor_seconds(lambda: [inference.update() for _ in range(repeats)])

    def infer_table() -> float:
        likely = table.T.log()
        filter_minds(planned, likely)
        return processor_seconds(lambda: [filter_minds(planned, likely) for _ in range(repeats)])

    sides: dict[str, Any] = {
        "updates": infer_walks,
        "updates_of_table": infer_table,
        "iterations": lambda: infer_rewards(1),
        "iterations_at_once": lambda: infer_rewards(worlds) / worlds,
    }
    missing: dict[str, str] = {}
    peers = {
        "memo": (given.memo, "minds.npz"),
        "memo_scan": (given.memo, "minds.npz"),
        "pomdp_py": (given.peers, "minds.npz"),
        "imitation": (given.imitation, "rewards.npz"),
    }  # fmt: skip
    for name, (python, problem) in peers.items():

        def ask(name: str = name, python: Any = python, problem: str = problem) -> float:
            made[name] = ask_peer(python, name, folder / problem, repeats)
            return made[name]["seconds"]

        try:
            if python is None:
                raise RuntimeError("no interpreter was given")
            ask()
        except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
            missing[name] = str(error)
            say(f"{name} cannot run: {error}")
            continue
        sides[name] = ask
    times = alternate(sides, rounds, warm=0)
    apart: dict[str, float] = {}
    for name in ("memo", "memo_scan", "pomdp_py"):
        if name in made:
            theirs = torch.tensor(made[name]["said"], dtype=torch.float64)
            apart[name] = float((theirs - made["posterior"]).abs().max())
    if "imitation" in made:
        theirs = torch.tensor(made["imitation"]["said"], dtype=torch.float64)
        apart["imitation"] = float((theirs - expert[0]).abs().max())
    assert all(each < AGREE for each in apart.values()), f"the answers differ: {apart}"
    ratios, aims = {}, []
    judged = {"memo_scan": "updates_of_table", "pomdp_py": "updates_of_table"}
    for name, ours in {**judged, "imitation": "iterations"}.items():
        key = f"{ours}_{name}"
        if name in made:
            ratios[key] = speed_up(times, ours, name)
        else:
            aims.append(
                {"name": f"{key} ({missing[name]})", "figure": 0.0, "aim": AIMS[key],
                 "holds": False}
            )  # fmt: skip
    for name in ("memo", "memo_scan", "pomdp_py"):
        if name in made:
            ratios[f"updates_{name}"] = speed_up(times, "updates", name)
    if "memo" in made:
        ratios["updates_of_table_memo"] = speed_up(times, "updates_of_table", "memo")
    if "imitation" in made:
        ratios["iterations_at_once_imitation"] = speed_up(times, "iterations_at_once", "imitation")
    earned = recover_rewards(worlds)
    aims.append(judge("earned_of_expert_worst_world", earned, "≥ 0.99"))
    counted: list[str] = ["updates", "updates_of_table", "memo", "memo_scan", "pomdp_py"]
    amounts = dict.fromkeys(counted, T * repeats)
    per_second = {
        name: rates({name: values}, amounts.get(name, repeats))[name]
        for name, values in times.items()
    }
    versions = {name: made[name]["versions"] for name in peers if name in made}
    figures = {
        "per_second": per_second, "minds": M, "planning_seconds": planning,
        "sweeps": planned.sweeps, "apart": apart, "versions": versions,
    }  # fmt: skip
    finish(given.json, rate_table(per_second, "a second"), ratios, figures, AIMS, aims)


if __name__ == "__main__":
    main()
