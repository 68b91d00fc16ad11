"""Prepared lists move the weights as torch's own loop over single tensors does."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fledge.optimizers import adamw, muon
from fledge.prepared_adamw import PreparedAdamW, suits_prepared
from tests.subjects import seeded

SHAPES = ((3, 4), (4,), (2, 3, 3, 2), (1,))
DECAY, BETAS, EPS = 0.3, (0.8, 0.9), 1e-3


def network(dtype: torch.dtype = torch.float64) -> nn.ParameterList:
    drawn = (torch.randn(s, generator=seeded(i), dtype=dtype) for i, s in enumerate(SHAPES))
    return nn.ParameterList([nn.Parameter(x) for x in drawn])


def ours(own: nn.ParameterList) -> Any:
    named = list(own.named_parameters())
    rates = lambda name: 0.5 if name == "0" else 1.0  # noqa: E731
    return adamw(BETAS, EPS, DECAY, rates)(named, 1.0)


def theirs(own: nn.ParameterList) -> torch.optim.AdamW:
    """The groups as `adamw` describes them: decay of matrices alone, and decay / scale of those
    whose rate is scaled.
    """
    groups = [
        {"params": [own[2]], "weight_decay": DECAY},
        {"params": [own[0]], "weight_decay": DECAY / 0.5},
        {"params": [own[1], own[3]], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=BETAS, eps=EPS, foreach=False, fused=False)


def give_slopes(own: nn.ParameterList, step: int, silent: tuple[int, ...] = ()) -> None:
    for i, p in enumerate(own):
        slope = torch.randn(p.shape, generator=seeded(100 * step + i), dtype=p.dtype)
        p.grad = None if i in silent else slope


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        scaled = any(p.shape == SHAPES[0] for p in group["params"])
        group["lr"] = rate * (0.5 if scaled else 1.0)


def run(own: nn.ParameterList, optimizer: torch.optim.Optimizer, steps: range) -> None:
    """A rate that falls, and now and then parameters that nothing is said of."""
    for step in steps:
        give_slopes(own, step, {1: (0, 3), 2: (2,)}.get(step, ()))
        set_rate(optimizer, 0.1 / (1 + step))
        optimizer.step()


def apart(a: nn.ParameterList, b: nn.ParameterList) -> float:
    return max(float((x - y).detach().abs().max()) for x, y in zip(a, b, strict=True))


def test_the_same_weights_as_torchs_loop_over_groups_rates_and_absent_gradients() -> None:
    mine, other = network(), network()
    optimizer = ours(mine)
    assert isinstance(optimizer, PreparedAdamW)
    run(mine, optimizer, range(6))
    run(other, theirs(other), range(6))
    assert apart(mine, network()) > 0.1
    assert apart(mine, other) < 1e-12


def test_a_parameter_without_gradient_has_no_moments_and_does_not_decay() -> None:
    own = network()
    optimizer = ours(own)
    give_slopes(own, 0, silent=(0,))
    optimizer.step()
    assert torch.equal(own[0], network()[0])
    assert own[0] not in optimizer.state
    assert not torch.equal(own[2], network()[2])


@pytest.mark.parametrize("begun_by", ["torch", "ours"])
def test_a_state_of_either_is_continued_by_ours(begun_by: str) -> None:
    """That of torch's optimizer, as older runs saved it: the names are the same."""
    mine, other = network(), network()
    first = theirs(other) if begun_by == "torch" else ours(other)
    run(other, first, range(3))
    saved: dict[str, Any] = copy.deepcopy(first.state_dict())
    with torch.no_grad():
        for p, q in zip(mine, other, strict=True):
            p.copy_(q)
    continued = ours(mine)
    if begun_by == "torch":
        order = continued.state_dict()["param_groups"]
        assert [group["weight_decay"] for group in order] == [
            group["weight_decay"] for group in saved["param_groups"]
        ]
    give_slopes(mine, 99)
    continued.step()  # lists of moments that the state then replaces
    with torch.no_grad():
        for p, q in zip(mine, other, strict=True):
            p.copy_(q)
    continued.load_state_dict(saved)
    run(mine, continued, range(3, 6))
    run(other, first, range(3, 6))
    assert apart(mine, other) < 1e-12
    assert set(continued.state[mine[0]]) == {"step", "exp_avg", "exp_avg_sq"}


def test_continued_and_never_stopped_have_the_same_bits() -> None:
    whole, cut = network(torch.float32), network(torch.float32)
    run(whole, ours(whole), range(6))
    first = ours(cut)
    run(cut, first, range(3))
    second = ours(cut)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    run(cut, second, range(3, 6))
    assert apart(whole, cut) == 0


def test_every_kind_of_tensor_has_its_own_kernel() -> None:
    one, other = (nn.Parameter(torch.zeros(2, dtype=x)) for x in (torch.float32, torch.float64))
    assert suits_prepared([one, one])
    assert not suits_prepared([one, other])
    made = adamw()([("one", one), ("other", other)], 0.1)
    assert not isinstance(made, PreparedAdamW)


def test_muons_other_parameters_are_moved_by_the_same() -> None:
    matrix, vector = nn.Parameter(torch.ones(3, 3)), nn.Parameter(torch.ones(3))
    together: Any = muon()([("inner", matrix), ("bias", vector)], 0.1)
    assert isinstance(together.parts["adamw"], PreparedAdamW)
    slope: Tensor = torch.tensor([1.0, -2.0, 4.0])
    matrix.grad, vector.grad = torch.ones(3, 3), slope
    for group in together.param_groups:
        group["lr"] = 0.1
    together.step()
    # Adam's first step is the rate against the sign of the gradient (Kingma & Ba 2015, §2.1).
    assert torch.allclose(vector.detach(), 1 - 0.1 * slope.sign(), atol=1e-6)
