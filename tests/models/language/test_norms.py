"""A frozen norm says PyTorch's bits, has the derivative of its formula, and keeps nothing but its
input for the backward pass.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fledge.models.language.norms import make_norm
from tests.subjects import seeded


@pytest.mark.parametrize("kind", ["rms", "rms_from_one"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_frozen_norm_says_the_same_bits(kind: str, dtype: torch.dtype) -> None:
    norm = make_norm(kind, 48, 1e-5)  # pyright: ignore[reportArgumentType]
    torch.nn.init.normal_(norm.weight, generator=seeded(1))
    x = torch.randn(3, 7, 48, generator=seeded(2)).to(dtype)
    learning = norm(x)
    norm.requires_grad_(False)
    assert torch.equal(norm(x), learning)


def test_its_gradient_is_that_of_the_formula_and_it_keeps_its_input() -> None:
    norm = make_norm("rms", 6, 1e-3).double().requires_grad_(False)
    torch.nn.init.normal_(norm.weight, generator=seeded(1))
    x = torch.randn(5, 6, dtype=torch.float64, generator=seeded(2), requires_grad=True)
    assert torch.autograd.gradcheck(norm, x)
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = norm(x)
    slope = torch.randn(y.shape, dtype=y.dtype, generator=seeded(3))
    [ours] = torch.autograd.grad((y * slope).sum(), x)
    [theirs] = torch.autograd.grad((F.rms_norm(x, (6,), norm.weight, 1e-3) * slope).sum(), x)
    torch.testing.assert_close(ours, theirs)
    assert [t.data_ptr() for t in kept if t.numel() >= x.numel()] == [x.data_ptr()]
