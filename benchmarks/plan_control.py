"""Planning in an ensemble of probabilistic networks: plans a second, ours against mbrl-lib's.

Both have networks of the same layers (SiLU, a reward beside 4 numbers observed, one number done),
the same number of candidates, rounds, steps ahead and particles of each candidate, every particle
with one member for the whole of a sequence (TS∞), one thread, and plan from one observation at a
time with the last plan shifted. mbrl-lib is its own TrajectoryOptimizerAgent over ModelEnv, without
an end; ours has its learned end besides, and no terminal value.

    pip install mbrl hydra-core     # in an environment with fledge
    python benchmarks/plan_control.py

Two settings: PETS's published one for CartPole (4 layers of 200, 350 candidates, 5 rounds, 15
steps), and one that a small world takes (2 layers of 64, 64 candidates, 2 rounds). Ours follows
each
candidate once a member, 5 particles; mbrl-lib's default is 20, four a member, and is measured
besides, as the arithmetic that its user gets.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from fledge.algorithms.value.sequence_kernel import weigh_sequences
from fledge.models.control.world_ensemble import WorldEnsemble
from fledge.plan.looking_ahead import LookingAhead
from fledge.plan.shooting import CrossEntropy, PathIntegral, Search
from fledge.worlds.world import Box
from side_by_side import alternate, finish, options, say, speed_up, table

MEMBERS, OBSERVED, HORIZON = 5, 4, 15
TARGET = "≥ 3"
SETTINGS = {
    "large": {"widths": (200,) * 4, "candidates": 350, "rounds": 5},
    "small": {"widths": (64, 64), "candidates": 64, "rounds": 2},
}


def ours(widths: tuple[int, ...], search: Search) -> Callable[[np.ndarray], Any]:
    observation = Box(torch.full((OBSERVED,), -torch.inf), torch.full((OBSERVED,), torch.inf))
    action = Box(-torch.ones(1), torch.ones(1))
    world = WorldEnsemble(
        observation, action, generator=torch.Generator().manual_seed(0), members=MEMBERS,
        widths=widths,
    )  # fmt: skip
    looking = LookingAhead(
        action, search, lambda obs, a, random: weigh_sequences(world, obs, a, 1.0, random), HORIZON
    )
    random = torch.Generator().manual_seed(1)
    return lambda obs: looking.act(torch.from_numpy(obs)[None], random)


def theirs(
    widths: tuple[int, ...], planner: str, candidates: int, rounds: int, particles: int = MEMBERS
) -> Callable[[np.ndarray], Any]:
    """Raises ImportError without mbrl-lib."""
    import gymnasium
    from mbrl.models import GaussianMLP, ModelEnv, OneDTransitionRewardModel
    from mbrl.planning import TrajectoryOptimizerAgent

    network = GaussianMLP(
        OBSERVED + 1, OBSERVED + 1, "cpu", num_layers=len(widths), ensemble_size=MEMBERS,
        hid_size=widths[0], propagation_method="fixed_model",
        activation_fn_cfg={"_target_": "torch.nn.SiLU"},
    )  # fmt: skip
    model = OneDTransitionRewardModel(
        network, target_is_delta=True, normalize=True, learned_rewards=True
    )
    far = np.full(OBSERVED, np.inf, np.float32)

    class Spaces:
        observation_space = gymnasium.spaces.Box(-far, far)
        action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))

    never = lambda act, obs: torch.zeros(len(obs), 1, dtype=torch.bool)  # noqa: E731
    inside = ModelEnv(Spaces(), model, never, generator=torch.Generator().manual_seed(0))  # pyright: ignore
    common: dict[str, Any] = {
        "num_iterations": rounds, "population_size": candidates, "device": "cpu",
        "lower_bound": "???", "upper_bound": "???",
    }  # fmt: skip
    if planner == "cem":
        own = {
            "_target_": "mbrl.planning.CEMOptimizer", "elite_ratio": 0.1, "alpha": 0.1,
            "return_mean_elites": True, "clipped_normal": True,
        }  # fmt: skip
    else:
        own = {
            "_target_": "mbrl.planning.MPPIOptimizer", "gamma": 0.9, "sigma": 1.0, "beta": 0.9,
        }  # fmt: skip
    from omegaconf import OmegaConf

    agent = TrajectoryOptimizerAgent(
        OmegaConf.create(common | own), [-1.0], [1.0], planning_horizon=HORIZON, replan_freq=1
    )
    agent.set_trajectory_eval_fn(
        lambda obs, sequences: inside.evaluate_action_sequences(sequences, obs, particles)
    )
    return agent.act


def main() -> None:
    given = options(__doc__, rounds="rounds of each setting, 7 unless given")
    torch.set_num_threads(1)
    rounds = 2 if given.quick else int(given.rounds or 7)
    ratios, figures, rows = {}, {}, []
    for setting, size in SETTINGS.items():
        widths, candidates, tries = size["widths"], size["candidates"], size["rounds"]
        assert isinstance(widths, tuple)
        for planner in ("cem", "mppi"):
            search: Search = (
                CrossEntropy(candidates, candidates // 10, tries, 0.1)
                if planner == "cem"
                else PathIntegral(candidates, tries)
            )
            sides = {
                "ours": ours(widths, search),
                "mbrl-lib": theirs(widths, planner, candidates, tries),
            }
            default = "mbrl-lib, 20 particles"
            sides[default] = theirs(widths, planner, candidates, tries, 20)
            plans = 1 if setting == "large" else 12
            obs = np.random.default_rng(0).normal(0, 0.05, (plans, OBSERVED)).astype(np.float32)
            say(f"{setting}, {planner}")

            def act(side: Callable[[np.ndarray], Any], seen: np.ndarray = obs) -> None:
                with torch.no_grad():
                    for each in seen:
                        side(each)

            times = alternate(
                {name: lambda side=side: act(side) for name, side in sides.items()}, rounds
            )
            for who in ("mbrl-lib", default):
                name = f"{setting}, {planner}: ours / {who}"
                ratios[name] = speed_up(times, "ours", who)
            figures[f"{setting}, {planner}"] = {"plans": plans, "seconds": times}
            rows += [
                (f"{setting}, {planner}, {who}", f"{plans / statistics.median(taken):.1f}")
                for who, taken in times.items()
            ]
    text = table(("one thread, 5 members", "plans a second"), rows)
    finish(given.json, text, ratios, figures, dict.fromkeys(ratios, TARGET))


if __name__ == "__main__":
    main()
