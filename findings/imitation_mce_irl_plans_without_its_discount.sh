#!/usr/bin/env bash
# imitation 1.0.1: maximum causal entropy IRL with a discount below 1 fits another policy than the one that it hands back.
#
# Guess:  MCEIRL(discount=γ) looks for the reward whose soft-optimal policy at γ visits states as the demonstrations do: there its
#         gradient is 0, and that is the policy that it returns.
# Seen:   while it learns, the policy is planned with discount 1, and only its visits are counted with γ (`mce_occupancy_measures`
#         calls `mce_partition_fh` without the discount); at the end the policy is planned with γ. With demonstrations of the
#         library's own soft-optimal policy at γ = 0.5 the gradient at their reward is not 0; it trains until its own count agrees
#         to 1e-6, and the policy that it hands back visits states otherwise by 0.03. At γ = 1 all of it agrees.
# Why it matters: the documents say of `discount` that it is the factor "to use when computing occupancy measure"; nothing says
#         that the reward found belongs to another policy than `learner.policy`.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 imitation==1.0.1 seals==0.2.1 gymnasium==0.29.1 \
    "setuptools<81"
cat > "$work/run.py" <<'PY'
import numpy as np
import torch
from imitation.algorithms.mce_irl import MCEIRL, mce_occupancy_measures, mce_partition_fh
from imitation.rewards.reward_nets import BasicRewardNet
from seals.base_envs import TabularModelPOMDP

draw = np.random.default_rng(0)
STATES, ACTIONS, HORIZON = 4, 2, 10
law = draw.dirichlet(np.ones(STATES) * 0.3, (STATES, ACTIONS))
reward = np.array([2.0, -1.0, 0.0, 1.0])
world = TabularModelPOMDP(
    transition_matrix=law, observation_matrix=np.eye(STATES), reward_matrix=reward, horizon=HORIZON,
    initial_state_dist=np.ones(STATES) / STATES,
)
worst = {}
for discount in (1.0, 0.5):
    # Who demonstrates is the soft-optimal policy of this reward at this discount, by the library's own functions.
    pi = mce_partition_fh(world, discount=discount)[2]
    shown = mce_occupancy_measures(world, pi=pi, discount=discount)[1]
    net = BasicRewardNet(world.observation_space, world.action_space, use_action=False, hid_sizes=[]).double()
    layer = [each for each in net.modules() if isinstance(each, torch.nn.Linear)][0]
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(reward)[None])
        layer.bias.zero_()
    learner = MCEIRL(
        shown, world, net, np.random.default_rng(0), discount=discount, log_interval=None,
        linf_eps=1e-6, grad_l2_eps=1e-6, optimizer_kwargs={"lr": 0.03},
    )
    learner.train(max_iter=1)
    slope = float(layer.weight.grad.norm())
    said = learner.train(max_iter=4000)
    handed = mce_occupancy_measures(world, pi=learner.policy.pi, discount=discount)[1]
    print(f"discount={discount}: at the reward that the demonstrations come from, the gradient is {slope:.1e}")
    print(f"    after training, its own counts lie {abs(said - shown).max():.1e} from those shown, "
          f"those of the policy it hands back {abs(handed - shown).max():.1e}")
    worst[discount] = slope, abs(said - shown).max(), abs(handed - shown).max()
assert max(worst[1.0]) < 1e-3, "another gradient than was seen"
assert worst[0.5][0] > 0.01 and worst[0.5][1] < 1e-3 and worst[0.5][2] > 0.01, "no difference"
PY
"$work/venv/bin/python" -W ignore "$work/run.py" > "$work/said" 2> "$work/log" || { cat "$work/said"; tail -5 "$work/log"; exit 1; }
cat "$work/said"
