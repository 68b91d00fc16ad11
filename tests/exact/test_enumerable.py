"""The oracle is held to what can be computed by hand, and to its own definition of an optimum."""

from __future__ import annotations

import math

import pytest
import torch

from fledge.exact.enumerable import Language, kl, objective, optimum, policy_gradient, value


def table(language: Language, seed: int) -> torch.Tensor:
    shape = (len(language.prefixes), language.vocabulary)
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("stop", "sequences", "prefixes"), [(None, 27, 1 + 3 + 9), (2, 1 + 2 + 4 * 3, 1 + 2 + 4)])
def test_every_sequence_is_listed_once(stop: int | None, sequences: int, prefixes: int) -> None:
    language = Language(3, 3, stop)
    assert len(set(language.sequences)) == len(language.sequences) == sequences
    assert len(set(language.prefixes)) == len(language.prefixes) == prefixes


@pytest.mark.parametrize("stop", [None, 1])
def test_probabilities_add_up_to_one(stop: int | None) -> None:
    language = Language(4, 3, stop)
    assert language.log_prob(table(language, 0)).exp().sum().item() == pytest.approx(1, abs=1e-14)


def test_two_symbols_two_steps_by_hand() -> None:
    language = Language(2, 2, stop=1)
    assert language.sequences == [(1,), (0, 0), (0, 1)]
    logits = torch.log(torch.tensor([[0.6, 0.4], [0.5, 0.5]], dtype=torch.float64))
    reward = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    logp = language.log_prob(logits)
    torch.testing.assert_close(logp.exp(), torch.tensor([0.4, 0.3, 0.3], dtype=torch.float64))
    assert value(logp, reward).item() == pytest.approx(0.4 + 0.6 + 0.9)
    other = torch.log(torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64))
    assert kl(logp, other).item() == pytest.approx(0.4 * math.log(0.8) + 0.6 * math.log(1.2))
    # ∂E[r]/∂z_a = π(a) (Q(a) − V) for the first symbol, times 0.6 for the second, which is asked for that often
    expected = torch.tensor(
        [[0.6 * (2.5 - 1.9), 0.4 * (1 - 1.9)], [0.6 * 0.5 * -0.5, 0.6 * 0.5 * 0.5]], dtype=torch.float64
    )
    torch.testing.assert_close(policy_gradient(language, logits, reward), expected)


def test_the_optimum_is_worth_beta_log_z_and_has_no_gradient() -> None:
    language, beta = Language(3, 3, stop=0), 0.7
    reference = language.log_prob(table(language, 1))
    reward = torch.randn(len(language.sequences), dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    best = optimum(reward, reference, beta)
    log_z = (reference.exp() * (reward / beta).exp()).sum().log()
    assert objective(best, reward, reference, beta).item() == pytest.approx(beta * log_z.item(), abs=1e-12)
    conditional = []  # the optimum as a table: π*(symbol | prefix) is a ratio of sums over the sequences that begin so
    for prefix in language.prefixes:
        mass = [
            sum(
                p
                for p, word in zip(best.exp(), language.sequences, strict=True)
                if word[: len(prefix) + 1] == (*prefix, symbol)
            )
            for symbol in range(3)
        ]
        conditional.append(torch.stack([torch.as_tensor(m) for m in mass]).log())
    logits = torch.stack(conditional)
    torch.testing.assert_close(language.log_prob(logits), best)
    assert policy_gradient(language, logits, reward, reference, beta).abs().max().item() < 1e-12
    for seed in range(20):
        other = language.log_prob(logits + 0.1 * table(language, seed))
        assert objective(other, reward, reference, beta) < objective(best, reward, reference, beta)


def test_a_language_too_large_to_enumerate_is_refused() -> None:
    with pytest.raises(ValueError, match="5 symbols"):
        Language(5, 2)
