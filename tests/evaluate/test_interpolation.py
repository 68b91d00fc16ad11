"""The weights of models that foretell together are those of the likeliest mixture."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.evaluate.interpolation import fit_weights, measure_interpolated
from fledge.text.tokenizer import train_tokenizer
from fledge.trajectories import from_rows


def test_they_are_the_fixed_point_in_closed_form() -> None:
    """Two models of two tokens that came 6 and 4 times: the mixture gives the first 6/10 where
    0.9 λ + 0.2 (1 − λ) = 0.6, that is λ = 4/7.
    """
    p = torch.tensor([[0.9, 0.2]] * 6 + [[0.1, 0.8]] * 4, dtype=torch.float64)
    assert fit_weights(p.log()).tolist() == pytest.approx([4 / 7, 3 / 7], abs=1e-5)
    # both say 0.6 and less of what came 9 times in 10: the better one alone
    p = torch.tensor([[0.6, 0.5]] * 9 + [[0.4, 0.5]], dtype=torch.float64)
    assert fit_weights(p.log()).tolist() == pytest.approx([1, 0], abs=1e-4)
    # a token that only one can say gives it a weight; one that none can say changes nothing
    p = torch.tensor([[0.5, 0.5], [0.0, 0.1], [0.0, 0.0]], dtype=torch.float64)
    assert fit_weights(p.log()).tolist() == pytest.approx([0, 1], abs=1e-3)


class Unigram:
    def __init__(self, logp: Tensor) -> None:
        self.logp = logp  # [V]

    def log_prob(self, obs: Tensor, action: Tensor, chosen: Tensor) -> Tensor:
        return torch.where(chosen, self.logp[action], 0.0)


def test_a_mixture_is_measured_token_by_token() -> None:
    tokenizer = train_tokenizer("characters", ["ab"])
    a, b = tokenizer.encode("ab")
    policies: list[Any] = []
    for share in (0.9, 0.2):
        logp = torch.full((tokenizer.vocab_size,), -math.inf)
        logp[a], logp[b] = math.log(share), math.log(1 - share)
        policies.append(Unigram(logp))
    rows = from_rows([[0, *[a] * 6, *[b] * 4]], [[False] + [True] * 10])
    both = measure_interpolated(policies, tokenizer, [rows], [rows])
    assert both.weights == pytest.approx([4 / 7, 3 / 7], abs=1e-4)
    nats = -6 * math.log(0.6) - 4 * math.log(0.4)
    assert both.together.nats == pytest.approx(nats, rel=1e-6)
    assert both.each[0].nats == pytest.approx(-6 * math.log(0.9) - 4 * math.log(0.1), rel=1e-5)
    assert (both.together.tokens, both.together.bytes) == (10, 10)
