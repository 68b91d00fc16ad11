"""Remedies against forgetting: the Fisher diagonal against a loop over examples, penalties against
their formulas, and what a large strength does.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fledge.algorithms.parts.fisher import measure_fisher
from fledge.algorithms.parts.forgetting import Adapters, Anchored, Plain, Rehearsal, Remembered
from fledge.recipes.studies.continual_tasks import TextsInTurn, log_prob


def make_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def make_examples(number: int = 40) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    x = torch.randn(number, 6, generator=random)
    return x, torch.randint(3, (number,), generator=random)


def fisher_by_loop(
    network: nn.Module, say: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor
) -> dict[str, Tensor]:
    total = {name: torch.zeros_like(weight) for name, weight in network.named_parameters()}
    for one, wanted in zip(x, y, strict=True):
        network.zero_grad()
        say(one[None], wanted[None]).sum().backward()
        for name, weight in network.named_parameters():
            assert weight.grad is not None
            total[name] += weight.grad**2 / len(x)
    return total


def test_fisher_is_the_mean_of_squared_gradients_example_by_example() -> None:
    network, (x, y) = make_network(), make_examples()
    pieces = [(x[:25], y[:25]), (x[25:], y[25:])]  # of unequal size: a mean of means would differ
    ours = measure_fisher(network, log_prob, pieces)
    loop = fisher_by_loop(
        network, lambda a, b: -functional.cross_entropy(network(a), b, reduction="none"), x, y
    )
    assert ours.keys() == loop.keys()
    for name, each in loop.items():
        torch.testing.assert_close(ours[name], each, rtol=1e-4, atol=1e-9)
    with pytest.raises(ValueError, match="no example was given"):
        measure_fisher(network, log_prob, [])


def test_fisher_of_a_language_model(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(f"{name} text of letters. " * 100)
    names = [str(tmp_path / "a.txt"), str(tmp_path / "b.txt")]
    subject = TextsInTurn(names, context=16, width=16, layers=1)
    network, task = subject.make_network(0), subject.make_tasks(0)[0]
    x, y = task.x[:6], task.y[:6]

    def say(one: Tensor, wanted: Tensor) -> Tensor:
        logits = network(one)
        return -functional.cross_entropy(logits.flatten(0, 1), wanted.flatten())

    loop = fisher_by_loop(network, say, x, y)
    for name, each in measure_fisher(network, log_prob, [(x, y)]).items():
        torch.testing.assert_close(each, loop[name], rtol=1e-3, atol=1e-8)


def test_the_penalty_is_its_formula_and_the_online_form_adds_up() -> None:
    network, (x, y) = make_network(), make_examples()
    remedy = Anchored(3.0, log_prob, keep=0.5, examples=40, at_a_time=7)
    assert float(remedy.penalty(network, x)) == 0
    remedy.end_task(network, x, y)
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    first = measure_fisher(network, log_prob, [(x, y)])
    assert float(remedy.penalty(network, x)) == 0
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.1 * torch.randn_like(weight)
    wanted = sum(
        1.5 * float((first[n] * (w - before[n]) ** 2).sum()) for n, w in network.named_parameters()
    )
    assert float(remedy.penalty(network, x)) == pytest.approx(wanted, rel=1e-4)
    second = measure_fisher(network, log_prob, [(x, y)])
    remedy.end_task(network, x, y)
    for name, each in remedy.importance.items():
        torch.testing.assert_close(each, 0.5 * first[name] + second[name], rtol=1e-4, atol=1e-9)
    assert float(remedy.penalty(network, x)) == 0  # around where it is now


def move(strength: float, *, penalised: bool) -> float:
    """How far 200 steps go that are short enough for the steepest weight, by the penalty's own
    measure.
    """
    (x, y), network, remedy = make_examples(), make_network(), Anchored(strength, log_prob)
    remedy.end_task(network, x, y)
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    rate = 1 / (strength * max(float(each.max()) for each in remedy.importance.values()))
    for _ in range(200):
        loss = functional.cross_entropy(network(x), (y + 1) % 3)
        if penalised:
            loss = loss + remedy.penalty(network, x)
        slopes = torch.autograd.grad(loss, [*network.parameters()])
        for weight, slope in zip(network.parameters(), slopes, strict=True):
            weight.data -= rate * slope
    return sum(
        float((remedy.importance[n] * (w.detach() - before[n]) ** 2).sum())
        for n, w in network.named_parameters()
    )


@pytest.mark.parametrize("strength", [1e2, 1e5])
def test_a_large_strength_does_not_move(strength: float) -> None:
    """The same steps without the penalty do."""
    assert move(strength, penalised=True) < 0.02 * move(strength, penalised=False)


def test_rehearsal_puts_as_many_old_examples_beside_the_new() -> None:
    (x, y), random = make_examples(), torch.Generator().manual_seed(0)
    remedy = Rehearsal(5)
    assert remedy.mix(x, y, random)[0] is x
    remedy.end_task(make_network(), x + 100, y)
    remedy.end_task(make_network(), x + 200, y)
    both, labels = remedy.mix(x, y, random)
    assert torch.equal(both[:40], x)
    old = both[40:]
    assert len(old) == 40 == len(labels) - 40
    kept = torch.cat([x[:5] + 100, x[:5] + 200])
    assert all((kept == row).all(1).any() for row in old)
    assert {bool(row.mean() > 150) for row in old} == {True, False}


def test_learning_without_forgetting_is_the_divergence_from_what_was_said() -> None:
    network, (x, y) = make_network(), make_examples()
    remedy = Remembered(2.0)
    assert float(remedy.penalty(network, x)) == 0
    remedy.end_task(network, x, y)
    before = network(x).softmax(-1)
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.1 * torch.randn_like(weight)
    now = network(x).softmax(-1)
    wanted = 2 * (before * (before.log() - now.log())).sum(-1).mean()
    torch.testing.assert_close(remedy.penalty(network, x), wanted)
    assert float(Plain().penalty(network, x)) == 0


def answers(network: nn.Module, x: Tensor) -> Tensor:
    return network(x).detach().clone()


@pytest.mark.parametrize("merged", [False, True])
def test_an_adapter_a_task_leaves_what_is_frozen_and_merged_is_one_ordinary_network(
    merged: bool,
) -> None:
    torch.manual_seed(0)
    first = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    x, y = torch.randn(20, 4), torch.randint(3, (20,))
    remedy, random = Adapters(2, 3.0, merged=merged), torch.Generator().manual_seed(1)
    network, rate = remedy.begin_task(first, random)
    assert network is first  # whole: nothing was learned yet that could be kept
    assert rate == 1.0
    remedy.end_task(network, x, y)
    said = answers(first, x)
    weights = [p.detach().clone() for p in first.parameters()]
    learned = []
    for _ in range(2):
        network, rate = remedy.begin_task(network, random)
        assert rate == 3.0
        learning = [p for p in network.parameters() if p.requires_grad]
        assert sum(p.numel() for p in learning) == 2 * (4 + 6 + 6 + 3)  # r (I + O) of two matrices
        optimizer = torch.optim.SGD(learning, lr=0.5)
        for _ in range(20):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x), y).backward()
            optimizer.step()
        learned.append(answers(network, x))
        remedy.end_task(network, x, y)
        torch.testing.assert_close(answers(network, x), learned[-1])
    assert all(torch.equal(a, b) for a, b in zip(weights, first.parameters(), strict=True))
    if merged:
        assert {type(part) for part in network.children()} == {nn.Linear, nn.ReLU}
        assert all(remedy.answering(network, n) is network for n in range(3))
        assert not torch.allclose(answers(network, x), said, atol=0.1)
        return
    assert torch.equal(answers(remedy.answering(network, 0), x), said)
    for task in (1, 2):
        assert torch.equal(answers(remedy.answering(network, task), x), learned[task - 1])
