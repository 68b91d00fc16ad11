"""The mean of what a critic and importance weights make of every trajectory there is, beside the
exact policy gradient.

An estimate is Σ_t γ^t·Â_t·∇log π(a_t|s_t), its Â from `weigh`. With the exact critic, V_t(s) for t
steps done, GAE is unbiased for any λ and so is every k-step return (Schulman et al. 2016); with a
wrong one only λ = 1 on whole episodes is. Rewards weighted by the decisions before them make up for
samples of another policy (Precup et al. 2000).
"""

from __future__ import annotations

import torch
from torch import Tensor

from fledge.exact.mdp import EnumeratedMDP, random_mdp
from fledge.verify.baselines import mean_and_variance
from fledge.verify.rows import TableRow
from fledge.weigh import gae, importance_weights, reward_to_go

LAMBDAS = (0.0, 0.5, 0.95, 1.0)


def critic_of(mdp: EnumeratedMDP, values: Tensor) -> Tensor:
    """What a critic says along every trajectory; after the last step, which ends it, nothing.
    values [H+1, S] -> [N, H+1]
    """
    steps = torch.arange(mdp.horizon)
    return torch.cat(
        [values[steps, mdp.state], torch.zeros(len(mdp.back), 1, dtype=values.dtype)], 1
    )


def estimate(mdp: EnumeratedMDP, logits: Tensor, advantage: Tensor) -> Tensor:
    """Σ_t γ^t·Â_t·∇log π(a_t|s_t) of every trajectory.  [S, A], [N, H] -> [N, S, A]"""
    return torch.einsum("nt,ntsa->nsa", mdp.discount * advantage, mdp.step_scores(logits))


def gae_advantage(mdp: EnumeratedMDP, values: Tensor, lam: float) -> Tensor:
    """Every trajectory as one episode that ends with its last step.  values [H+1, S] -> [N, H]"""
    chosen = torch.ones_like(mdp.worth, dtype=torch.bool)
    ends = chosen & (torch.arange(mdp.horizon) == mdp.horizon - 1)
    return gae(
        mdp.worth, critic_of(mdp, values), chosen, ends, torch.zeros_like(ends), mdp.gamma, lam
    )[0]


def k_step_advantage(mdp: EnumeratedMDP, values: Tensor, k: int) -> Tensor:
    """In rows of at most k steps, as a sampler cuts them: each runs on into the next, and only the
    last one ends.  [H+1, S] -> [N, H]
    """
    value, rows = critic_of(mdp, values), []
    for a in range(0, mdp.horizon, k):
        b = min(a + k, mdp.horizon)
        chosen = torch.ones_like(mdp.worth[:, a:b], dtype=torch.bool)
        ends = chosen & (torch.arange(a, b) == mdp.horizon - 1)
        cut = (mdp.worth[:, a:b], value[:, a : b + 1], chosen, ends, torch.zeros_like(ends))
        rows.append(gae(*cut, mdp.gamma, 1.0)[0])
    return torch.cat(rows, 1)


def off_policy_advantage(mdp: EnumeratedMDP, logits: Tensor, behaviour: Tensor) -> Tensor:
    """Σ_{s≥t} γ^(s−t) w_s r_s, w_s the ratio of all decisions up to s.  [S, A], [S, A] -> [N, H]"""
    chosen = torch.ones_like(mdp.worth, dtype=torch.bool)
    ends = chosen & (torch.arange(mdp.horizon) == mdp.horizon - 1)
    weight = importance_weights(mdp.step_log_prob(logits), mdp.step_log_prob(behaviour), chosen)
    return reward_to_go(weight * mdp.worth, chosen, ends, torch.zeros_like(ends), mdp.gamma)


def bootstrapped_gradient(mdp: EnumeratedMDP, logits: Tensor, values: Tensor, lam: float) -> Tensor:
    """The mean of the estimate for any critic, state by state and without `weigh`: Σ_t γ^t Σ_s
    d_t(s) Σ_a π(a|s) D_t(s,a)·∇log π(a|s).

    D_t(s,a) = R + γ P V_{t+1} − V_t(s) + γλ P Σ_a' π D_{t+1} is what GAE makes of a step on
    average, d_t how often s is seen at time t; after the last step both V and D are 0.  [S, A],
    [H+1, S] -> [S, A]
    """
    policy = logits.softmax(-1)
    later, ahead = (
        torch.zeros(len(policy), dtype=policy.dtype),
        torch.zeros(len(policy), dtype=policy.dtype),
    )
    credit: list[Tensor] = []
    for t in reversed(range(mdp.horizon)):
        beyond = mdp.gamma * (later + lam * ahead)  # of the state that follows, [S]
        step = mdp.reward + torch.einsum("asn,n->sa", mdp.transition, beyond) - values[t][:, None]
        later, ahead = values[t], (policy * step).sum(-1)
        credit.append(step)
    seen, total = mdp.start, torch.zeros_like(policy)
    for t, step in enumerate(reversed(credit)):
        # ∇ of the logits: Σ_a π(a) D(a) (1{a=b} − π(b)) = π(b) (D(b) − Σ_a π(a) D(a)).
        centred = policy * (step - (policy * step).sum(-1, keepdim=True))
        total = total + mdp.gamma**t * seen[:, None] * centred
        seen = torch.einsum("s,sa,asn->n", seen, policy, mdp.transition)
    return total


def policy_gradient_rows(processes: int = 100) -> list[TableRow]:
    """R7 and R9: largest relative errors of the expected gradient on random processes of 3 states
    and 4 steps.
    """
    worst: dict[str, float] = {}
    bias = 0.0

    def note(
        name: str,
        mdp: EnumeratedMDP,
        exact: Tensor,
        acting: Tensor,
        logits: Tensor,
        advantage: Tensor,
    ) -> None:
        mean = mean_and_variance(mdp, acting, estimate(mdp, logits, advantage))[0]
        worst[name] = max(worst.get(name, 0.0), float((mean - exact).norm() / exact.norm()))

    for seed in range(processes):
        mdp, logits = random_mdp(3, 2, 4, 0.9, seed)
        _, behaviour = random_mdp(3, 2, 4, 0.9, seed + processes)
        exact, values = mdp.gradient(logits), mdp.state_values(logits)
        wrong = values + torch.randn(
            values.shape, dtype=values.dtype, generator=torch.Generator().manual_seed(seed)
        )
        for lam in LAMBDAS:
            note("gae", mdp, exact, logits, logits, gae_advantage(mdp, values, lam))
        for k in range(1, mdp.horizon + 1):
            note("k steps", mdp, exact, logits, logits, k_step_advantage(mdp, values, k))
        note("whole", mdp, exact, logits, logits, gae_advantage(mdp, wrong, 1.0))
        biased = bootstrapped_gradient(mdp, logits, wrong, 0.5)
        note("bootstrapped", mdp, biased, logits, logits, gae_advantage(mdp, wrong, 0.5))
        bias = max(bias, float((biased - exact).norm() / exact.norm()))
        note(
            "off-policy",
            mdp,
            exact,
            behaviour,
            logits,
            off_policy_advantage(mdp, logits, behaviour),
        )
    said = {
        name: f"expected gradient is the exact one: largest relative error {error:.1e}"
        for name, error in worst.items()
    }
    unbiased = [
        ("R7.1", "off-policy, weights per decision, 100 random MDPs", "off-policy"),
        ("R9.1", "actor–critic, exact critic, GAE with λ = 0, 0.5, 0.95, 1", "gae"),
        ("R9.2", "actor–critic, exact critic, 1 to 4 steps and then the critic", "k steps"),
        ("R9.3", "actor–critic, wrong critic, GAE with λ = 1", "whole"),
    ]
    return [
        *(
            TableRow(id, subject, "unbiased", worst[name], 1e-10, said[name])
            for id, subject, name in unbiased
        ),
        TableRow(
            "R9.4", "actor–critic, wrong critic, GAE with λ = 0.5",
            "biased: a wrong critic stands in for rewards",
            worst["bootstrapped"], 1e-10,
            (f"expected gradient off the exact one by up to {bias:.2f}, and off its formula by up "
f"to {worst['bootstrapped']:.1e}"),
        ),
    ]  # fmt: skip
