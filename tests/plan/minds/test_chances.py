"""Products with the chances of moves, in every form, beside sums over all states."""

from __future__ import annotations

import pytest
import torch

from fledge.plan.minds import chances as module
from fledge.plan.minds.chances import Chances


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("worlds", [1, 3])
def test_products_are_sums_over_all_states(
    sparse: bool, alike: bool, worlds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SMALLEST", 1 if sparse else 10**9)
    monkeypatch.setattr(module, "FEW", 0.9)
    A, S = 3, 5
    random = torch.Generator().manual_seed(worlds + 10 * alike)
    draw = lambda *shape: torch.rand(*shape, dtype=torch.float64, generator=random)  # noqa: E731
    transition = draw(worlds, A, S, S) * (draw(worlds, A, S, S) < 0.4)
    if alike:
        transition = transition[:1].expand(worlds, A, S, S)
    value, flow = draw(worlds, S), draw(worlds, A, S)
    chances = Chances(transition)
    assert chances.sparse == sparse
    assert chances.alike == (alike or worlds == 1)
    p, v, f = transition.tolist(), value.tolist(), flow.tolist()
    expected = [
        [[sum(p[w][a][s][n] * v[w][n] for n in range(S)) for s in range(S)] for a in range(A)]
        for w in range(worlds)
    ]
    torch.testing.assert_close(chances.spread(value), torch.tensor(expected, dtype=torch.float64))
    comes = [
        [sum(p[w][a][s][n] * f[w][a][s] for a in range(A) for s in range(S)) for n in range(S)]
        for w in range(worlds)
    ]
    torch.testing.assert_close(
        chances.follow(flow.flatten(1), torch.empty(worlds, S).double()),
        torch.tensor(comes, dtype=torch.float64),
    )


def test_a_large_map_is_sparse_and_a_small_one_is_not() -> None:
    S = 400
    moves = torch.eye(S, dtype=torch.float64).roll(1, 1).expand(1, 4, S, S)
    assert Chances(moves).sparse
    assert not Chances(moves[:, :, :100, :100]).sparse
    assert not Chances(torch.full((1, 4, 200, 200), 1 / 200).double()).sparse
