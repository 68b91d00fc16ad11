"""A small perceptron by C says what torch's own layers say in float64, and so do its slopes."""

from __future__ import annotations

import copy
import math
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from fledge.models.control.mlp import Perceptron, Tanh, mlp
from fledge.models.control.perceptron_kernel import go_through, learn, load_kernel, say, use_threads
from fledge.models.control.q_network import QNetwork
from fledge.worlds.world import Box, Choices
from tests.subjects import seeded

pytestmark = pytest.mark.skipif(load_kernel() is None, reason="no compiler")
CLOSE = 4e-6  # of the largest number, or of 1: sums of 300 products, each rounded by 6e-8
KINDS: dict[type[nn.Module], type[nn.Module]] = {Tanh: nn.Tanh, nn.ReLU: nn.ReLU}


def network(*widths: int, activation: type[nn.Module] = Tanh) -> Perceptron:
    made = mlp(widths, generator=seeded(0), activation=activation)
    with torch.no_grad():
        for i, p in enumerate(made.parameters()):
            p.add_(0.2 * torch.randn(p.shape, generator=seeded(i)))
    return made


def in_float64(own: Perceptron) -> nn.Sequential:
    layers = [KINDS[type(x)]() if type(x) in KINDS else copy.deepcopy(x) for x in own]
    return nn.Sequential(*layers).double()


def far(mine: Tensor | None, exact: Tensor | None) -> float:
    assert mine is not None
    assert exact is not None
    return float((mine.double() - exact).abs().max() / exact.abs().max().clamp(min=1))


def slopes_of(own: nn.Module, x: Tensor, slope: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(own(x), [x, *own.parameters()], slope))


@pytest.mark.parametrize("activation", KINDS)
@pytest.mark.parametrize("rows", [1, 8, 13, 64, 257])
@pytest.mark.parametrize(
    "widths",
    [(17, 64, 64, 6), (4, 64, 64, 1), (3, 5, 2), (33, 128, 16, 7), (23, 256, 300, 1), (5, 47, 31)],
)
def test_values_and_slopes_are_those_of_float64(
    widths: tuple[int, ...], rows: int, activation: type[nn.Module]
) -> None:
    own = network(*widths, activation=activation)
    x = torch.randn(rows, widths[0], generator=seeded(7)).requires_grad_()
    slope = torch.randn(rows, widths[-1], generator=seeded(8))
    assert own.kernel_form(x.detach()) is not None
    twin, exact_x = in_float64(own), x.detach().double().requires_grad_()
    assert far(own(x).detach(), twin(exact_x).detach()) < CLOSE
    with torch.no_grad():
        assert torch.equal(own(x), own(x))
    exact = slopes_of(twin, exact_x, slope.double())
    for mine, other in zip(slopes_of(own, x, slope), exact, strict=True):
        assert far(mine, other) < CLOSE


def q_network(*widths: int, layer_norm: bool = True) -> QNetwork:
    seen = Box(-torch.ones(9), torch.ones(9))
    made = QNetwork(seen, Choices((4,)), generator=seeded(0), widths=widths, layer_norm=layer_norm)
    with torch.no_grad():
        for i, p in enumerate(made.parameters()):
            p.add_(0.2 * torch.randn(p.shape, generator=seeded(i)))
    return made


@pytest.mark.parametrize("rows", [1, 13, 64, 257])
@pytest.mark.parametrize("widths", [(64, 64), (256, 256), (33, 7, 300), (5,), ()])
def test_normalised_layers_and_their_slopes_are_those_of_float64(
    widths: tuple[int, ...], rows: int
) -> None:
    own = q_network(*widths)
    x = torch.randn(rows, 9, generator=seeded(7))
    slope = torch.randn(rows, 4, generator=seeded(8))
    weights = own.kernel_form(x)
    assert weights is not None
    twin = copy.deepcopy(own).double()

    def exact(rows: Tensor) -> Tensor:
        return twin.streams[0](twin.trunk[1](rows))

    x.requires_grad_()
    exact_x = x.detach().double().requires_grad_()
    assert far(own(x).detach(), exact(exact_x).detach()) < CLOSE
    mine = torch.autograd.grad(go_through(x, weights, "relu"), [x, *own.parameters()], slope)
    other = torch.autograd.grad(exact(exact_x), [exact_x, *twin.parameters()], slope.double())
    for one, its in zip(mine, other, strict=True):
        assert far(one, its) < CLOSE


@pytest.mark.parametrize("layer_norm", [True, False])
def test_threads_change_no_bit(layer_norm: bool) -> None:
    """Of 300 rows through layers of 256, whose products they share."""
    own = q_network(256, 256, layer_norm=layer_norm)
    x = torch.randn(300, 9, generator=seeded(7))
    slope = torch.randn(300, 4, generator=seeded(8))
    weights = own.kernel_form(x)
    assert weights is not None
    answers = []
    for threads in (1, 2, 3, 2, 1):
        use_threads(threads)
        try:
            said, hidden = say(x, weights, "relu")
            gradient, below = torch.empty(sum(p.numel() for p in weights)), torch.empty_like(x)
            learn(x, hidden, slope, weights, "relu", gradient, below)
        finally:
            use_threads(None)
        answers.append((said, gradient, below))
    for answer in answers[1:]:
        assert all(map(torch.equal, answer, answers[0]))


@pytest.mark.parametrize(
    "case",
    ["other epsilon", "no shift", "hook", "hook between", "two streams", "pictures", "order"],
)
def test_torch_computes_what_the_kernel_does_not_of_normalised_layers(case: str) -> None:
    own = q_network(8, 8)
    stream: Any = own.streams[0]
    norm = stream[1]
    assert isinstance(norm, nn.LayerNorm)
    x = torch.randn(4, 9, generator=seeded(7))
    if case == "other epsilon":
        norm.eps = 1e-3
    if case == "no shift":
        stream[1] = nn.LayerNorm(8, bias=False)
    if case == "hook":
        norm.register_forward_hook(lambda module, given, said: 2 * torch.as_tensor(said))
    if case == "hook between":
        stream[2].register_forward_hook(lambda module, given, said: 2 * torch.as_tensor(said))
    if case == "order":
        stream[1], stream[2] = stream[2], stream[1]
    if case == "two streams":
        own = QNetwork(
            Box(-torch.ones(9), torch.ones(9)), Choices((4,)), generator=seeded(0), widths=(8, 8),
            dueling=True,
        )  # fmt: skip
    if case == "pictures":
        x = x[:, None]
    assert own.kernel_form(x) is None


class Halved(nn.Sequential):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) / 2


@pytest.mark.parametrize("case", ["longer trunk", "no trunk", "own stream"])
def test_a_network_that_was_changed_says_what_its_parts_say(case: str) -> None:
    own, x = q_network(8, 8), torch.randn(4, 9, generator=seeded(7))
    before = own(x)
    if case == "longer trunk":
        own.trunk.append(nn.Identity())
    if case == "no trunk":
        own.trunk = cast("Any", nn.Sequential(*own.trunk, nn.Identity()))
    if case == "own stream":
        own.streams[0] = Halved(*cast("Any", own.streams[0]))
        before = before / 2
    assert torch.allclose(own(x), before, atol=1e-6)


def test_far_out_tanh_is_one_and_what_is_no_number_stays_none() -> None:
    own = network(1, 1, 1)
    with torch.no_grad():
        for p in own.parameters():
            p.fill_(1.0)
        said = own(torch.tensor([[-1e30], [-20.0], [20.0], [math.inf], [math.nan]]))[:, 0]
    assert said[:4].tolist() == pytest.approx([0, 0, 2, 2], abs=1e-6)
    assert math.isnan(float(said[4]))
    rectified = network(1, 1, 1, activation=nn.ReLU)
    assert math.isnan(float(rectified(torch.tensor([[math.nan]])).detach()))


def test_the_slope_of_a_slope_is_that_of_float64() -> None:
    """As natural gradients take it (Schulman et al. 2015, appendix C)."""
    own = network(3, 8, 2)
    x = torch.randn(5, 3, generator=seeded(7))
    twin = in_float64(own)

    def second(net: nn.Module, rows: Tensor) -> list[Tensor]:
        first = torch.autograd.grad(
            net(rows).square().sum(), list(net.parameters()), create_graph=True
        )
        along = sum((g.square().sum() for g in first), torch.zeros(()))
        return list(torch.autograd.grad(along, list(net.parameters())))

    for mine, exact in zip(second(own, x), second(twin, x.double()), strict=True):
        assert far(mine, exact) < CLOSE


def test_what_is_frozen_is_given_no_gradient() -> None:
    own = network(3, 8, 2)
    own[0].requires_grad_(False)
    own(torch.ones(2, 3)).sum().backward()
    first, second = own[0], own[2]
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    assert first.weight.grad is None
    assert second.weight.grad is not None


@pytest.mark.parametrize(
    "case",
    [
        "float64", "wide", "hook", "hook between", "spectral norm", "autocast", "vmap", "no rows",
        "three dimensions", "sliced",
    ],
)  # fmt: skip
def test_torch_computes_what_the_kernel_does_not(case: str) -> None:
    own, x = network(3, 8, 2), torch.randn(4, 3, generator=seeded(7))
    if case == "float64":
        own, x = own.double(), x.double()
    if case == "wide":
        own = network(3, 600, 2)
    if case == "hook":
        own[0].register_forward_hook(lambda module, given, said: 2 * torch.as_tensor(said))
    if case == "hook between":
        own[1].register_forward_hook(lambda module, given, said: 2 * torch.as_tensor(said))
    if case == "spectral norm":
        spectral_norm(own[0])
        own.eval()  # in training each call says another norm
    if case == "no rows":
        x = x[:0]
    if case == "three dimensions":
        x = x[None]
    if case == "sliced":
        own = Perceptron(*list(own)[:-1])
    plain = nn.Sequential(*own)
    if case == "autocast":
        with torch.autocast("cpu", torch.bfloat16):
            assert own(x).dtype == torch.bfloat16
    elif case == "vmap":
        assert torch.allclose(torch.vmap(own)(x[:, None]), plain(x)[:, None], atol=1e-6)
    else:
        assert own.kernel_form(x) is None
        assert torch.equal(own(x), plain(x))


def test_rows_of_another_width_are_refused_as_torch_refuses_them() -> None:
    for width in (2, 4):
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            network(3, 8, 2)(torch.ones(4, width))


def test_what_torch_makes_by_default_is_nothing_to_it() -> None:
    """A notebook may have set another type of numbers."""
    own, x = network(3, 8, 2), torch.randn(4, 3, generator=seeded(7)).requires_grad_()
    before = [own(x).detach(), *slopes_of(own, x, torch.ones(4, 2))]
    try:
        torch.set_default_dtype(torch.float64)
        after = [own(x).detach(), *slopes_of(own, x, torch.ones(4, 2, dtype=torch.float32))]
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(map(torch.equal, before, after))
