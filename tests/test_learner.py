"""One optimizer step is AdamW on the loss that was given, at the scheduled rate; a step that cannot
be taken leaves no trace.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fledge.algorithms.likelihood.distillation import Distillation
from fledge.algorithms.likelihood.supervised import Supervised
from fledge.errors import Diverged, UserError
from fledge.learner import Learner, Schedule
from fledge.optimizers import adamw
from fledge.rank_sums import total_norm
from fledge.runs.checkpoint import load_state, save_state
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories, from_rows
from tests.every_rank import on_ranks
from tests.subjects import learner, policy_of, rollouts, transformer

Shape = tuple[Tensor, Mapping[str, Tensor]]


def test_the_rate_rises_then_stays() -> None:
    rates = [Schedule(8.0, steps=10, warmup_steps=3).rate(step) for step in range(6)]
    assert rates == [2.0, 4.0, 6.0, 8.0, 8.0, 8.0]


def test_the_rate_falls_in_a_line_to_its_final_share() -> None:
    schedule = Schedule(1.0, steps=12, warmup_steps=2, shape="linear", final=0.1)
    assert [schedule.rate(step) for step in (2, 7, 12, 99)] == pytest.approx([1.0, 0.55, 0.1, 0.1])


def test_the_rate_falls_along_a_half_cosine() -> None:
    schedule = Schedule(1.0, steps=12, warmup_steps=2, shape="cosine", final=0.2)
    expected = [0.2 + 0.8 * (1 + math.cos(math.pi * x)) / 2 for x in (0, 0.25, 0.5, 1, 1)]
    steps: Any = (2, 4.5, 7, 12, 99)
    assert [schedule.rate(step) for step in steps] == pytest.approx(expected)


@pytest.mark.parametrize("shape", ["constant", "linear", "cosine"])
def test_the_rate_is_positive_and_never_above_its_peak(shape: Any) -> None:
    schedule = Schedule(1.0, steps=50, warmup_steps=10, shape=shape)
    rates = [schedule.rate(step) for step in range(70)]
    assert all(0 < rate <= 1 for rate in rates)
    assert max(rates) == 1


def quadratic(module: nn.Module) -> Shape:
    loss = sum(((p - 1) ** 2).sum() for p in module.parameters())
    assert isinstance(loss, Tensor)
    return loss, {"size": loss.detach() * 2}


def test_a_step_is_adamw_with_decay_on_matrices_only_at_the_scheduled_rate() -> None:
    """Against AdamW written out (Loshchilov & Hutter 2019, algorithm 2), three steps with a
    gradient clipped to norm 1.
    """
    module = nn.Linear(3, 2).double()
    start = [p.detach().clone() for p in module.parameters()]
    fit = Learner(
        module,
        Schedule(0.1, 10, warmup_steps=1),
        optimizer=adamw(betas=(0.8, 0.9), weight_decay=0.3),
        clip=1.0,
    )
    first, second = [torch.zeros_like(p) for p in start], [torch.zeros_like(p) for p in start]
    for step in range(3):
        rate = (0.05, 0.1, 0.1)[step]
        gradient = [2 * (p - 1) for p in start]
        norm = math.sqrt(sum(float((g**2).sum()) for g in gradient))
        figures = fit.step(lambda rows: quadratic(module), rollouts(policy_of(transformer())))
        assert figures["grad_norm"] == pytest.approx(norm)
        assert figures["learning_rate"] == pytest.approx(rate)
        assert figures["size"] == pytest.approx(2 * figures["loss"])
        for i, g in enumerate(gradient):
            g = g * min(1.0, 1 / norm)
            first[i] = 0.8 * first[i] + 0.2 * g
            second[i] = 0.9 * second[i] + 0.1 * g**2
            decay = 0.3 if start[i].ndim == 2 else 0.0
            up, down = (
                first[i] / (1 - 0.8 ** (step + 1)),
                (second[i] / (1 - 0.9 ** (step + 1))).sqrt() + 1e-8,
            )
            start[i] = start[i] - rate * (up / down + decay * start[i])
        for mine, theirs in zip(start, module.parameters(), strict=True):
            torch.testing.assert_close(theirs.detach(), mine, rtol=1e-5, atol=1e-6)


def test_further_losses_add_their_gradient() -> None:
    batch = rollouts(policy_of(transformer()))
    one, other = nn.Linear(2, 2), nn.Linear(2, 2)
    other.load_state_dict(one.state_dict())
    learner(one).step(
        lambda rows: quadratic(one), batch, also=[(lambda rows: quadratic(one), batch)]
    )
    learner(other).step(lambda rows: (2 * quadratic(other)[0], {}), batch)
    torch.testing.assert_close(one.weight, other.weight)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_the_users_to_mend_and_moves_no_weight(value: float) -> None:
    module = nn.Linear(2, 2)
    fit = learner(module)
    batch = rollouts(policy_of(transformer()))
    fit.step(lambda rows: quadratic(module), batch)
    before = [p.detach().clone() for p in module.parameters()]
    memory = {k: v["exp_avg"].clone() for k, v in fit.optimizer.state_dict()["state"].items()}
    with pytest.raises(UserError, match=r"optimizer step 2.*learning_rate"):
        fit.step(lambda rows: (quadratic(module)[0] * value, {}), batch)
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
    assert all(
        torch.equal(memory[k], v["exp_avg"]) for k, v in fit.optimizer.state_dict()["state"].items()
    )
    assert fit.steps == 1
    fit.step(lambda rows: quadratic(module), batch)  # nothing of the broken gradient is left
    assert all(torch.isfinite(p).all() for p in module.parameters())


def test_a_gradient_that_is_not_finite_stops_too_though_the_loss_is() -> None:
    module = nn.Linear(1, 1)
    nn.init.zeros_(module.weight)
    with pytest.raises(UserError, match=r"gradient (nan|inf)"):
        learner(module).step(
            lambda rows: (module.weight.abs().sqrt().sum(), {}), rollouts(policy_of(transformer()))
        )
    assert module.weight.item() == 0


def test_a_module_without_parameters_has_nothing_to_learn() -> None:
    with pytest.raises(UserError, match="nothing of this model learns"):
        learner(nn.Linear(2, 2).requires_grad_(False))


def test_the_norm_is_of_all_numbers_whatever_their_shape_and_type() -> None:
    three, four = torch.full((3, 3), 1.0), torch.tensor([4.0], dtype=torch.float64)
    assert float(total_norm([three, four])) == pytest.approx(5.0, abs=1e-12)
    assert float(total_norm([four.bfloat16(), three.bfloat16()])) == 5.0
    assert float(total_norm([])) == 0.0


def test_frozen_parameters_stay() -> None:
    policy = policy_of(transformer())
    policy.network.embedding.requires_grad_(False)
    before = policy.network.embedding.weight.clone()
    Supervised(policy, learner(policy), Stopwatch()).update(rollouts(policy))
    assert torch.equal(policy.network.embedding.weight, before)


def test_a_learner_that_is_saved_and_loaded_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    def make() -> tuple[Supervised, Trajectories]:
        policy = policy_of(transformer())
        return Supervised(policy, learner(policy), Stopwatch()), rollouts(policy)

    straight, batch = make()
    for _ in range(2):
        straight.update(batch)
    save_state(tmp_path / "state", straight.state_dict())
    resumed, _ = make()
    resumed.load_state_dict(load_state(tmp_path / "state"))
    for _ in range(3):
        assert straight.update(batch) == resumed.update(batch)
    for a, b in zip(straight.policy.parameters(), resumed.policy.parameters(), strict=True):
        assert torch.equal(a, b)


def test_bfloat16_products_stay_within_a_hundredth_of_float32() -> None:
    """Relative, of the whole gradient and of the loss: bfloat16 keeps 8 bits, 0.4% of each number
    it rounds.
    """
    gradients, losses = [], []
    for precision in ("fp32", "bf16"):
        policy = policy_of(transformer(width=64, heads=4, kv_heads=2, mlp_width=96))
        fit = learner(policy, precision=precision)
        kept: list[Tensor] = []

        def keep(fit: Any = fit, kept: list[Tensor] = kept) -> None:
            kept.extend(p.grad.clone() for p in fit.parameters)

        fit.optimizer.step = keep  # pyright: ignore[reportAttributeAccessIssue]
        losses.append(
            Supervised(policy, fit, Stopwatch()).update(rollouts(policy, rows=64))["loss"]
        )
        assert all(p.dtype == torch.float32 for p in policy.parameters())
        gradients.append(torch.cat([g.flatten() for g in kept]))
    exact, rounded = gradients
    assert 0 < (rounded - exact).norm() / exact.norm() < 0.03
    assert losses[1] == pytest.approx(losses[0], rel=0.01)


def test_counts_are_taken_over_true_entries_and_never_zero() -> None:
    fit = learner(nn.Linear(1, 1))
    mask = torch.tensor([[True, False], [True, True]])
    assert fit.count(mask) == 3
    assert fit.count(~mask & mask) == 1  # a batch without trained steps divides by 1, not by 0
    assert fit.count_rows(from_rows([[1, 2], [1, 2]], [[False, True]] * 2)) == 2


def test_what_ranks_say_of_their_rows_comes_together_in_the_order_of_the_batch(
    tmp_path: Path,
) -> None:
    """Three processes; 5 rows of 1 to 5 trained tokens, then 2, of which one rank has none."""
    fit = learner(nn.Linear(1, 1))
    rows = from_rows([[7] * n for n in range(2, 7)], [[False] + [True] * n for n in range(1, 6)])

    def ask() -> list[Any]:
        told = []
        for some in (rows, rows[:2]):
            lengths = fit.map(lambda part: [part.chosen.sum(1).double()], some)[0]
            steps = fit.map(lambda part: [part.action.double()], some)[0]
            firsts = [part.obs[:, 0] + part.chosen.sum(1) for part in fit.cut(some)]
            told += [lengths.tolist(), list(steps.shape), fit.join(firsts, some).tolist()]
        return [*told, int(fit.count(rows.chosen)), sum(len(part) for part in fit.cut(rows))]

    told = on_ranks(3, ask, tmp_path / "ranks")
    whole = [[1, 2, 3, 4, 5], [5, 5], [8, 9, 10, 11, 12], [1, 2], [2, 5], [8, 9], 15]
    assert [each[:-1] for each in told] == [whole] * 3
    assert [each[-1] for each in told] == [2, 2, 1]  # rows that each computes


def state_of(fit: Learner) -> list[Tensor]:
    """Its weights and AdamW's moments."""
    moments = [
        each[name] for each in fit.optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")
    ]
    return [x.detach().clone() for x in (*fit.parameters, *moments)]


def test_a_batch_without_any_gradient_makes_no_step_and_is_counted() -> None:
    """After a few ordinary steps there is momentum, and decay on matrices: neither may move what
    nothing was learned about.
    """
    module = nn.Linear(3, 2)
    fit = Learner(module, Schedule(0.1, 10, shape="linear"), optimizer=adamw(weight_decay=0.5))
    batch = rollouts(policy_of(transformer()))
    for _ in range(3):
        assert "steps_skipped" not in fit.step(lambda rows: quadratic(module), batch)
    before = state_of(fit)
    figures = fit.step(lambda rows: (0.0 * quadratic(module)[0], {}), batch)
    assert (figures["steps_skipped"], figures["grad_norm"], fit.skipped, fit.steps) == (1, 0, 1, 3)
    assert all(torch.equal(a, b) for a, b in zip(before, state_of(fit), strict=True))
    rate = fit.step(lambda rows: quadratic(module), batch)["learning_rate"]
    # its time in the schedule has passed: this is the fifth of ten
    assert rate == pytest.approx(0.1 * (0.1 + 0.9 * 0.6))


@pytest.mark.parametrize(
    "make", [Supervised, partial(Distillation, teacher=policy_of(transformer(1)))]
)
def test_rows_without_a_trained_token_are_no_perfect_score(make: Any) -> None:
    policy = policy_of(transformer())
    fit = learner(policy, optimizer=adamw(weight_decay=0.1))
    algorithm, batch = make(policy, fit, Stopwatch()), rollouts(policy)
    algorithm.update(batch)
    before = state_of(fit)
    figures = algorithm.update(batch.replace(chosen=torch.zeros_like(batch.chosen)))
    # no loss at all, in place of one of 0
    assert figures == {
        "steps_skipped": 1.0,
        "grad_norm": 0.0,
        "learning_rate": 1e-2,
    }
    assert all(torch.equal(a, b) for a, b in zip(before, state_of(fit), strict=True))


def test_a_parameter_outside_the_loss_is_left_alone_with_ranks_as_without(tmp_path: Path) -> None:
    """Under torch.distributed it had a gradient of 0, and with it decay and moments."""

    def ask() -> tuple[bool, bool, bool]:
        used, idle = nn.Linear(3, 2), nn.Linear(3, 2)
        start, used_before = idle.weight.detach().clone(), used.weight.detach().clone()
        fit = Learner(
            nn.ModuleList([used, idle]), Schedule(0.1, 10), optimizer=adamw(weight_decay=0.5)
        )
        fit.step(lambda rows: quadratic(used), rollouts(policy_of(transformer())))
        moved = not torch.equal(used.weight, used_before)
        return moved, torch.equal(idle.weight, start), idle.weight in fit.optimizer.state

    assert ask() == (True, True, False)
    assert on_ranks(2, ask, tmp_path / "ranks") == [(True, True, False)] * 2


@pytest.mark.parametrize(
    "settings", [{"rate": 1e37}, {"rate": 0.01, "optimizer": adamw(weight_decay=1e30)}]
)
def test_a_step_whose_weights_overflow_ends_the_run_and_reaches_no_checkpoint(
    settings: dict[str, Any],
) -> None:
    """Loss and gradient were in order before it, and no step comes after it to notice."""
    policy = policy_of(transformer())
    fit = learner(policy, **settings)
    with pytest.raises(Diverged, match="last checkpoint is intact"):
        Supervised(policy, fit, Stopwatch()).update(rollouts(policy))
    with pytest.raises(Diverged, match="overflow after optimizer step 1"):
        fit.state_dict()


def test_finite_weights_under_which_the_loss_is_none_are_no_better() -> None:
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, 3.0)
    deep: Callable[[Any], Shape] = lambda rows: ((module.weight**9).sum() * 1e-3, {})  # noqa: E731
    with pytest.raises(Diverged, match="made weights under which the loss is -inf"):
        learner(module, rate=1e5).step(deep, rollouts(policy_of(transformer())))


def test_ordinary_steps_are_not_asked_twice() -> None:
    module, asked = nn.Linear(2, 2), []

    def loss(rows: Any) -> Shape:
        asked.append(len(rows))
        return quadratic(module)

    learner(module, rate=0.1).step(loss, rollouts(policy_of(transformer())))
    assert len(asked) == 1
