"""The oracle is held to what can be computed by hand, and to its own definition of an optimum."""

from __future__ import annotations

import math

import pytest
import torch

from fledge.exact.enumerable import (
    Language,
    em_step,
    kl,
    log_success,
    objective,
    optimum,
    policy_gradient,
    posterior,
    truncated,
    value,
)


def table(language: Language, seed: int) -> torch.Tensor:
    shape = (len(language.prefixes), language.vocabulary)
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("stop", "sequences", "prefixes"), [(None, 27, 1 + 3 + 9), (2, 1 + 2 + 4 * 3, 1 + 2 + 4)]
)
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
    # ∂E[r]/∂z_a = π(a) (Q(a) − V) for the first symbol, times 0.6 for the second, which is asked
    # for that often
    expected = torch.tensor(
        [[0.6 * (2.5 - 1.9), 0.4 * (1 - 1.9)], [0.6 * 0.5 * -0.5, 0.6 * 0.5 * 0.5]],
        dtype=torch.float64,
    )
    torch.testing.assert_close(policy_gradient(language, logits, reward), expected)


def test_the_optimum_is_worth_beta_log_z_and_has_no_gradient() -> None:
    language, beta = Language(3, 3, stop=0), 0.7
    reference = language.log_prob(table(language, 1))
    reward = torch.randn(
        len(language.sequences), dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )
    best = optimum(reward, reference, beta)
    log_z = (reference.exp() * (reward / beta).exp()).sum().log()
    assert objective(best, reward, reference, beta).item() == pytest.approx(
        beta * log_z.item(), abs=1e-12
    )
    # the optimum as a table: π*(symbol | prefix) is a ratio of sums over the sequences that begin
    # so
    conditional = []
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


def test_the_posterior_is_bayes_rule() -> None:
    logp = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log()
    success = torch.tensor([0.1, 0.5, 0.0], dtype=torch.float64)
    assert log_success(logp, success).item() == pytest.approx(math.log(0.05 + 0.15))
    torch.testing.assert_close(
        posterior(logp, success).exp(), torch.tensor([0.25, 0.75, 0.0], dtype=torch.float64)
    )


def test_a_step_of_em_by_hand() -> None:
    language = Language(2, 2, stop=1)  # (1,), (0, 0), (0, 1)
    logits = torch.log(torch.tensor([[0.6, 0.4], [0.5, 0.5]], dtype=torch.float64))
    after = em_step(language, logits, torch.tensor([0.5, 1.0, 0.0], dtype=torch.float64))
    # 0.4·0.5 : 0.3·1 : 0.3·0 = 2 : 3 : 0
    torch.testing.assert_close(
        after.softmax(-1), torch.tensor([[0.6, 0.4], [1.0, 0.0]], dtype=torch.float64)
    )


@pytest.mark.parametrize("stop", [None, 0])
def test_exact_em_never_lowers_the_log_probability_of_success(stop: int | None) -> None:
    """And every step ends at the posterior. The sums are taken here, over the listed
    probabilities.
    """
    language = Language(3, 3, stop)
    for seed in range(30):
        logits = table(language, seed)
        random = torch.Generator().manual_seed(seed)
        success = torch.rand(len(language.sequences), dtype=torch.float64, generator=random)
        success[torch.rand(len(success), generator=random) < 0.3] = 0.0
        last = -math.inf
        for _ in range(12):
            p = language.log_prob(logits).exp()
            reached = math.log(float((p * success).sum()))
            assert reached >= last - 1e-12
            last = reached
            logits = em_step(language, logits, success)
            torch.testing.assert_close(
                language.log_prob(logits).exp(), p * success / (p * success).sum()
            )


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ({}, [0.4, 0.1, 0.3, 0.2]),
        ({"top_k": 2}, [4 / 7, 0, 3 / 7, 0]),
        ({"top_p": 0.5}, [4 / 7, 0, 3 / 7, 0]),
        ({"top_p": 0.75}, [4 / 9, 0, 3 / 9, 2 / 9]),
        # 4/9 + 3/9 = 0.78 of what the three hold
        (
            {"top_k": 3, "top_p": 0.75},
            [4 / 7, 0, 3 / 7, 0],
        ),
        ({"min_p": 0.6}, [4 / 7, 0, 3 / 7, 0]),
        ({"top_p": 0.75, "min_p": 0.6}, [4 / 7, 0, 3 / 7, 0]),
        ({"temperature": 0.5}, [16 / 30, 1 / 30, 9 / 30, 4 / 30]),
        ({"temperature": 0.5, "top_p": 0.5}, [1, 0, 0, 0]),
        ({"top_k": 1}, [1, 0, 0, 0]),
    ],
)
def test_truncated_distributions_by_hand(rule: dict[str, float], kept: list[float]) -> None:
    logits = torch.tensor([[0.4, 0.1, 0.3, 0.2]], dtype=torch.float64).log() + 3
    p = truncated(logits, **rule).softmax(-1)[0]  # pyright: ignore[reportArgumentType]
    torch.testing.assert_close(p, torch.tensor(kept, dtype=torch.float64))


def test_what_is_never_said_counts_nothing_in_a_kl() -> None:
    """π = (1, 0), π' = (½, ½): log 2, with a gradient that is a number; and infinite the other way
    round.
    """
    logits = torch.tensor([0.0, -math.inf], dtype=torch.float64, requires_grad=True)
    half = torch.tensor([0.5, 0.5], dtype=torch.float64).log()
    divergence = kl(logits.log_softmax(0), half)
    assert divergence.item() == pytest.approx(math.log(2))
    assert torch.autograd.grad(divergence, logits)[0].tolist() == [0.0, 0.0]
    reward = torch.tensor([3.0, 5.0], dtype=torch.float64)
    assert objective(logits.log_softmax(0), reward, half, 0.5).item() == pytest.approx(
        3 - 0.5 * math.log(2)
    )
    assert kl(half, logits.log_softmax(0).detach()).item() == math.inf
