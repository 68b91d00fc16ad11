"""The trainers of agents that are heard: at which settings, what their documents say of each, and
the equation that this is.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fledge.errors import UserError
from fledge.verify.referee.world_equations import (
    BOOTSTRAPS,
    ENDS,
    PLAIN,
    WHITE,
    name_actor,
    name_cloning,
)
from fledge.verify.referee.world_question import (
    WorldHearing,
    WorldPeer,
    WorldProblem,
    world_problem,
)


@dataclass(frozen=True)
class WorldRow:
    setting: dict[str, Any]
    claim: str
    equation: str
    gamma: float = 0.99
    trace: float = 0.95
    entropy: float = 0.0


@dataclass(frozen=True)
class Trainer:
    """adapter: the file that builds it; family: "actor", "values" or "cloning"."""

    adapter: str
    family: str
    rows: list[WorldRow] = field(default_factory=list[WorldRow])
    minibatches: bool = False


def name_both(actor: str, critic: str, cut: str = BOOTSTRAPS) -> str:
    return f"{actor.removesuffix('; ' + cut)}; {critic}; {cut}"


CRITIC = "½(V − R)²"
HUBER = "Huber's loss, y = r + γ·max Q′"
_NORMAL = "“normalize_advantage: Whether to normalize or not the advantage”"
_TIMEOUT = "time limits are bootstrapped “with value function”"
WORLD_TRAINERS: dict[str, Trainer] = {
    "stable_baselines3:ppo": Trainer(
        "sb3_peer",
        "actor",
        [
            WorldRow(
                {},
                f"{_NORMAL}: by default; vf_coef = 0.5; {_TIMEOUT}",
                name_both(name_actor(WHITE), CRITIC),
            ),
            WorldRow(
                {"normalize_advantage": False},
                "GAE as its paper has it, vf_coef = 0.5",
                name_both(name_actor(PLAIN), CRITIC),
            ),
            WorldRow(
                {"normalize_advantage": False, "gae_lambda": 1.0},
                "“to obtain Monte-Carlo advantage estimate … set gae_lambda=1.0”",
                name_both(name_actor(PLAIN), CRITIC),
            ),
            WorldRow(
                {"normalize_advantage": False, "gae_lambda": 1.0, "gamma": 1.0},
                "Monte-Carlo advantages without a discount",
                name_both(name_actor(PLAIN), CRITIC),
            ),
            WorldRow(
                {"normalize_advantage": False, "ent_coef": 0.1},
                "“entropy coefficient for the loss calculation”",
                name_both(name_actor(PLAIN, entropy=0.1), CRITIC),
                entropy=0.1,
            ),
        ],
        minibatches=True,
    ),
    "stable_baselines3:a2c": Trainer(
        "sb3_peer",
        "actor",
        [
            WorldRow(
                {},
                f"gae_lambda = 1, no normalisation, vf_coef = 0.5; {_TIMEOUT}",
                name_both(name_actor(PLAIN), CRITIC),
                trace=1.0,
            ),
            WorldRow(
                {"normalize_advantage": True},
                _NORMAL,
                name_both(name_actor(WHITE), CRITIC),
                trace=1.0,
            ),
        ],
    ),
    "stable_baselines3:dqn": Trainer(
        "sb3_peer",
        "values",
        [
            WorldRow(
                {},
                "Mnih et al. 2015: Huber's loss, the target network's best action",
                f"{HUBER}; {BOOTSTRAPS}",
            ),
            WorldRow({"gamma": 0.9}, "the same", f"{HUBER}; {BOOTSTRAPS}"),
        ],
    ),
    "sb3_contrib:trpo": Trainer(
        "sb3_peer",
        "actor",
        [
            WorldRow(
                {},
                f"{_NORMAL}: by default; {_TIMEOUT}",
                name_both(name_actor(WHITE), f"2 × {CRITIC}"),
            ),
            WorldRow(
                {"normalize_advantage": False},
                "the surrogate's gradient, before the curvature",
                name_both(name_actor(PLAIN), f"2 × {CRITIC}"),
            ),
        ],
    ),
}


SMOOTH = "Huber's loss of V − R"
_SMOOTH = "“loss_critic_type … defaults to smooth_l1”, “entropy_coeff … defaults to 0.01”"
WORLD_TRAINERS |= {
    "torchrl:clip_ppo": Trainer(
        "torchrl_peer",
        "actor",
        [
            WorldRow(
                {},
                f"{_SMOOTH}; “normalize_advantage … defaults to False”",
                name_both(name_actor(PLAIN, entropy=0.01), SMOOTH),
                entropy=0.01,
            ),
            WorldRow(
                {"normalize_advantage": True, "entropy_bonus": False},
                "“if True, the advantage will be normalized”",
                name_both(name_actor(WHITE), SMOOTH),
            ),
            WorldRow(
                {"entropy_bonus": False, "loss_critic_type": "l2"},
                "GAE as its paper has it, “l2”",
                name_both(name_actor(PLAIN), f"2 × {CRITIC}"),
            ),
            WorldRow(
                {"entropy_bonus": False, "gamma": 1.0, "lmbda": 1.0},
                "Monte-Carlo advantages without a discount",
                name_both(name_actor(PLAIN), SMOOTH),
            ),
        ],
        minibatches=True,
    ),
    "torchrl:a2c": Trainer(
        "torchrl_peer",
        "actor",
        [
            WorldRow(
                {},
                _SMOOTH,
                name_both(name_actor(PLAIN, entropy=0.01), SMOOTH),
                entropy=0.01,
            ),
        ],
    ),
    "torchrl:reinforce": Trainer(
        "torchrl_peer",
        "actor",
        [
            WorldRow(
                {"gamma": 1.0, "lmbda": 1.0},
                "Williams 1992, with a critic as baseline",
                name_both(name_actor(PLAIN), SMOOTH),
            ),
        ],
    ),
    "torchrl:dqn": Trainer(
        "torchrl_peer",
        "values",
        [
            WorldRow({}, "“defaults to l2”", f"2 × ½(Q − y)², y = r + γ·max Q′; {BOOTSTRAPS}"),
            WorldRow(
                {"loss_function": "smooth_l1"}, "Mnih et al. 2015", f"{HUBER}; {BOOTSTRAPS}"
            ),
            WorldRow(
                {"double_dqn": True, "loss_function": "smooth_l1"},
                "“whether to use Double DQN”: van Hasselt et al. 2016",
                f"Huber's loss, y = r + γ·Q′ of Q's best; {BOOTSTRAPS}",
            ),
        ],
    ),
}


_OBS_NEXT = "“obs_next” is valid where “done” came of a time limit"
WORLD_TRAINERS |= {
    "tianshou:ppo": Trainer(
        "tianshou_peer",
        "actor",
        [
            WorldRow(
                {},
                f"“per mini-batch advantage normalization”, ent_coef = 0.01; {_OBS_NEXT}",
                name_both(name_actor(WHITE, entropy=0.01), CRITIC),
                entropy=0.01,
            ),
            WorldRow(
                {"advantage_normalization": False, "ent_coef": 0.0},
                "GAE as its paper has it",
                name_both(name_actor(PLAIN), CRITIC),
            ),
            WorldRow(
                {
                    "advantage_normalization": False,
                    "ent_coef": 0.0,
                    "gamma": 1.0,
                    "gae_lambda": 1.0,
                },
                "“at λ=1, it becomes equivalent to Monte Carlo advantage estimation”",
                name_both(name_actor(PLAIN), CRITIC),
            ),
        ],
        minibatches=True,
    ),
    "tianshou:a2c": Trainer(
        "tianshou_peer",
        "actor",
        [
            WorldRow(
                {},
                f"gae_lambda = 0.95, ent_coef = 0.01, vf_coef = 0.5; {_OBS_NEXT}",
                name_both(name_actor(PLAIN, entropy=0.01), CRITIC),
                entropy=0.01,
            ),
        ],
        minibatches=True,
    ),
    "tianshou:dqn": Trainer(
        "tianshou_peer",
        "values",
        [
            WorldRow(
                {},
                "“a value of 0 disables the target network entirely”, “the MSE loss”",
                f"2 × ½(Q − y)², y = r + γ·max Q; {BOOTSTRAPS}",
            ),
            WorldRow(
                {"target_update_freq": 500, "is_double": False, "huber_loss_delta": 1.0},
                "“the Huber loss as described in the Nature DQN paper”",
                f"{HUBER}; {BOOTSTRAPS}",
            ),
            WorldRow(
                {"target_update_freq": 500},
                "“the online network to select actions and the target network to evaluate”",
                f"2 × ½(Q − y)², y = r + γ·Q′ of Q's best; {BOOTSTRAPS}",
            ),
        ],
    ),
}


_DISCOUNT = "“discount_t”: one number a step, which the caller sets to 0 at an end"
_LOSS = "“the td-error”; the caller chooses the loss"
WORLD_TRAINERS |= {
    "rlax:policy_gradient": Trainer(
        "rlax_peer",
        "actor",
        [
            WorldRow({}, _DISCOUNT, name_both(name_actor(PLAIN, cut=ENDS), CRITIC, ENDS)),
            WorldRow(
                {"gamma": 1.0, "lmbda": 1.0},
                "Monte-Carlo advantages without a discount",
                name_both(name_actor(PLAIN, cut=ENDS), CRITIC, ENDS),
            ),
            WorldRow(
                {"entropy": 0.01},
                "“the entropy regularization loss”",
                name_both(name_actor(PLAIN, cut=ENDS, entropy=0.01), CRITIC, ENDS),
                entropy=0.01,
            ),
        ],
    ),
    "rlax:clipped_surrogate": Trainer(
        "rlax_peer",
        "actor",
        [
            WorldRow(
                {},
                "“clipped surrogate policy gradient loss”: Schulman et al. 2017",
                name_both(name_actor(PLAIN, cut=ENDS), CRITIC, ENDS),
            ),
        ],
    ),
    "rlax:q_learning": Trainer(
        "rlax_peer",
        "values",
        [
            WorldRow({}, _LOSS, f"½(Q − y)², y = r + γ·max Q′; {BOOTSTRAPS}"),
            WorldRow({"loss": "huber"}, "“Huber loss … delta = 1”", f"{HUBER}; {BOOTSTRAPS}"),
        ],
    ),
    "rlax:double_q_learning": Trainer(
        "rlax_peer",
        "values",
        [WorldRow({}, _LOSS, f"½(Q − y)², y = r + γ·Q′ of Q's best; {BOOTSTRAPS}")],
    ),
}
_SQUARE = "“L(θ) = E[(r + γ·max Q′(s′, a) − Q(s, a))²]”"
WORLD_TRAINERS |= {
    "d3rlpy:dqn": Trainer(
        "d3rlpy_peer",
        "values",
        [WorldRow({}, _SQUARE, f"2 × ½(Q − y)², y = r + γ·max Q′; {BOOTSTRAPS}")],
    ),
    "d3rlpy:double_dqn": Trainer(
        "d3rlpy_peer",
        "values",
        [
            WorldRow(
                {},
                "“L(θ) = E[(r + γ·Q′(s′, argmax Q(s′, a)) − Q(s, a))²]”",
                f"2 × ½(Q − y)², y = r + γ·Q′ of Q's best; {BOOTSTRAPS}",
            )
        ],
    ),
    "imitation:bc": Trainer(
        "imitation_peer",
        "cloning",
        [
            WorldRow({}, "“ent_weight: float = 1e-3”", name_cloning(0.001), entropy=0.001),
            WorldRow({"ent_weight": 0.0}, "the likelihood of what was shown", name_cloning(0.0)),
        ],
        minibatches=True,
    ),
}


def list_world_hearings(name: str) -> Iterator[WorldHearing]:
    trainer = WORLD_TRAINERS[name]
    for row in trainer.rows:
        yield hear_world(name, row, row.setting)


def hear_world(name: str, row: WorldRow, setting: dict[str, Any]) -> WorldHearing:
    """A row, or one of whose settings the user gave others."""
    trainer = WORLD_TRAINERS[name]
    gamma = float(setting.get("gamma", row.gamma))
    trace = float(setting.get("gae_lambda", setting.get("lmbda", row.trace)))
    return WorldHearing(
        name,
        setting,
        row.claim,
        row.equation,
        trainer.family,
        world_problem(trainer.family, gamma, trace),
        partial(_build, name, setting),
        entropy=row.entropy,
        minibatches=trainer.minibatches,
    )


def _build(name: str, setting: dict[str, Any], problem: WorldProblem) -> WorldPeer:
    """Raises UserError where the package is not installed or refuses the setting."""
    package = name.partition(":")[0]
    try:
        module = importlib.import_module(f"fledge.verify.referee.{WORLD_TRAINERS[name].adapter}")
        peer: WorldPeer = module.build_peer(name, setting, problem)
    except ImportError as error:
        raise UserError(
            f"peer={name} wants {package}, which cannot be imported here ({error}): "
            "pip install 'fledge[referee]'"
        ) from error
    except (TypeError, ValueError, KeyError, AssertionError) as error:
        told = " ".join(f"{key}={value}" for key, value in setting.items())
        raise UserError(f"{name} refuses {told or 'this'}: {error}") from error
    return peer
