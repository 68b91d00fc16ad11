"""Q-learners: at which settings, what their documents say of each, and the equation it is."""

from __future__ import annotations

from fledge.verify.referee.continuous import name_actor, name_critic
from fledge.verify.referee.world_equations import BOOTSTRAPS
from fledge.verify.referee.world_row import Trainer, WorldRow

HUBER = "Huber's loss, y = r + γ·max Q′"
_LOSS = "“the Q-learning temporal difference error”; the caller chooses the loss"
_SQUARE = "documented as L(θ) = E[(r + γ·max Q′(s′, a) − Q(s, a))²]"
VALUES: dict[str, Trainer] = {
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
    "torchrl:dqn": Trainer(
        "torchrl_peer",
        "values",
        [
            WorldRow(
                {},
                "“loss function for the value discrepancy … defaults to l2”",
                f"2 × ½(Q − y)², y = r + γ·max Q′; {BOOTSTRAPS}",
            ),
            WorldRow({"loss_function": "smooth_l1"}, "Mnih et al. 2015", f"{HUBER}; {BOOTSTRAPS}"),
            WorldRow(
                {"double_dqn": True, "loss_function": "smooth_l1"},
                "“whether to use Double DQN”: van Hasselt et al. 2016",
                f"Huber's loss, y = r + γ·Q′ of Q's best; {BOOTSTRAPS}",
            ),
        ],
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
    "rlax:q_learning": Trainer(
        "rlax_peer",
        "values",
        [
            WorldRow({}, _LOSS, f"½(Q − y)², y = r + γ·max Q′; {BOOTSTRAPS}"),
            WorldRow(
                {"loss": "huber"},
                "“Huber loss, similar to L2 loss close to zero, L1 loss away from zero”",
                f"{HUBER}; {BOOTSTRAPS}",
            ),
        ],
    ),
    "rlax:double_q_learning": Trainer(
        "rlax_peer",
        "values",
        [WorldRow({}, _LOSS, f"½(Q − y)², y = r + γ·Q′ of Q's best; {BOOTSTRAPS}")],
    ),
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
                "documented as L(θ) = E[(r + γ·Q′(s′, argmax Q(s′, a)) − Q(s, a))²]",
                f"2 × ½(Q − y)², y = r + γ·Q′ of Q's best; {BOOTSTRAPS}",
            )
        ],
    ),
    "stable_baselines3:td3": Trainer(
        "sb3_continuous",
        "continuous",
        [
            WorldRow(
                {},
                "Fujimoto et al. 2018: the smaller target, a smoothed action",
                f"{name_actor('Q₁', False)}; 2 × {name_critic('min Q′', False)}",
            ),
            WorldRow(
                {"target_policy_noise": 0.0},
                "the same without “Gaussian noise added to target policy”",
                f"{name_actor('Q₁', False)}; 2 × {name_critic('min Q′', False)}",
            ),
        ],
    ),
    "stable_baselines3:sac": Trainer(
        "sb3_continuous",
        "continuous",
        [
            WorldRow(
                {},
                "Haarnoja et al. 2018, α learned from 1 on",
                f"{name_actor('min Q', True)}; {name_critic('min Q′', True)}",
                entropy=1.0,
            ),
            WorldRow(
                {"ent_coef": 0.2},
                "Haarnoja et al. 2018, α given",
                f"{name_actor('min Q', True)}; {name_critic('min Q′', True)}",
                entropy=0.2,
            ),
        ],
    ),
}
