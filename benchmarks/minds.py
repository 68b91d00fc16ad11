"""Which mind is it, on a 20 × 20 map that hides things, beside pomdp_py; and rewards out of
walks, beside imitation's MCE-IRL. memo-lang is not written for yet: its aim does not hold.

`--peers PYTHON` is an interpreter with pomdp-py, `--imitation PYTHON` one with imitation: their
dependencies do not go together, nor with ours. Each round asks
every side in turn, the peers in a process of their own, whose imports and first call are not
counted.

Updates: one action taken into the posterior over all minds. The peers get the table of how likely
each mind would have acted so, made by us; ours reads plans, which is more. Posteriors must agree to
1e-9. Iterations: soft values, visits, gradient and a step of Adam, in one world, and in 50 at once
(imitation: one after the other). The counts of visits, which make the gradient, must agree to 1e-9
at the same reward. One thread each.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fledge.plan.minds.chances import Chances
from fledge.plan.minds.inverse_planning import InversePlanning
from fledge.plan.minds.planned import plan_minds
from fledge.plan.minds.reward_inference import RewardInference, solve_causal
from fledge.plan.minds.scene_file import parse_scene
from fledge.plan.minds.walk_file import read_walk
from side_by_side import alternate, finish, options, rate_table, rates, say, seconds, speed_up

PEERS = Path(__file__).with_name("minds_peers.py")
SIDE = 20
WALLS = {(i, 8) for i in range(3, 17)} | {(i, 13) for i in range(12)}
GOALS = {"a": (10, 18), "b": (10, 2), "c": (1, 17)}
START = (18, 10)
THINGS = ["red", "green", "blue"]
# Up between the walls, which hide all three places there, back, and round the second one.
PATH = "up 8 left 1 right 1 up 9 down 9 down 6 right 4 up 5 right 4"
AGREE = 1e-9
AIMS = {"updates_memo": "≥ 10", "updates_pomdp_py": "≥ 20", "iterations_imitation": "≥ 5"}


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
        imitation="an interpreter with imitation",
    )
    torch.set_num_threads(1)
    repeats, rounds, worlds = (3, 2, 5) if given.quick else (20, 5, 50)
    kept = tempfile.TemporaryDirectory(prefix="minds-")
    folder = Path(kept.name)
    planned = plan_minds(read_walk(parse_scene(write_scene(), "bench")))
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
        return seconds(lambda: [once() for _ in range(repeats)])

    def infer_rewards(number: int) -> float:
        inference = RewardInference(
            transition[:number], start[:number], features[:number], expert[:number], steps
        )
        inference.update()
        return seconds(lambda: [inference.update() for _ in range(repeats)])

    made: dict[str, Any] = {}
    sides: dict[str, Any] = {
        "updates": infer_walks,
        "iterations": lambda: infer_rewards(1),
        "iterations_at_once": lambda: infer_rewards(worlds) / worlds,
    }
    missing = {"memo": "no program is written for it yet"}
    peers = {
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
    if "pomdp_py" in made:
        theirs = torch.tensor(made["pomdp_py"]["said"], dtype=torch.float64)
        apart["pomdp_py"] = float((theirs - made["posterior"]).abs().max())
    if "imitation" in made:
        theirs = torch.tensor(made["imitation"]["said"], dtype=torch.float64)
        apart["imitation"] = float((theirs - expert[0]).abs().max())
    assert all(each < AGREE for each in apart.values()), f"the answers differ: {apart}"
    ratios, aims = {}, []
    for name, ours in (("memo", "updates"), ("pomdp_py", "updates"), ("imitation", "iterations")):
        key = f"{ours}_{name}"
        if name in made:
            ratios[key] = speed_up(times, ours, name)
        else:
            aims.append(
                {"name": f"{key} ({missing[name]})", "figure": 0.0, "aim": AIMS[key],
                 "holds": False}
            )  # fmt: skip
    if "imitation" in made:
        ratios["iterations_at_once_imitation"] = speed_up(times, "iterations_at_once", "imitation")
    amounts = {"updates": T * repeats, "pomdp_py": T * repeats}
    per_second = {
        name: rates({name: values}, amounts.get(name, repeats))[name]
        for name, values in times.items()
    }
    versions = {name: made[name]["versions"] for name in peers if name in made}
    figures = {"per_second": per_second, "minds": M, "apart": apart, "versions": versions}
    finish(given.json, rate_table(per_second, "a second"), ratios, figures, AIMS, aims)


if __name__ == "__main__":
    main()
