"""What a changed model lost, beside sums over its whole vocabulary; and bounds that hold whatever
follows.
"""

from __future__ import annotations

import math

import pytest
import torch

from fledge.errors import Diverged, UserError
from fledge.evaluate.fidelity import measure_fidelity
from fledge.policy import TokenPolicy
from fledge.text.tokenizer import train_tokenizer
from fledge.trajectories import Trajectories, from_rows
from tests.subjects import seeded, transformer

LETTERS = train_tokenizer("characters", ["abcde"])  # 11 tokens
ALLOWED = torch.arange(11) >= 4


def make_policies(noise: float = 0.05) -> tuple[TokenPolicy, TokenPolicy]:
    before, after = transformer(), transformer()
    with torch.no_grad():
        for number, weight in enumerate(after.parameters()):
            weight += noise * torch.randn(weight.shape, generator=seeded(number))
    return TokenPolicy(before, ALLOWED), TokenPolicy(after, ALLOWED)


def draw_rows(seed: int = 0) -> Trajectories:
    ids = torch.randint(6, 11, (6, 20), generator=seeded(seed))
    chosen = torch.rand(6, 20, generator=seeded(seed + 1)) < 0.6
    return from_rows(ids.tolist(), chosen.tolist(), 0)


def test_figures_are_sums_over_the_vocabulary() -> None:
    before, after = make_policies()
    rows = draw_rows()
    measured = measure_fidelity(before, after, [rows, rows], LETTERS)
    with torch.no_grad():
        p, q = (
            (policy.network(rows.obs[:, :-1]) @ policy.network.unembedding.T)[..., ALLOWED]
            .double().softmax(-1)
            for policy in (before, after)
        )  # fmt: skip
    wanted = {"kl": 0.0, "largest": 0.0, "before": 0.0, "after": 0.0}
    tokens = 0
    for row, column in rows.chosen.nonzero().tolist():
        one, other = p[row, column], q[row, column]
        said = int(rows.action[row, column]) - 4
        wanted["kl"] += float((one * (one / other).log()).sum())
        wanted["largest"] += float((one / other).log().abs().max())
        wanted["before"] -= math.log(one[said])
        wanted["after"] -= math.log(other[said])
        tokens += 1
    assert (measured.tokens, measured.bytes) == (2 * tokens, 2 * tokens)  # letters of a byte
    assert measured.kl == pytest.approx(2 * wanted["kl"], rel=1e-4)
    assert measured.largest == pytest.approx(2 * wanted["largest"], rel=1e-4)
    assert measured.loss_before == pytest.approx(2 * wanted["before"], rel=1e-4)
    assert measured.loss_after == pytest.approx(2 * wanted["after"], rel=1e-4)
    sides = measured.list_figures()
    bits = wanted["after"] / math.log(2) / tokens
    assert sides[1]["bits_per_byte"] == pytest.approx(bits, rel=1e-4)
    assert sides[0]["loss"] == pytest.approx(wanted["before"] / tokens, rel=1e-4)


def test_a_model_beside_itself_has_lost_nothing() -> None:
    before, _ = make_policies()
    bounds = measure_fidelity(before, before, [draw_rows()], LETTERS).list_bounds()
    assert set(bounds.values()) == {0.0}


@pytest.mark.parametrize("noise", [0.01, 0.1, 0.5])
def test_the_bounds_hold_whatever_follows(noise: float) -> None:
    before, after = make_policies(noise)
    for seed in range(8):
        bounds = measure_fidelity(before, after, [draw_rows(seed)], LETTERS).list_bounds()
        assert abs(bounds["loss_rise"]) <= bounds["loss_rise_bound"]
        assert bounds["base_kl"] <= bounds["loss_rise_bound"]


def test_no_event_s_probability_changes_by_more() -> None:
    before, after = make_policies(0.3)
    rows = draw_rows()
    bound = measure_fidelity(before, after, [rows], LETTERS).list_bounds()
    with torch.no_grad():
        p, q = (
            policy.logits(policy.hidden(rows.obs[:, :-1])[rows.chosen]).softmax(-1)
            for policy in (before, after)
        )
    changes = (p - q).abs().sum(-1) / 2  # of the event that changes most
    assert 0 < float(changes.mean()) <= bound["probability_change_bound"]


def test_nothing_to_measure_and_no_numbers() -> None:
    before, after = make_policies()
    rows = draw_rows()
    with pytest.raises(UserError, match="no token to foretell"):
        measure_fidelity(before, after, [], LETTERS)
    with torch.no_grad():
        after.network.norm.weight.fill_(math.nan)
    with pytest.raises(Diverged):
        measure_fidelity(before, after, [rows], LETTERS)
