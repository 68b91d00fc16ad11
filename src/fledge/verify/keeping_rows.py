"""What keeps and joins what was learned: the Fisher diagonal beside a loop over examples, and
models merged with all weight on one of them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fledge.algorithms.parts.fisher import measure_fisher
from fledge.algorithms.parts.forgetting import Anchored
from fledge.hub.merged_weights import add_agreeing, add_tasks, average, go_along_circle
from fledge.verify.rows import TableRow

EXAMPLES = 23


def make_network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20)
        return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).double()


def make_examples() -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(21)
    x = torch.randn(EXAMPLES, 5, generator=random, dtype=torch.float64)
    return x, torch.randint(3, (EXAMPLES,), generator=random)


def say(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """log p(y | x).  [B]"""
    return network(x).log_softmax(-1).gather(-1, y[:, None])[:, 0]


def fisher_row() -> TableRow:
    """In two batches of unequal size: a mean of their means would be another number."""
    network, (x, y) = make_network(), make_examples()
    ours = measure_fisher(network, say, [(x[:15], y[:15]), (x[15:], y[15:])])
    error = 0.0
    for name, weight in network.named_parameters():
        total = torch.zeros_like(weight)
        for n in range(EXAMPLES):
            logits = network(x[n])
            logp = logits[y[n]] - logits.exp().sum().log()
            total += torch.autograd.grad(logp, weight)[0] ** 2 / EXAMPLES
        error = max(error, float((ours[name] - total).abs().max() / total.abs().max()))
    return TableRow(
        "L20.1", "the Fisher diagonal", "the mean over examples of squared gradients", error, 1e-10,
        f"beside a loop over {EXAMPLES} examples to {error:.1e}",
    )  # fmt: skip


def penalty_row() -> TableRow:
    """λ/2 Σ F̄ (θ − θ*)² of the online form after two tasks, F̄ = γ F̄₁ + F̄₂, and its slope."""
    network, (x, y) = make_network(), make_examples()
    remedy = Anchored(3.0, say, keep=0.5, examples=EXAMPLES, at_a_time=9)
    remedy.end_task(network, x, y)
    first = measure_fisher(network, say, [(x, y)])
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(1.1)
    remedy.end_task(network, x, 2 - y)
    second = measure_fisher(network, say, [(x, 2 - y)])
    anchor = {name: w.detach().clone() for name, w in network.named_parameters()}
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.2 * weight.sin())
    penalty = remedy.penalty(network, x)
    slopes = torch.autograd.grad(penalty, list(network.parameters()))
    wanted, error = 0.0, 0.0
    for (name, weight), slope in zip(network.named_parameters(), slopes, strict=True):
        heavy = 3.0 * (0.5 * first[name] + second[name])
        gap = weight.detach() - anchor[name]
        wanted += float((heavy * gap**2).sum()) / 2
        error = max(error, float((slope - heavy * gap).abs().max()))
    error = max(error, abs(float(penalty.detach()) - wanted))
    return TableRow(
        "L20.2", "EWC, online", "λ/2 Σ F̄ (θ − θ*)², F̄ ← γ F̄ + F̄ of the task", error, 1e-6,
        f"penalty and slope to {error:.1e}",
    )  # fmt: skip


def merging_row() -> TableRow:
    """Of every method, bit for bit, in float32."""
    random = torch.Generator().manual_seed(22)
    base, one, two = (
        {"w": torch.randn(6, 4, generator=random), "b": torch.randn(6, generator=random)}
        for _ in range(3)
    )
    merged = {
        "average": average([one, two], [1.0, 0.0]),
        "task arithmetic": add_tasks(base, [one, two], [1.0, 0.0]),
        "TIES": add_agreeing(base, [one, two], [1.0, 0.0], keep=1.0),
        "SLERP": go_along_circle(two, one, 1.0),
    }
    different = [
        name for name, made in merged.items() if any(not made[k].equal(one[k]) for k in one)
    ]
    return TableRow(
        "L20.3", "merging, all weight on one model", "it is that model, bit for bit",
        float(len(different)), 0.0, ", ".join(different) or f"all of {len(merged)} methods",
    )  # fmt: skip


def keeping_rows() -> list[TableRow]:
    return [fisher_row(), penalty_row(), merging_row()]
