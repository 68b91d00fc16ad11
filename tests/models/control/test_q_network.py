"""A Q-network is a table where it has no hidden layer, the papers' convolution over pictures, and V
+ A − mean A where it duels.
"""

from __future__ import annotations

import pytest
import torch

from fledge.errors import UserError
from fledge.models.control.q_network import QNetwork
from fledge.worlds.world import Box, Choices, Space
from tests.subjects import seeded

VECTOR = Box(torch.full((3,), -1.0), torch.full((3,), 1.0))


def pictures(*shape: int) -> Box:
    return Box(torch.zeros(shape, dtype=torch.uint8), torch.full(shape, 255, dtype=torch.uint8))


def network(observation: Space = VECTOR, actions: int = 4, **settings: object) -> QNetwork:
    return QNetwork(
        observation,
        Choices((actions,)),
        generator=seeded(0),
        **settings,  # pyright: ignore[reportArgumentType]
    )


def test_without_hidden_layers_it_is_a_table_over_choices() -> None:
    q = network(Choices((5,)), widths=())
    weight, bias = q.parameters()
    assert weight.shape == (4, 5)
    torch.testing.assert_close(q(torch.arange(5)), weight.T + bias)


@pytest.mark.parametrize("layer_norm", [True, False])
def test_a_perceptron_written_out(layer_norm: bool) -> None:
    """x → max(0, norm(Wx + b)) → linear, in plain tensors."""
    q = network(widths=(6,), layer_norm=layer_norm)
    with torch.no_grad():
        for p in q.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=seeded(1)))
    matrices = [p.detach() for p in q.parameters() if p.ndim == 2]
    vectors = [p.detach() for p in q.parameters() if p.ndim == 1]
    x = torch.randn(7, 3, generator=seeded(2))
    h = x @ matrices[0].T + vectors[0]
    if layer_norm:
        away = h - h.mean(1, keepdim=True)
        h = away / (away.square().mean(1, keepdim=True) + 1e-5).sqrt() * vectors[1] + vectors[2]
    torch.testing.assert_close(q(x).detach(), h.clamp(min=0) @ matrices[1].T + vectors[-1])


def test_the_convolution_is_the_papers() -> None:
    """1,687,206 numbers for 4 frames of 84 × 84 and 6 actions, as in the network of Mnih et al.
    2015 (three convolutions, 512, 6).
    """
    q = network(pictures(4, 84, 84), actions=6, widths=(512,), layer_norm=False)
    assert sum(p.numel() for p in q.parameters()) == 1_687_206
    obs = torch.randint(0, 256, (2, 4, 84, 84), generator=seeded(0), dtype=torch.uint8)
    assert q(obs).shape == (2, 6)


def test_pictures_are_scaled_to_0_1() -> None:
    """One place of the first convolution by hand: rows and columns 8 to 15 of a picture whose bytes
    are divided by 255.
    """
    q = network(pictures(2, 40, 36), widths=(16,))
    first = next(module for module in q.modules() if isinstance(module, torch.nn.Conv2d))
    seen = torch.randint(0, 256, (1, 2, 40, 36), generator=seeded(0), dtype=torch.uint8)
    taken: list[torch.Tensor] = []
    first.register_forward_hook(lambda *seen: taken.append(seen[2]))
    q(seen)
    assert first.bias is not None
    by_hand = (first.weight[5].double() * seen[0, :, 8:16, 8:16].double() / 255).sum() + first.bias[
        5
    ]
    assert taken[0][0, 5, 2, 2].item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_where_it_duels_the_mean_over_actions_is_v_and_a_common_shift_of_a_is_nothing() -> None:
    q = network(dueling=True, widths=(8, 8))
    x = torch.randn(5, 3, generator=seeded(1))
    before, shared = q(x), q.trunk(x)
    value, advantage = q.streams[1](shared), q.streams[0](shared)
    torch.testing.assert_close(before.mean(1, keepdim=True), value)
    torch.testing.assert_close(before - before[:, :1], advantage - advantage[:, :1])
    with torch.no_grad():
        q.streams[0][-1].bias.add_(3.0)  # pyright: ignore[reportIndexIssue]
    torch.testing.assert_close(q(x), before)


def test_other_actions_and_pictures_that_are_too_small_are_refused() -> None:
    with pytest.raises(UserError, match="one choice out of n"):
        QNetwork(VECTOR, VECTOR, generator=seeded(0))
    with pytest.raises(UserError, match="one choice out of n"):
        QNetwork(VECTOR, Choices((2, 3)), generator=seeded(0))
    with pytest.raises(UserError, match=r"35 × 84 pixels.*36 × 36"):
        network(pictures(4, 35, 84))
    network(pictures(4, 36, 36))
