"""The activation of small networks is torch's tanh, with its first and second derivatives."""

from __future__ import annotations

import torch

from fledge.models.control.mlp import Tanh


def test_it_is_tanh_and_so_are_its_derivatives() -> None:
    x = torch.cat([torch.linspace(-12, 12, 20_001), torch.tensor([-1e4, 1e4])]).requires_grad_()
    pairs = []
    for y in (Tanh()(x), x.tanh()):
        (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        (bend,) = torch.autograd.grad(slope.sum(), x)
        pairs.append((y, slope, bend))
    for ours, theirs, bound in zip(*pairs, (2.4e-7, 1e-6, 4e-6), strict=True):
        torch.testing.assert_close(ours, theirs, atol=bound, rtol=0)
