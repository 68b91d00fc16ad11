"""What the trainer knows of a batch before it learns from it: log-probabilities, the KL to the
reference, groups, and their figures.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fledge.fit import kl_k1, kl_k3
from fledge.learner import Learner
from fledge.log_prob import Decoding
from fledge.policy import Policy, TokenPolicy
from fledge.score.rollout_figures import check_drift, drift, sampled_entropy
from fledge.trajectories import Sampled, Trajectories
from fledge.weigh import equal_in_group


@torch.no_grad()
def log_prob_in_pieces(policy: Policy, batch: Trajectories, learner: Learner) -> Tensor:
    """log π of every chosen step, 0 elsewhere, a micro-batch at a time.  -> [B, T]"""

    def ask(part: Trajectories) -> list[Tensor]:
        return [policy.log_prob(part.obs, part.action, part.chosen)]

    with learner.autocast():
        return learner.map(ask, batch)[0]


def ask_trainer(
    policy: Policy, batch: Trajectories, learner: Learner
) -> tuple[Sampled, dict[str, float]]:
    """The batch with `logp` the trainer's own, so that ratios start at exactly 1; with its drift
    and entropy.
    """
    logp = log_prob_in_pieces(policy, batch, learner)
    figures = {
        "drift": float(drift(logp, batch, learner.count(batch.chosen))),
        "entropy": sampled_entropy(logp, batch.chosen, learner),
    }
    return Sampled.of(batch, logp=logp), figures


def use_trainer_logp(
    policy: Policy, batch: Trajectories, learner: Learner
) -> tuple[Sampled, dict[str, float]]:
    """`ask_trainer` of samples that are the policy's own.

    What engine and trainer differ by is not made up for by a weight: it is a figure, and bounded
    per token (`check_drift`), so that over a row it may add up to as many times the bound as the
    row has tokens.

    Raises UserError when the samples did not come from this policy.
    """
    samples, figures = ask_trainer(policy, batch, learner)
    check_drift(figures["drift"])
    return samples, figures


def kl_to(
    reference: Policy | None, batch: Sampled, learner: Learner, weight: Tensor | None = None
) -> tuple[Tensor, dict[str, float]]:
    """log π/π_ref per step [B, T], and two estimates of the KL in nats per completion, `kl_k1` and
    `kl_k3`.

    k1 is the one without bias, and its noise may fall below 0, which no KL does; k3 never does.
    `batch.logp` must be the policy's. weight [B]: the importance of each row, where the samples are
    another policy's. Under top-k or top-p the reference is `untruncate`d: k1 then estimates the KL
    from it of the policy as it samples, which is above 0 from the first step on (the mass that is
    cut off); k3 leaves out what of the reference is off the policy's support, and lies below.
    """
    if reference is None:
        return no_kl(batch)
    other = log_prob_in_pieces(untruncate(reference), batch, learner)
    each = {"kl_k1": kl_k1(batch.logp, other), "kl_k3": kl_k3(batch.logp, other)}
    each = {name: torch.where(batch.chosen, kl, 0.0) for name, kl in each.items()}  # [B, T]
    row = torch.ones_like(batch.logp[:, 0]) if weight is None else weight
    rows = learner.count_rows(batch)
    return each["kl_k1"], {name: float((row * kl.sum(1)).sum() / rows) for name, kl in each.items()}


def no_kl(batch: Trajectories) -> tuple[Tensor, dict[str, float]]:
    """What `kl_to` says where there is no reference: nothing is far from nothing."""
    return torch.zeros_like(batch.reward), {"kl_k1": 0.0, "kl_k3": 0.0}


def kl_seen(
    policy: Policy, reference: Policy | None, batch: Trajectories, learner: Learner
) -> dict[str, float]:
    """`kl_to`'s figures where no gradient wants the KL: from one row of each group, which costs a
    group's size less.

    Rows of a group are alike before they are drawn, so the estimate is as unbiased as that of all
    of them, and noisier.
    """
    group = groups(batch)
    if reference is None:
        return no_kl(batch)[1]
    order = group.argsort(stable=True)
    first = torch.ones_like(group, dtype=torch.bool)
    first[1:] = group[order[1:]] != group[order[:-1]]
    some = batch[order[first]].trim()
    logp = log_prob_in_pieces(policy, some, learner)
    return kl_to(reference, Sampled.of(some, logp=logp), learner)[1]


def untruncate(reference: Policy) -> Any:
    """The one reference there is, of KLs and of preferences alike: with a probability for every
    action, at its temperature.

    On a support of its own it would have none for what the policy says elsewhere; put there by
    force, action by action, its numbers are no distribution's, and the log-ratio is no KL. A policy
    that is cut off to a support S and paid r − β·log π/π_ref does best with π ∝ π_ref·exp(r/β) on
    S: what the reference has beyond it goes into the normaliser.
    """
    if isinstance(reference, TokenPolicy) and reference.rule.truncates:
        return reference.with_rule(Decoding(reference.rule.temperature))
    return reference


def groups(batch: Trajectories) -> Tensor:
    """Which rows answer the same prompt; a batch that does not say is one group.  -> [B]"""
    return (
        batch.group
        if batch.group is not None
        else torch.zeros(len(batch), dtype=torch.long, device=batch.obs.device)
    )


def sum_rewards(batch: Trajectories) -> Tensor:
    """What each whole row was rewarded with.  -> [B]"""
    return torch.where(batch.chosen, batch.reward, 0.0).sum(1)


def mean_over_groups(x: Tensor, group: Tensor) -> float:
    """The mean over all groups of a number that is the same in each row of a group.  [B], [B] ->
    number
    """
    _, index, size = group.unique(return_inverse=True, return_counts=True)
    share = 1 / size[index].double()  # of its group, for each row
    return float((share * x).sum() / share.sum())


def zero_spread_groups(batch: Trajectories) -> float:
    """The share of groups whose rows all earned the same: nothing in them can be compared."""
    group = groups(batch)
    return mean_over_groups(equal_in_group(sum_rewards(batch), group).double(), group)
