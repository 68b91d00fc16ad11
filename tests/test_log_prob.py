"""Tokens are drawn from the distribution that is written down, and scored under the same one."""

from __future__ import annotations

from functools import reduce
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fledge.errors import UserError
from fledge.log_prob import PLAIN, Decoding, draw, log_prob, restrict, size_chunk
from fledge.policy import TokenPolicy
from fledge.sample.generate import generate
from tests.subjects import TableNetwork, come_as_often_as, seeded, truncated

SYMBOLS, LENGTH = 5, 6
RULES = [
    PLAIN,
    Decoding(temperature=0.5),
    Decoding(temperature=1.7),
    Decoding(top_k=2),
    Decoding(top_p=0.7),
    Decoding(min_p=0.3),
    Decoding(temperature=0.8, top_k=3, top_p=0.9),
    Decoding(temperature=1.4, top_k=4, top_p=0.95, min_p=0.1),
]


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("samples", [20_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_whole_sequences_come_as_often_as_their_exact_probability_says(
    samples: int, rule: Decoding
) -> None:
    """A language of 5 symbols and 6 steps, where 0 stops: so many completions against the exact
    truncated distribution.

    One χ² over all sequences that are expected 10 times or more, the rest as one class; false alarm
    1 in 10,000 (fixed seed).
    """
    network = TableNetwork(SYMBOLS, LENGTH, seed=1, scale=1.5, markov=True)
    policy = TokenPolicy(network, rule=rule)
    completions = generate(
        policy, [[SYMBOLS]], max_new_tokens=LENGTH, stop=0, samples=samples, generator=seeded(2)
    )

    conditional: dict[tuple[int, ...], list[float]] = {}

    def after(prefix: tuple[int, ...]) -> list[float]:
        if prefix not in conditional:
            column = reduce(network.child, prefix, 0)
            conditional[prefix] = truncated(network.table[:, column].tolist(), rule)
        return conditional[prefix]

    exact: dict[tuple[int, ...], float] = {}
    alive = {(): 1.0}
    for _ in range(LENGTH):
        longer = {
            (*w, s): p * after(w)[s]
            for (w, p), s in product(alive.items(), range(SYMBOLS))
            if after(w)[s] > 0
        }
        exact |= {w: p for w, p in longer.items() if w[-1] == 0}
        alive = {w: p for w, p in longer.items() if w[-1] != 0}
    exact |= alive
    assert sum(exact.values()) == pytest.approx(1)

    count: dict[tuple[int, ...], int] = {}
    for completion in completions:
        word = tuple(completion.tokens)
        assert word in exact, "a sequence of probability 0 was sampled"
        count[word] = count.get(word, 0) + 1
        assert completion.stopped == (word[-1] == 0)
        steps = [after(word[:t])[symbol] for t, symbol in enumerate(word)]
        np.testing.assert_allclose(completion.logp, np.log(steps), atol=1e-5)
    come_as_often_as(exact, count)


def test_greedy_takes_the_likeliest_token_at_every_step() -> None:
    network = TableNetwork(SYMBOLS, LENGTH, seed=1, markov=True)
    word: list[int] = []
    while len(word) < LENGTH and (not word or word[-1] != 0):
        column = reduce(network.child, word, 0)
        word.append(max(range(SYMBOLS), key=network.table[:, column].tolist().__getitem__))
    for rule in (Decoding(temperature=0), Decoding(top_k=1)):
        (completion,) = generate(
            TokenPolicy(network, rule=rule), [[SYMBOLS]], max_new_tokens=LENGTH, stop=0
        )
        assert completion.tokens == word
        assert completion.logp == [0.0] * len(word)


# no ties
logits_lists = st.lists(
    st.integers(-64, 64).map(lambda n: n / 8), min_size=1, max_size=9, unique=True
)
rules = st.builds(
    Decoding,
    st.floats(0.1, 3),
    st.integers(0, 10),
    st.floats(0.01, 1),
    st.just(0.0) | st.floats(0.01, 0.99),
)


@settings(max_examples=300, deadline=None)
@given(logits_lists, rules)
def test_restricted_logits_are_the_rule_by_its_definition(
    logits: list[float], rule: Decoding
) -> None:
    expected = truncated(logits, rule) if not rule.greedy else None
    if expected is None:
        return
    weights = sorted(np.exp(np.array(logits) / rule.temperature), reverse=True)
    kept = weights[: rule.top_k or len(weights)]
    gap = np.cumsum(kept) / sum(kept)
    if np.abs(gap - rule.top_p).min() < 1e-9 and rule.top_p < 1:
        return  # the mass meets top_p to the last digit: either set is right
    probabilities = restrict(torch.tensor([logits], dtype=torch.float64), rule).softmax(-1)[0]
    np.testing.assert_allclose(probabilities, expected, rtol=1e-9, atol=1e-15)


def test_what_is_no_action_has_no_probability_and_the_rest_is_renormalised() -> None:
    logits = torch.tensor([[9.0, 1.0, 2.0, 8.0]])
    allowed = torch.tensor([False, True, True, False])
    p = restrict(logits, Decoding(top_k=3), allowed).softmax(-1)[0]
    np.testing.assert_allclose(p, [0, *truncated([1.0, 2.0], PLAIN), 0], rtol=1e-6)


def test_an_action_sampled_earlier_stays_on_the_support() -> None:
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0]])
    p = restrict(logits, Decoding(top_k=2), keep=torch.tensor([3])).softmax(-1)[0]
    assert (p > 0).tolist() == [True, True, False, True]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("vocabulary", [2, 7, 300, 5000])
def test_a_token_of_probability_zero_is_never_drawn(dtype: torch.dtype, vocabulary: int) -> None:
    """At both ends of the uniform numbers, with zeros at the front, at the back and between."""
    logits = torch.randn(400, vocabulary, dtype=dtype, generator=seeded(0))
    dead = torch.rand(400, vocabulary, generator=seeded(1)) < 0.5
    dead[:200, 0] = dead[200:, -1] = True
    dead[
        torch.arange(400), torch.randint(1, max(2, vocabulary - 1), (400,), generator=seeded(2))
    ] = False
    if vocabulary == 2:
        dead = torch.arange(2) == (torch.arange(400)[:, None] >= 200)
    logits[dead] = -torch.inf
    for u in (0.0, 2.0**-24, 1 - 2.0**-24, 1 - 2.0**-53):
        action, logp = draw(logits, torch.full((400,), u, dtype=torch.float64))
        assert not dead[torch.arange(400), action].any(), u
        torch.testing.assert_close(logp, logits.log_softmax(-1)[torch.arange(400), action])


def test_a_draw_inverts_the_cumulative_distribution() -> None:
    logits = torch.tensor([0.2, 0.0, 0.5, 0.3], dtype=torch.float64).log()
    uniform = torch.tensor([0.0, 0.1999, 0.2001, 0.6999, 0.7001, 0.9999])
    action, logp = draw(logits.expand(6, 4), uniform)
    assert action.tolist() == [0, 0, 2, 2, 3, 3]
    np.testing.assert_allclose(logp.exp(), [0.2, 0.2, 0.5, 0.5, 0.3, 0.3])


def plain_log_prob(
    hidden: Tensor, weight: Tensor, action: Tensor, rule: Decoding, allowed: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Whole logits, plain autograd, one row at a time."""
    logp, entropy = [], []
    for h, a in zip(hidden, action.tolist(), strict=True):
        logits = weight @ h
        inside = torch.tensor([p > 0 for p in truncated(masked(logits.tolist(), allowed), rule)])
        inside[a] = True
        kept = (logits[inside] / rule.temperature).log_softmax(0)
        logp.append(kept[int(inside[:a].sum())])
        entropy.append(-(kept.exp() * kept).sum())
    return torch.stack(logp), torch.stack(entropy)


def masked(logits: list[float], allowed: Tensor | None) -> list[float]:
    return [
        x if allowed is None or ok else -1e9
        for x, ok in zip(logits, allowed if allowed is not None else logits, strict=True)
    ]


def problem(n: int = 13, d: int = 4, v: int = 9) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    hidden = torch.randn(n, d, dtype=torch.float64, generator=seeded(0))
    weight = torch.randn(v, d, dtype=torch.float64, generator=seeded(1))
    action = torch.randint(2, v, (n,), generator=seeded(2))
    return hidden, weight, action, torch.arange(v) >= 2


@pytest.mark.parametrize("restricted", [False, True])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_chunked_log_probabilities_and_entropies_equal_the_whole_table(
    rule: Decoding, restricted: bool
) -> None:
    hidden, weight, action, allowed = problem()
    only = allowed if restricted else None
    slopes = torch.randn(2, 13, dtype=torch.float64, generator=seeded(3))
    hidden.requires_grad_(True)
    weight.requires_grad_(True)
    whole = plain_log_prob(hidden, weight, action, rule, only)
    whole_gradient = torch.autograd.grad(
        (slopes[0] * whole[0] + slopes[1] * whole[1]).sum(), (hidden, weight)
    )
    for chunk in (1, 4, 13, 1024):
        pieces = log_prob(hidden, weight, action, rule, only, chunk=chunk, entropy=True)
        gradient = torch.autograd.grad(
            (slopes[0] * pieces[0] + slopes[1] * pieces[1]).sum(), (hidden, weight)
        )
        for one, other in zip((*pieces, *gradient), (*whole, *whole_gradient), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_without_entropies_there_are_zeros_and_the_same_log_probabilities(rule: Decoding) -> None:
    hidden, weight, action, allowed = problem()
    logp, spread = log_prob(hidden, weight, action, rule, allowed, chunk=4)
    assert torch.equal(spread, torch.zeros(13, dtype=torch.float64))
    whole = plain_log_prob(hidden, weight, action, rule, allowed)[0]
    torch.testing.assert_close(logp, whole, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_gradient_of_the_chunked_log_probability_by_finite_differences(rule: Decoding) -> None:
    hidden, weight, action, allowed = problem(n=5)
    inputs = (hidden.requires_grad_(True), weight.requires_grad_(True))
    assert torch.autograd.gradcheck(
        lambda h, w: log_prob(h, w, action, rule, allowed, chunk=2, entropy=True), inputs
    )


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that any operation has made."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, tuple | list) else [made]:
            # not a view
            if isinstance(one, Tensor) and one.untyped_storage().nbytes() == one.nbytes:
                self.elements = max(self.elements, one.numel())
        return made


@pytest.mark.parametrize("rule", [PLAIN, Decoding(top_k=50, top_p=0.9)], ids=str)
def test_the_logits_never_exist_whole(rule: Decoding) -> None:
    """Neither forward nor backward makes a tensor larger than `chunk` rows of logits, or than the
    weights.
    """
    hidden, weight, action, _ = problem(n=600, d=2, v=300)
    hidden.requires_grad_(True)
    with Largest() as forward:
        logp, entropy = log_prob(hidden, weight, action, rule, chunk=8, entropy=True)
    with Largest() as backward:
        (logp + entropy).sum().backward()
    assert forward.elements == backward.elements == 8 * 300


def test_a_chunk_of_a_large_vocabulary_is_32_megabytes_on_a_cpu() -> None:
    large = torch.empty(49_152, 1)
    assert 30e6 < 4 * size_chunk(1024, large) * len(large) < 34e6
    assert size_chunk(1024, torch.empty(300, 1)) == 1024
    assert size_chunk(16, large) == 16
    assert size_chunk(1024, torch.empty(2**18, 1)) == 128
    assert size_chunk(1024, torch.empty(49_152, 1, device="meta")) == 1024


def test_softmax_is_float32_when_the_product_is_bfloat16() -> None:
    hidden, weight, action, allowed = (x.float() if x.is_floating_point() else x for x in problem())
    exact = log_prob(hidden, weight, action, PLAIN, allowed)[0]
    with torch.autocast("cpu", torch.bfloat16):
        logp, _ = log_prob(hidden, weight, action, PLAIN, allowed)
    assert logp.dtype == torch.float32
    assert (
        logp - exact
    ).abs().max() < 0.1  # logits up to 8 in size, of which bfloat16 keeps 8 bits: within 0.03 each


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -1.0),
        ("temperature", float("nan")),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("min_p", -0.1),
    ],
)
def test_values_that_describe_no_distribution_are_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(UserError, match=field):
        Decoding(**{field: value})  # pyright: ignore[reportArgumentType]


def test_a_greedy_rule_has_no_log_probability_to_train_on() -> None:
    hidden, weight, action, _ = problem()
    with pytest.raises(ValueError, match="greedy"):
        log_prob(hidden, weight, action, Decoding(temperature=0))


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_capped_logits_have_the_chances_and_gradients_of_their_formula(rule: Decoding) -> None:
    """In float64: torch's own gradient of the formula, written out, is the oracle."""
    n, v, d, cap = 7, 9, 4, 2.0
    hidden, weight = (
        torch.randn(k, d, generator=seeded(k), dtype=torch.float64).requires_grad_() for k in (n, v)
    )
    allowed = torch.arange(v) != 3
    logits = cap * torch.tanh((hidden @ weight.T) / cap)
    p = restrict(logits, rule, allowed).log_softmax(-1)
    action = p.detach().argmax(-1)
    chance = p.gather(-1, action[:, None]).squeeze(-1)
    spread = -(p.exp() * p.masked_fill(p == -torch.inf, 0)).sum(-1)
    wanted = torch.autograd.grad((chance * action + 2 * spread).sum(), (hidden, weight))
    said = log_prob(hidden, weight, action, rule, allowed, chunk=3, entropy=True, cap=cap)
    torch.testing.assert_close(said, (chance, spread))
    own = torch.autograd.grad((said[0] * action + 2 * said[1]).sum(), (hidden, weight))
    torch.testing.assert_close(own, wanted)


@pytest.mark.parametrize("kept", [0, 30, 2**23])  # no chunk, the first of 28 numbers, all
@pytest.mark.parametrize("rule", [Decoding(), Decoding(temperature=0.7, top_k=3)])
def test_the_gradient_is_the_same_of_chunks_kept_made_again_and_of_a_weight_that_stands_still(
    rule: Decoding, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fledge.log_prob.KEPT", kept)
    hidden = torch.randn(9, 5, dtype=torch.float64, generator=seeded(1))
    weight = torch.randn(7, 5, dtype=torch.float64, generator=seeded(2))
    allowed = torch.tensor([True] * 6 + [False])
    action = restrict(hidden @ weight.T, rule, allowed).argmax(-1)
    given = torch.randn(9, dtype=torch.float64, generator=seeded(3))

    def gradient(learns: bool) -> Tensor:
        h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_(learns)
        logp, _ = log_prob(h, w, action, rule, allowed, chunk=4)
        logp.backward(given)
        assert h.grad is not None
        return torch.cat([h.grad, w.grad]) if w.grad is not None else h.grad

    plain = hidden.clone().requires_grad_()  # by autograd, the logits whole
    last = weight.clone().requires_grad_()
    whole = restrict(plain @ last.T, rule, allowed).log_softmax(-1)
    whole.gather(-1, action[:, None]).squeeze(-1).backward(given)
    assert plain.grad is not None
    assert last.grad is not None
    torch.testing.assert_close(gradient(learns=False), plain.grad)
    torch.testing.assert_close(gradient(learns=True), torch.cat([plain.grad, last.grad]))
