"""Trainers of a policy in worlds, of clones and of rewards: at which settings, what their documents
say of each, and the equation that this is.
"""

from __future__ import annotations

from fledge.verify.referee.inverse import name_inverse
from fledge.verify.referee.world_equations import ENDS, PLAIN, WHITE, name_actor, name_cloning
from fledge.verify.referee.world_row import Trainer, WorldRow, name_both

CRITIC = "½(V − R)²"
_NORMAL = "“normalize_advantage: Whether to normalize or not the advantage”"
_TIMEOUT = "“Handle timeout by bootstrapping with value function”"
SMOOTH = "Huber's loss of V − R"
_SMOOTH = "“loss_critic_type … defaults to smooth_l1”, “entropy_coeff … defaults to 0.01”"
_OBS_NEXT = "“obs_next” is valid where “done” came of a time limit"
_DISCOUNT = "“Sequence of discounts”: one number a step, which the caller sets to 0 at an end"
_DONES = "“next_done = np.logical_or(terminations, truncations)”"
_THESIS = "“chapters 9 and 10 of Brian Ziebart's PhD thesis”"
_OCCUPANCY = "“the discount factor to use when computing occupancy measure”"
ACTORS: dict[str, Trainer] = {
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
    "cleanrl:ppo": Trainer(
        "cleanrl_peer",
        "actor",
        [
            WorldRow(
                {},
                f"“norm_adv”, “ent_coef = 0.01”, “vf_coef = 0.5”: by default; {_DONES}",
                name_both(name_actor(WHITE, cut=ENDS, entropy=0.01), f"0.5 × {CRITIC}", ENDS),
                entropy=0.01,
            ),
            WorldRow(
                {"norm_adv": False, "ent_coef": 0.0},
                f"GAE as its paper has it; {_DONES}",
                name_both(name_actor(PLAIN, cut=ENDS), f"0.5 × {CRITIC}", ENDS),
            ),
            WorldRow(
                {"norm_adv": False, "ent_coef": 0.0, "gamma": 1.0, "gae_lambda": 1.0},
                f"Monte-Carlo advantages without a discount; {_DONES}",
                name_both(name_actor(PLAIN, cut=ENDS), f"0.5 × {CRITIC}", ENDS),
            ),
        ],
        minibatches=True,
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
    "imitation:mce_irl": Trainer(
        "imitation_peer",
        "inverse",
        [
            WorldRow({}, f"{_THESIS}; discount = 1 by default", name_inverse(), gamma=1.0),
            WorldRow({"discount": 0.9}, f"{_THESIS}; {_OCCUPANCY}", name_inverse()),
        ],
    ),
}
