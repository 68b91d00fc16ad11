"""Divergences are their formulas, and a chunk at a time gives what the whole gives, values and
gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fledge.divergence import Divergence, divergence, forward_kl, jensen_shannon, reverse_kl
from tests.subjects import seeded

KINDS: dict[str, Divergence] = {
    "forward": forward_kl,
    "reverse": reverse_kl,
    "jsd": jensen_shannon,
    "jsd 0.1": partial(jensen_shannon, beta=0.1),
}
POSITIONS, VOCABULARY = 23, 31
ALLOWED = torch.arange(VOCABULARY) % 5 != 0


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=seeded(seed))


def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Teacher's hidden states and weight, wider than the student's; the student's, which have
    gradients.
    """
    teacher = normal(POSITIONS, 6, seed=0), normal(VOCABULARY, 6, seed=1)
    return (
        *teacher,
        normal(POSITIONS, 4, seed=2).requires_grad_(True),
        normal(VOCABULARY, 4, seed=3).requires_grad_(True),
    )


def in_numpy(name: str, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Of probabilities [N, V]: teacher p, student q.  -> [N]"""
    kl = lambda a, b: (a * np.log(a / b)).sum(-1)  # noqa: E731
    if name in ("forward", "reverse"):
        return kl(p, q) if name == "forward" else kl(q, p)
    beta = 0.1 if name.endswith("0.1") else 0.5
    mixture = beta * p + (1 - beta) * q
    return beta * kl(p, mixture) + (1 - beta) * kl(q, mixture)


@pytest.mark.parametrize("name", KINDS)
def test_a_divergence_is_its_formula_over_the_actions(name: str) -> None:
    teacher_hidden, teacher_weight, hidden, weight = inputs()
    kept = ALLOWED.numpy()

    def softmax(hidden: Tensor, weight: Tensor) -> np.ndarray:
        raw = np.exp((hidden @ weight.T).detach().numpy()[:, kept])
        return raw / raw.sum(-1, keepdims=True)

    value = divergence(KINDS[name], teacher_hidden, teacher_weight, hidden, weight, ALLOWED)
    wanted = in_numpy(name, softmax(teacher_hidden, teacher_weight), softmax(hidden, weight))
    np.testing.assert_allclose(value.detach().numpy(), wanted, rtol=1e-10)
    assert (value > 0.01).all()


@pytest.mark.parametrize("chunk", [1, 5, 23, 100])
@pytest.mark.parametrize("name", KINDS)
def test_chunks_change_neither_value_nor_gradient(name: str, chunk: int) -> None:
    def both(compute: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        given = inputs()
        value = compute(*given)
        return value, *torch.autograd.grad((value * normal(POSITIONS, seed=4)).sum(), given[2:])

    def whole(
        teacher_hidden: Tensor, teacher_weight: Tensor, hidden: Tensor, weight: Tensor
    ) -> Tensor:
        p, q = (
            (h @ w.T)[:, ALLOWED].log_softmax(-1)
            for h, w in ((teacher_hidden, teacher_weight), (hidden, weight))
        )
        return KINDS[name](p, q)

    chunked = both(lambda *given: divergence(KINDS[name], *given[:4], allowed=ALLOWED, chunk=chunk))
    for one, other in zip(chunked, both(whole), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


class Largest(TorchDispatchMode):
    """The largest tensor that any operation makes."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for each in out if isinstance(out, tuple | list) else (out,):
            if isinstance(each, Tensor):
                self.numbers = max(self.numbers, each.numel())
        return out


@pytest.mark.parametrize("name", KINDS)
def test_the_logits_never_exist_whole(name: str) -> None:
    with Largest() as seen:
        divergence(KINDS[name], *inputs(), chunk=2).sum().backward()
    assert seen.numbers < POSITIONS * VOCABULARY / 2


def test_equal_distributions_are_nothing_apart_and_leave_no_gradient() -> None:
    for kind in KINDS.values():
        hidden, weight = normal(5, 4, seed=2).requires_grad_(True), normal(VOCABULARY, 4, seed=3)
        value = divergence(kind, hidden.detach(), weight, hidden, weight)
        assert value.abs().max() < 1e-12
        assert torch.autograd.grad(value.sum(), hidden)[0].abs().max() < 1e-12


def test_jensen_shannon_tends_to_either_kl() -> None:
    p, q = normal(4, 7, seed=0).log_softmax(-1), normal(4, 7, seed=1).log_softmax(-1)
    torch.testing.assert_close(
        jensen_shannon(p, q, 1e-6) / 1e-6, forward_kl(p, q), rtol=1e-3, atol=0
    )
    torch.testing.assert_close(
        jensen_shannon(p, q, 1 - 1e-6) / 1e-6, reverse_kl(p, q), rtol=1e-3, atol=0
    )
    torch.testing.assert_close(jensen_shannon(p, q, 0.5), jensen_shannon(q, p, 0.5))


def test_a_token_that_the_teacher_never_says_costs_no_nan() -> None:
    """A difference of 2,000 in the logits: its probability is 0 in float32, its logarithm is
    not.
    """
    sure = torch.tensor([[0.0, 2000.0]]).log_softmax(-1)
    even = torch.zeros(1, 2, requires_grad=True)
    for kind in KINDS.values():
        for pair in ((sure, even.log_softmax(-1)), (even.log_softmax(-1), sure)):
            value = kind(*pair)
            gradient = torch.autograd.grad(value.sum(), even)[0]
            assert torch.isfinite(value).all()
            assert torch.isfinite(gradient).all()


def test_no_position_is_a_loss_of_zero_with_a_gradient() -> None:
    hidden, weight = torch.zeros(0, 4, requires_grad=True), normal(VOCABULARY, 4, seed=3).float()
    value = divergence(forward_kl, torch.zeros(0, 4), weight, hidden, weight)
    assert value.shape == (0,)
    value.sum().backward()


def test_each_side_has_a_cap_of_its_own() -> None:
    teacher_hidden, teacher_weight, hidden, weight = inputs()

    def capped(hidden: Tensor, weight: Tensor, cap: float) -> Tensor:
        return (cap * torch.tanh(hidden @ weight.T / cap)).log_softmax(-1)

    wanted = forward_kl(capped(teacher_hidden, teacher_weight, 1.5), capped(hidden, weight, 3.0))
    value = divergence(forward_kl, *inputs(), caps=(1.5, 3.0))
    torch.testing.assert_close(value, wanted)
    given = inputs()
    own = torch.autograd.grad(divergence(forward_kl, *given, caps=(1.5, 3.0)).sum(), given[2:])
    torch.testing.assert_close(own, torch.autograd.grad(wanted.sum(), (hidden, weight)))
