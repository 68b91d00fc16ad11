"""A layer of experts is the sum over experts that its formula says, however its tokens are sorted;
and its limit drops what comes too late, and nothing else.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fledge.models.language.mixture import (
    Experts,
    MixtureOfExperts,
    count_room,
    keep_within,
    limit_experts,
    watch_routing,
)
from tests.subjects import seeded, transformer


def make(experts: Experts, seed: int = 0) -> MixtureOfExperts:
    mixture = MixtureOfExperts(6, experts, F.silu).double()
    with torch.no_grad():
        for number, weight in enumerate([*mixture.parameters(), *mixture.buffers()]):
            weight.normal_(generator=seeded(10 * seed + number))
    return mixture


def sum_densely(mixture: MixtureOfExperts, x: Tensor, kept: Tensor | None = None) -> Tensor:
    """Every expert asked about every token, each answer times its weight, which is 0 for most."""
    e = mixture.experts
    logits = x @ mixture.router.weight.T
    score = logits.sigmoid() if e.corrected else logits.softmax(-1)
    by_rank = (score + mixture.bias if e.corrected else score).argsort(-1, descending=True)
    y = torch.zeros_like(x)
    for row, token in ((row, token) for row in range(len(x)) for token in range(x.shape[1])):
        best = by_rank[row, token, : e.used].tolist()
        whole = sum(score[row, token, i] for i in best) if e.normalised else 1.0
        for place, i in enumerate(best):
            if kept is not None and not kept[row, token, place]:
                continue
            gate, up = (mixture.gate_up[i] @ x[row, token]).chunk(2)
            answer = mixture.down[i] @ (gate * gate.sigmoid() * up)
            y[row, token] += score[row, token, i] / whole * answer
    return y


def test_it_is_the_sum_over_experts_with_its_gradient() -> None:
    for experts in (
        Experts(5, 2, 7), Experts(4, 4, 3), Experts(5, 3, 4, normalised=False),
        Experts(5, 2, 7, corrected=True),
    ):  # fmt: skip
        mixture = make(experts)
        x = torch.randn(3, 8, 6, generator=seeded(1), dtype=torch.float64, requires_grad=True)
        direction = torch.randn(3, 8, 6, generator=seeded(2), dtype=torch.float64)
        learned = [x, *mixture.parameters()]
        sides = [mixture(x), sum_densely(mixture, x)]
        torch.testing.assert_close(*sides)
        ours, theirs = (torch.autograd.grad((y * direction).sum(), learned) for y in sides)
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other)


def test_one_expert_is_a_dense_layer() -> None:
    dense = transformer(mlp_width=24)
    one = transformer(mlp_width=24, experts=Experts(1, 1, 24))
    state = dense.state_dict()
    moved = {
        name.replace(part, f"mixture.{part.removesuffix('.weight')}"): weight[None]
        for name, weight in state.items() for part in ("gate_up.weight", "down.weight")
        if name.endswith(part)
    }  # fmt: skip
    kept = {name: x for name, x in state.items() if "gate_up" not in name and "down" not in name}
    routers = {k: v for k, v in one.state_dict().items() if "router" in k}
    one.load_state_dict(kept | moved | routers)
    tokens = torch.randint(0, 11, (3, 20), generator=seeded(0))
    torch.testing.assert_close(one(tokens), dense(tokens), rtol=1e-6, atol=1e-6)


def test_a_limit_drops_exactly_what_comes_too_late() -> None:
    experts = Experts(4, 2, 5)
    assert [count_room(c, 12, experts) for c in (0.5, 1.0, 1.1, 2.0)] == [3, 6, 7, 12]
    mixture = make(experts, seed=3)
    x = torch.randn(2, 12, 6, generator=seeded(4), dtype=torch.float64)
    with watch_routing(mixture) as said, limit_experts(mixture, 4):
        y = mixture(x)
    chosen, kept = (part.view(2, 12, 2) for part in (said[0].expert, said[0].kept))
    counted = torch.zeros(2, 4, dtype=torch.long)
    for row, token, place in ((r, t, p) for r in range(2) for t in range(12) for p in range(2)):
        expert = chosen[row, token, place]
        counted[row, expert] += 1
        assert kept[row, token, place] == (counted[row, expert] <= 4)
    assert 0 < int((~kept).sum()) < kept.numel()
    torch.testing.assert_close(y, sum_densely(mixture, x, kept))
    # neither what comes later nor another row changes what a token is answered
    with limit_experts(mixture, 4):
        torch.testing.assert_close(mixture(x[1:, :7]), y[1:, :7])
    torch.testing.assert_close(mixture(x), sum_densely(mixture, x))  # the limit has ended
    assert keep_within(torch.zeros(1, 5, 1, dtype=torch.long), 3, 2).flatten().tolist() == [
        True, True, False, False, False,
    ]  # fmt: skip
