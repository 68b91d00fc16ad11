"""The equations that an update of an agent may follow, from exact scores and double sums, without a
line of a trainer's: an actor's advantages, a critic's targets, a Q-learner's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import torch
from torch import Tensor

from fledge.verify.referee.world_question import Rollout, Update, WorldProblem

# What a truncated step looks forward to; a terminated one to nothing.
BOOTSTRAPS, ENDS = "a truncated step bootstraps", "a truncated step is taken for terminated"
RUNS_ON = "a truncated step runs on into the next episode"
RESETS = "a truncated step is taken for terminated, and one that only resets is learned from"
CUTS = (BOOTSTRAPS, ENDS, RUNS_ON, RESETS)
MEAN, SUM = "mean over steps", "sum over steps"
PLAIN, WHITE = "A", "(A − mean)/(std + ε)"
WHITE_ALL = "(A − mean)/(std over n + ε)"


def insert_resets(rollout: Rollout) -> Rollout:
    """After every end but the last step's, one step from where it ended to where the next episode
    begins: action 0, which does nothing, and reward 0.
    """
    rows = []
    for t in range(len(rollout)):
        ends = rollout.terminated[t] or rollout.truncated[t]
        here = (rollout.state[t], rollout.action[t], rollout.reward[t], rollout.following[t])
        rows.append((*here, rollout.terminated[t], rollout.truncated[t]))
        if ends and t + 1 < len(rollout):
            rows.append((rollout.following[t], 0, 0.0, rollout.state[t + 1], False, False))
    return Rollout(*(tuple(column) for column in zip(*rows, strict=True)))


def advantages(problem: WorldProblem, rollout: Rollout, cut: str) -> Tensor:
    """Â_t = Σ_k (γλ)^k δ_{t+k}, up to the episode's end (Schulman et al. 2016, eq. 16).  [n]"""
    value, gamma = problem.critic, problem.gamma
    n = len(rollout)
    gaps, goes_on = [], []
    for t in range(n):
        end, cut_off = rollout.terminated[t], rollout.truncated[t]
        following = rollout.following[t]
        if cut_off and cut == RUNS_ON:
            following = rollout.state[t + 1]
        forward = 0.0 if end or (cut_off and cut in (ENDS, RESETS)) else 1.0
        gap = rollout.reward[t] + gamma * forward * value[following] - value[rollout.state[t]]
        gaps.append(gap)
        goes_on.append(not end and (not cut_off or cut == RUNS_ON))
    total = []
    for t in range(n):
        summed, weight = gaps[t].clone(), 1.0
        for k in range(t + 1, n):
            if not goes_on[k - 1]:
                break
            weight *= gamma * problem.trace
            summed = summed + weight * gaps[k]
        total.append(summed)
    return torch.stack(total)


NORMALS: dict[str, Callable[[Tensor], Tensor]] = {
    PLAIN: lambda a: a,
    WHITE: lambda a: (a - a.mean()) / (a.std() + 1e-8),
    WHITE_ALL: lambda a: (a - a.mean()) / (a.std(correction=0) + 1e-8),
}


def actor_equations(problem: WorldProblem, entropy: float) -> Iterator[tuple[str, Update]]:
    """Σ_t A_t ∇log π(a_t|s_t), and the entropy's slope beside it.  -> [S·A]"""
    score = torch.eye(problem.logits.shape[1]) - problem.logits.softmax(-1)[:, None]  # [S, A, A]
    logp = problem.logits.log_softmax(-1)
    spread = -(logp.exp() * logp).sum(-1)  # [S]
    slope = -logp.exp() * (logp + spread[:, None])  # [S, A]: ∇H of a state
    for cut, normal, share in product(CUTS, NORMALS, (MEAN, SUM)):

        def update(rollout: Rollout, given: tuple[str, str, str] = (cut, normal, share)) -> Tensor:
            if given[0] == RESETS:
                rollout = insert_resets(rollout)
            worth = NORMALS[given[1]](advantages(problem, rollout, given[0]))
            added = torch.zeros_like(problem.logits)
            for s, a, w in zip(rollout.state, rollout.action, worth, strict=True):
                added[s] = added[s] + w * score[s, a] + entropy * slope[s]
            return (added / (len(rollout) if given[2] == MEAN else 1)).flatten()

        yield name_actor(normal, share, cut, entropy), update


def name_actor(normal: str, share: str = MEAN, cut: str = BOOTSTRAPS, entropy: float = 0.0) -> str:
    return f"{normal}, {share}" + (f", + {entropy:g}·H" if entropy else "") + f"; {cut}"


def cloning_equations(problem: WorldProblem, entropy: float) -> Iterator[tuple[str, Update]]:
    """The likelihood of what was done, and the entropy's slope beside it.  -> [S·A]"""
    logp = problem.logits.log_softmax(-1)
    spread = -(logp.exp() * logp).sum(-1)
    slope = -logp.exp() * (logp + spread[:, None])
    done = torch.eye(problem.logits.shape[1], dtype=torch.float64)

    def update(rollout: Rollout) -> Tensor:
        added = torch.zeros_like(problem.logits)
        for s, a in zip(rollout.state, rollout.action, strict=True):
            added[s] += done[a] - logp[s].exp() + entropy * slope[s]
        return added.flatten() / len(rollout)

    yield name_cloning(entropy), update


def name_cloning(entropy: float) -> str:
    return "log π(a|s), mean over steps" + (f", + {entropy:g}·H" if entropy else "")


CRITICS: dict[str, Callable[[Tensor], Tensor]] = {
    "½(V − R)²": lambda d: d,
    "Huber's loss of V − R": lambda d: d.clamp(-1, 1),
}


def critic_equations(problem: WorldProblem) -> Iterator[tuple[str, Update]]:
    """The distance of V from R = Â + V, which is held fixed.  -> [S]"""
    for cut, (name, slope) in product(CUTS, CRITICS.items()):

        def update(
            rollout: Rollout, given: tuple[str, Callable[[Tensor], Tensor]] = (cut, slope)
        ) -> Tensor:
            if given[0] == RESETS:
                rollout = insert_resets(rollout)
            worth = given[1](advantages(problem, rollout, given[0]))
            added = torch.zeros_like(problem.critic)
            for s, w in zip(rollout.state, worth, strict=True):
                added[s] = added[s] + w
            return added / len(rollout)

        yield f"{name}; {cut}", update


LOOKS: dict[str, Callable[[WorldProblem, int], Tensor]] = {
    "max Q′": lambda p, s: p.target[s].max(),
    "Q′ of Q's best": lambda p, s: p.target[s, int(p.critic[s].argmax())],
    "max Q": lambda p, s: p.critic[s].max(),
}
SLOPES: dict[str, Callable[[Tensor], Tensor]] = {
    "Huber's loss": lambda d: d.clamp(-1, 1),
    "½(Q − y)²": lambda d: d,
}


def value_equations(problem: WorldProblem) -> Iterator[tuple[str, Update]]:
    """y = r + γ·look(s′), at a terminated step r (Mnih et al. 2015, eq. 2).  -> [S·A]"""
    for cut, look, loss in product((BOOTSTRAPS, ENDS), LOOKS, SLOPES):

        def update(rollout: Rollout, given: tuple[str, str, str] = (cut, look, loss)) -> Tensor:
            added = torch.zeros_like(problem.critic)
            for t in range(len(rollout)):
                s, a = rollout.state[t], rollout.action[t]
                over = rollout.terminated[t] or (rollout.truncated[t] and given[0] == ENDS)
                ahead = 0.0 if over else LOOKS[given[1]](problem, rollout.following[t])
                gap = rollout.reward[t] + problem.gamma * ahead - problem.critic[s, a]
                added[s, a] += SLOPES[given[2]](gap) / len(rollout)
            return added.flatten()

        yield f"{loss}, y = r + γ·{look}; {cut}", update
