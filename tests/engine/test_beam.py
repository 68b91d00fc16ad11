"""Beam search is held to enumeration, to its definition in plain Python, and to `transformers`;
none of them shares its code.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import cache, reduce
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fledge.engine.beam import Hypothesis, beam_search
from fledge.engine.best_of import best_of
from fledge.engine.engine import Engine
from fledge.engine.forms import make_form
from fledge.engine.request import Completion, Request
from fledge.engine.structures import choice, regex
from fledge.engine.vocabulary import Vocabulary
from fledge.errors import UserError
from fledge.hub.folder import save_model
from fledge.log_prob import Decoding
from fledge.policy import TokenPolicy
from fledge.sample.generate import generate
from fledge.text.tokenizer import train_tokenizer
from fledge.verify.table import TableWalk
from tests.subjects import TableNetwork, policy_of, seeded, transformer

SYMBOLS, LENGTH = 5, 6
Word = tuple[int, ...]
After = Callable[[Word], Sequence[float]]  # log π of every token after what has been said
Ranked = list[tuple[float, Word, list[float]]]  # score, tokens, logp of each; best first
NOTHING = -math.inf


def of_table(network: TableNetwork, bias: Sequence[float] | None = None) -> After:
    logits = network.table.detach().numpy().T + np.array(bias or [0.0] * SYMBOLS)
    logp = (logits - np.log(np.exp(logits).sum(1, keepdims=True))).tolist()
    return lambda word: logp[reduce(network.child, word, 0)]


def of_network(policy: TokenPolicy, prompt: Sequence[int]) -> After:
    """One plain forward pass for each prefix."""

    @cache
    def after(word: Word) -> list[float]:
        with torch.no_grad():
            row = torch.tensor([[*prompt, *word]])
            return policy.logits(policy.hidden(row)[:, -1])[0].log_softmax(-1).tolist()

    return after


def ranked(ended: list[tuple[Word, list[float]]], penalty: float) -> Ranked:
    return sorted(
        [(sum(logp) / len(word) ** penalty, word, logp) for word, logp in ended],
        key=lambda one: -one[0],
    )


def enumerated(
    after: After,
    length: int,
    stop: frozenset[int],
    penalty: float,
    may: Callable[[Word], bool] = lambda _: True,
) -> Ranked:
    """Every sequence that ends in a stop token or with its length, and that `may` be said."""
    ended, live = [], [((), [])]
    for _ in range(length):
        longer = [
            ((*w, s), [*steps, p])
            for w, steps in live
            for s, p in enumerate(after(w))
            if p > NOTHING
        ]
        ended += [one for one in longer if one[0][-1] in stop]
        live = [one for one in longer if one[0][-1] not in stop]
    return ranked([one for one in ended + live if may(one[0])], penalty)


def by_definition(
    after: After, length: int, stop: frozenset[int], penalty: float, width: int
) -> Ranked:
    """At every step the likeliest continuations in order, until `width` of them are live; the ended
    among them compete.
    """
    ended: list[tuple[Word, list[float]]] = []
    live: list[tuple[Word, list[float]]] = [((), [])]
    for _ in range(length):
        longer = [
            ((*w, s), [*steps, p])
            for w, steps in live
            for s, p in enumerate(after(w))
            if p > NOTHING
        ]
        live = []
        for one in sorted(longer, key=lambda one: -sum(one[1])):
            if len(live) < width:
                (ended if one[0][-1] in stop else live).append(one)
    return ranked(ended + live, penalty)


def assert_equal(
    hypotheses: Sequence[Hypothesis],
    expected: Ranked,
    stop: frozenset[int],
    n: int,
    bound: float = 1e-9,
) -> None:
    assert [tuple(one.tokens) for one in hypotheses] == [word for _, word, _ in expected[:n]]
    for one, (score, word, steps) in zip(hypotheses, expected, strict=False):
        assert one.score == pytest.approx(score, abs=bound)
        np.testing.assert_allclose(one.logp, steps, atol=bound)
        assert one.raw_logp == one.logp
        assert one.ended == ("stop" if word[-1] in stop else "length")


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0, 2.0, -0.5])
@pytest.mark.parametrize(
    "stop", [frozenset[int](), frozenset({0}), frozenset({0, 3})], ids=["none", "0", "0,3"]
)
@pytest.mark.parametrize("markov", [True, False], ids=["markov", "full"])
def test_full_width_is_exhaustive_search(
    markov: bool, stop: frozenset[int], penalty: float
) -> None:
    """As wide as there are live prefixes before the last step: nothing is ever pruned."""
    network = TableNetwork(SYMBOLS, LENGTH, seed=3, scale=1.5, markov=markov)
    width = (SYMBOLS - len(stop)) ** (LENGTH - 1)
    (hypotheses,) = beam_search(
        TokenPolicy(network),
        [Request([SYMBOLS], LENGTH, stop=stop)],
        width=width,
        n_best=40,
        length_penalty=penalty,
    )
    assert len(hypotheses) == 40
    assert_equal(hypotheses, enumerated(of_table(network), LENGTH, stop, penalty), stop, 40)


@pytest.mark.parametrize("least", [1, 3, 6])
def test_no_stop_before_the_least_number_of_tokens(least: int) -> None:
    network, stop = TableNetwork(SYMBOLS, LENGTH, seed=4), frozenset({0})
    request = Request([SYMBOLS], LENGTH, least, stop=stop)
    (hypotheses,) = beam_search(TokenPolicy(network), [request], width=1024, n_best=40)
    exact = enumerated(
        of_table(network), LENGTH, stop, 1.0, lambda word: word[-1] != 0 or len(word) > least
    )
    assert_equal(hypotheses, exact, stop, 40)


def test_fewer_are_found_where_there_are_fewer() -> None:
    network = TableNetwork(2, 2, seed=0)
    (hypotheses,) = beam_search(
        TokenPolicy(network), [Request([2], 2, stop=frozenset({0}))], width=9, n_best=9
    )
    assert sorted(tuple(one.tokens) for one in hypotheses) == [(0,), (1, 0), (1, 1)]


@pytest.mark.parametrize("penalty", [0.0, -1.0, 1.0])
def test_width_one_is_greedy(penalty: float) -> None:
    """Unless longer is better: then the search goes on past greedy's end, and may only improve on
    it.
    """
    for seed in range(50):
        policy = TokenPolicy(TableNetwork(SYMBOLS, LENGTH, seed=seed))
        greedy_policy = policy.with_rule(Decoding(temperature=0))
        (greedy,) = generate(greedy_policy, [[SYMBOLS]], max_new_tokens=LENGTH, stop=0)
        request = Request([SYMBOLS], LENGTH, stop=frozenset({0}))
        ((best,),) = beam_search(policy, [request], width=1, length_penalty=penalty)
        if penalty <= 0:
            assert best.tokens == greedy.tokens
            assert best.raw_logp == greedy.raw_logp
            assert best.ended == greedy.ended
        assert best.score >= sum(greedy.raw_logp) / len(greedy.tokens) ** penalty - 1e-12


@pytest.mark.parametrize("width", [1, 2, 3, 7, 20])
@pytest.mark.parametrize(
    "stop", [frozenset[int](), frozenset({0}), frozenset({0, 3})], ids=["none", "0", "0,3"]
)
def test_every_width_is_beam_search_by_its_definition(width: int, stop: frozenset[int]) -> None:
    for seed, penalty in product(range(4), (0.0, 1.0, 1.5, -1.0)):
        network = TableNetwork(SYMBOLS, LENGTH, seed=seed)
        expected = by_definition(of_table(network), LENGTH, stop, penalty, width)
        for n in {1, width}:
            request = Request([SYMBOLS], LENGTH, stop=stop)
            (hypotheses,) = beam_search(
                TokenPolicy(network), [request], width=width, n_best=n, length_penalty=penalty
            )
            assert_equal(hypotheses, expected, stop, n)


# rotary angles are of float32: a document that begins within a row is turned otherwise by so much
ROTARY = 1e-7
# the fourth has a document border within
PROMPTS = [
    [2, 5],
    [3],
    [4, 9, 9, 2, 7, 3, 8],
    [1, 6, 1, 3, 4],
    [10, 2, 2],
]


def many(stop: frozenset[int] = frozenset({7, 4})) -> list[Request]:
    """Of several lengths, rooms and least lengths."""
    return [Request(prompt, 5 + 3 * i, i % 3, stop=stop) for i, prompt in enumerate(PROMPTS)]


@pytest.mark.parametrize("width", [1, 3, 6])
@pytest.mark.parametrize("kind", [{}, {"window": 3}, {"qk_norm": True, "tied": False}], ids=str)
def test_a_transformer_says_what_the_definition_says(kind: dict[str, Any], width: int) -> None:
    policy = policy_of(transformer(1, border=1, dtype=torch.float64, **kind))
    requests = [Request(prompt, 6, stop=frozenset({7, 4})) for prompt in PROMPTS]
    for request, hypotheses in zip(
        requests, beam_search(policy, requests, width=width, n_best=width), strict=True
    ):
        expected = by_definition(of_network(policy, request.prompt), 6, request.stop, 1.0, width)
        assert_equal(hypotheses, expected, request.stop, width, ROTARY)


def test_a_transformer_searched_in_full_width_is_enumerated() -> None:
    policy = TokenPolicy(transformer(2, dtype=torch.float64, vocab_size=5))
    stop = frozenset({0})
    (hypotheses,) = beam_search(
        policy, [Request([3, 1], 3, stop=stop)], width=16, n_best=16, length_penalty=0.7
    )
    assert_equal(hypotheses, enumerated(of_network(policy, (3, 1)), 3, stop, 0.7), stop, 16)


@pytest.mark.parametrize("before", [0, 40], ids=["short", "long"])
def test_joint_log_probability_is_that_of_the_finished_row(before: int) -> None:
    border = None if before else 1  # which would make a long prompt short
    policy = policy_of(transformer(3, border=border, dtype=torch.float64, context=160))
    prompts = [
        torch.randint(2, 11, (before + 9 * i,), generator=seeded(i)).tolist() for i in range(5)
    ]
    rows = [more + prompt for more, prompt in zip(prompts, PROMPTS, strict=True)]
    requests = [Request(row, 60 - 4 * i, 37, stop=frozenset({7, 4})) for i, row in enumerate(rows)]
    for hypotheses in beam_search(policy, requests, width=4, n_best=4, length_penalty=0.0):
        assert len(hypotheses) == 4
        for one in hypotheses:
            row = torch.tensor([one.prompt + one.tokens])
            with torch.no_grad():
                logp = policy.log_prob(row, row[:, 1:])[0, len(one.prompt) - 1 :]
            np.testing.assert_allclose(one.logp, logp, atol=ROTARY)
            assert one.score == pytest.approx(float(logp.sum()), abs=len(logp) * ROTARY)


@pytest.mark.parametrize("slots", [1, 8, 256])
def test_several_at_once_say_what_each_says_alone(slots: int) -> None:
    policy = policy_of(transformer(4, border=1, dtype=torch.float64))
    together = beam_search(policy, many(), width=4, n_best=3, slots=slots)
    for request, hypotheses in zip(many(), together, strict=True):
        (alone,) = beam_search(policy, [request], width=4, n_best=3)
        assert [one.tokens for one in hypotheses] == [one.tokens for one in alone]
        for one, other in zip(hypotheses, alone, strict=True):
            assert (one.prompt, one.ended) == (list(request.prompt), other.ended)
            np.testing.assert_allclose(one.logp, other.logp, atol=1e-10)
    assert beam_search(policy, [], width=4) == []


def test_the_context_ends_a_hypothesis_as_its_length_does() -> None:
    policy = policy_of(transformer(5, dtype=torch.float64, context=8))
    ((one,), (other,)) = beam_search(
        policy, [Request([2, 3, 4], 100), Request([2, 3, 4], 5)], width=2
    )
    assert one.ended == other.ended == "length"
    assert one.tokens == other.tokens
    assert len(one.tokens) == 5


@pytest.mark.parametrize("count", [5, 20])
@pytest.mark.parametrize(
    ("subject", "axis"),
    [(transformer(), -4), (TableNetwork(SYMBOLS, LENGTH), 0)],
    ids=["KVCache", "TokenCache"],
)
def test_slots_that_change_places_do_not_overwrite_each_other(
    subject: Any, axis: int, count: int
) -> None:
    slots = make_form(subject).make_cache(count, 70)
    slots.store.copy_(torch.randint(0, 99, slots.store.shape, generator=seeded(0)))
    before = slots.store.clone()
    slots.reorder(torch.tensor([1, 0, 1, 4]), 0, 70)
    assert torch.equal(
        slots.store, before.index_select(axis, torch.tensor([1, 0, 1, 4, *range(4, count)]))
    )


def test_a_search_ends_as_soon_as_nothing_better_can_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopping at once has probability 0.9: without a length penalty nothing longer count_reach
    that.
    """
    network = TableNetwork(2, 50, markov=True)
    with torch.no_grad():
        network.table.copy_(torch.tensor([0.9, 0.1]).log()[:, None].expand_as(network.table))
    steps: list[int] = []
    step = TableWalk.step
    monkeypatch.setattr(
        TableWalk,
        "step",
        lambda self, tokens, *rest: steps.append(len(tokens)) or step(self, tokens, *rest),
    )
    request = Request([2], 50, stop=frozenset({0}))
    # With penalty 1: ln 0.9 / 1 against t ln 0.1 / 50, which is below it from t = 3 on, two steps
    # after the first token.
    for penalty, n_best, expected in ((0.0, 1, 0), (0.0, 2, 1), (-1.0, 1, 0), (1.0, 1, 2)):
        steps.clear()
        beam_search(TokenPolicy(network), [request], width=2, n_best=n_best, length_penalty=penalty)
        assert len(steps) == expected


LETTERS = [b"s", b"a", b"b", b"ab", b"c"]  # 0 stops
TOKENS = Vocabulary(LETTERS)


def text(word: Word) -> str:
    return b"".join(LETTERS[token] for token in word if token != 0).decode()


@pytest.mark.parametrize("penalty", [0.0, 1.0])
@pytest.mark.parametrize("pattern", ["(ab|c)*", "[abc]{2,3}", "a(b|c)+", "abcab"])
def test_a_constraint_leaves_the_best_of_what_it_accepts(pattern: str, penalty: float) -> None:
    """Ranked by the joint log-probability under the model itself: the order of the conditional
    distribution.
    """
    network, stop = TableNetwork(SYMBOLS, LENGTH, seed=6, scale=1.5), frozenset({0})
    if pattern == "abcab":
        constraint = choice(["abcab"], TOKENS, stop)
    else:
        constraint = regex(pattern, TOKENS, stop)
    request = Request([SYMBOLS], LENGTH, stop=stop, constraint=constraint)
    (hypotheses,) = beam_search(
        TokenPolicy(network), [request], width=1024, n_best=20, length_penalty=penalty
    )

    def may(word: Word) -> bool:
        if word[-1] == 0:
            return re.fullmatch(pattern, text(word)) is not None
        # cut, and could be completed
        return any(re.fullmatch(pattern, text(word) + more) for more in ("", "b"))

    assert_equal(hypotheses, enumerated(of_table(network), LENGTH, stop, penalty, may), stop, 20)


def test_requests_of_many_kinds_do_not_disturb_each_other() -> None:
    """Some have fewer live hypotheses than others, or end long before them."""
    stop, policy = frozenset({0}), TokenPolicy(TableNetwork(SYMBOLS, LENGTH, seed=12))
    requests = [
        Request([SYMBOLS], LENGTH, stop=stop),
        Request([SYMBOLS], LENGTH, stop=stop, constraint=regex("a+", TOKENS, stop)),
        Request([SYMBOLS], 2, stop=stop, logit_bias={1: 1.0}),
        Request([SYMBOLS], LENGTH, constraint=choice(["ab", "c"], TOKENS, ())),
        Request([SYMBOLS], LENGTH, 4, stop=stop, presence_penalty=1.0),
        Request([SYMBOLS], LENGTH, stop=frozenset({1, 2, 3})),
    ]
    for penalty in (0.0, 1.0):
        together = beam_search(policy, requests, width=5, n_best=5, length_penalty=penalty)
        alone = [
            beam_search(policy, [one], width=5, n_best=5, length_penalty=penalty)[0]
            for one in requests
        ]
        assert together == alone


def test_a_complete_choice_ends_without_a_stop_token() -> None:
    network = TableNetwork(SYMBOLS, LENGTH, seed=7)
    constraint = choice(["ab", "cca", "b"], TOKENS, ())
    (hypotheses,) = beam_search(
        TokenPolicy(network),
        [Request([SYMBOLS], LENGTH, constraint=constraint)],
        width=9,
        n_best=9,
        length_penalty=0,
    )
    after = of_table(network)
    said = [(1, 2), (3,), (4, 4, 1), (2,)]
    expected = ranked(
        [(word, [after(word[:t])[s] for t, s in enumerate(word)]) for word in said], 0.0
    )
    assert [(tuple(one.tokens), one.ended) for one in hypotheses] == [
        (word, "stop") for _, word, _ in expected
    ]
    scores = [one.score for one in hypotheses]
    np.testing.assert_allclose(scores, [score for score, _, _ in expected])


def test_a_bias_changes_the_model_and_a_ban_only_forbids() -> None:
    network, stop = TableNetwork(SYMBOLS, LENGTH, seed=8), frozenset({0})
    bias = {2: 1.5, 0: -0.5, 4: NOTHING}
    (hypotheses,) = beam_search(
        TokenPolicy(network),
        [Request([SYMBOLS], LENGTH, stop=stop, logit_bias=bias)],
        width=1024,
        n_best=20,
    )
    exact = enumerated(
        of_table(network, [-0.5, 0, 1.5, 0, 0]), LENGTH, stop, 1.0, lambda word: 4 not in word
    )
    raw = of_table(network)
    for one, (score, word, steps) in zip(hypotheses, exact, strict=False):
        assert tuple(one.tokens) == word
        assert one.score == pytest.approx(score)
        np.testing.assert_allclose(one.logp, steps)
        np.testing.assert_allclose(one.raw_logp, [raw(word[:t])[s] for t, s in enumerate(word)])


def test_penalties_see_what_their_own_hypothesis_has_said() -> None:
    network = TableNetwork(SYMBOLS, LENGTH, seed=9)
    table = network.table.detach().numpy().T

    def after(word: Word) -> list[float]:
        logits = table[reduce(network.child, word, 0)] - 2.0 * np.isin(range(SYMBOLS), word)
        return (logits - np.log(np.exp(logits).sum())).tolist()

    (hypotheses,) = beam_search(
        TokenPolicy(network), [Request([SYMBOLS], 4, presence_penalty=2.0)], width=125, n_best=20
    )
    expected = enumerated(after, 4, frozenset(), 1.0)
    assert [tuple(one.tokens) for one in hypotheses] == [word for _, word, _ in expected[:20]]
    np.testing.assert_allclose(
        [one.score for one in hypotheses], [score for score, _, _ in expected[:20]]
    )


def test_a_request_that_leaves_nothing_to_say_ends_alone() -> None:
    network = TableNetwork(SYMBOLS, LENGTH, seed=10)
    good = Request([SYMBOLS], LENGTH, stop=frozenset({0}))
    banned = Request([SYMBOLS], LENGTH, logit_bias=dict.fromkeys(range(SYMBOLS), NOTHING))
    crossed = Request(
        [SYMBOLS],
        LENGTH,
        constraint=choice(["ab"], TOKENS, ()),
        logit_bias={2: NOTHING, 3: NOTHING},
    )
    answers = beam_search(TokenPolicy(network), [banned, good, crossed], width=3, n_best=2)
    assert answers[1] == beam_search(TokenPolicy(network), [good], width=3, n_best=2)[0]
    for bad in (answers[0], answers[2]):
        (one,) = bad
        assert (one.ended, one.tokens, one.score) == ("error", [], NOTHING)
        assert one.error is not None
        assert "leave no" in one.error


def test_logits_that_are_no_numbers_end_their_request_alone() -> None:
    policy = TokenPolicy(TableNetwork(SYMBOLS, LENGTH, seed=10))
    with torch.no_grad():
        policy.network.table[0, policy.network.child(0, 2)] = math.nan  # after the symbol 2
    banned = Request([SYMBOLS], LENGTH, logit_bias={2: NOTHING})
    (broken,), sound = beam_search(policy, [Request([SYMBOLS], LENGTH), banned], width=5, n_best=5)
    assert broken.ended == "error"
    assert broken.error is not None
    assert broken.error.startswith("the logits are not finite")
    assert [one.ended for one in sound] == ["length"] * 5


@pytest.mark.parametrize("penalty", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("stop", [None, 7])
def test_transformers_finds_the_same(stop: int | None, penalty: float, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    network = transformer(11)
    save_model(tmp_path / "model", network, train_tokenizer("characters", ["abcde"]))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    theirs.generation_config.eos_token_id = stop
    for prompt in PROMPTS[:3]:
        answer = theirs.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)),
            num_beams=4, num_return_sequences=4, max_new_tokens=8, do_sample=False,
            length_penalty=penalty, early_stopping="never", eos_token_id=stop, pad_token_id=0,
            return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
        request = Request(prompt, 8, stop=frozenset() if stop is None else frozenset({stop}))
        (hypotheses,) = beam_search(
            TokenPolicy(network), [request], width=4, n_best=4, length_penalty=penalty
        )
        said = [row[len(prompt) :].tolist() for row in answer.sequences]
        assert [one.tokens for one in hypotheses] == [
            row[: len(one.tokens)] for row, one in zip(said, hypotheses, strict=True)
        ]
        scores = [one.score for one in hypotheses]
        np.testing.assert_allclose(scores, answer.sequences_scores, atol=1e-4)


@pytest.fixture
def engine() -> Engine:
    return Engine(policy_of(transformer(12, dtype=torch.float64)), slots=4)


def test_best_of_is_the_likeliest_sample(engine: Engine) -> None:
    request = Request([2, 3, 4], 6, stop=frozenset({7}), seed=5, rule=Decoding(temperature=2.0))
    samples = engine.run(
        Request([2, 3, 4], 6, stop=frozenset({7}), seed=5, sample=i, rule=request.rule)
        for i in range(9)
    )
    hypotheses = best_of(engine, request, 9)
    assert len({tuple(one.tokens) for one in samples}) > 3
    assert [one.tokens for one in hypotheses] == [
        one.tokens for one in sorted(samples, key=lambda one: -sum(one.raw_logp))
    ]
    assert hypotheses[0].tokens == max(samples, key=lambda one: sum(one.raw_logp)).tokens


def test_best_of_is_the_scorers_best(engine: Engine) -> None:
    def score(completion: Completion) -> float:
        return -abs(sum(completion.tokens) - 30)

    hypotheses = best_of(engine, Request([2, 3, 4], 6, seed=5), 9, score)
    scores = [score(one) for one in hypotheses]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) > 3


def test_best_of_refuses_what_cannot_be_answered(engine: Engine) -> None:
    with pytest.raises(UserError, match="n=0 was given"):
        best_of(engine, Request([2], 6), 0)
    with pytest.raises(UserError, match="token 99 is not in the vocabulary"):
        best_of(engine, Request([99], 6), 2)


@pytest.mark.parametrize(
    ("settings", "request_settings", "sentence"),
    [
        ({"width": 0}, {}, "width=0 was given"),
        ({"width": 2, "n_best": 3}, {}, "n_best=3 was given"),
        ({"width": 2, "n_best": 0}, {}, "n_best=0 was given"),
        ({"width": 2, "slots": 0}, {}, "slots=0 was given"),
        ({"width": 2, "length_penalty": math.nan}, {}, "length_penalty=nan was given"),
        ({"width": 2, "length_penalty": math.inf}, {}, "length_penalty=inf was given"),
        ({"width": 2}, {"prompt": [99]}, "request 1: token 99 is not in the vocabulary of 11"),
        ({"width": 2}, {"prompt": []}, "request 1: the prompt is empty"),
        ({"width": 2}, {"prompt": [2] * 40}, "request 1: the prompt has 40 tokens"),
        ({"width": 2}, {"rule": Decoding(temperature=0.5)}, "request 1: .*rule"),
        ({"width": 2}, {"stop_strings": ("a",)}, "request 1: .*stop_strings"),
        ({"width": 2}, {"alternatives": 2}, "request 1: .*alternatives"),
    ],
)
def test_what_cannot_be_searched_is_refused(
    settings: dict[str, Any], request_settings: dict[str, Any], sentence: str
) -> None:
    requests = [Request([2, 3]), Request(**{"prompt": [2, 3], **request_settings})]
    with pytest.raises(UserError, match=sentence) as error:
        beam_search(policy_of(transformer()), requests, **settings)
    assert str(error.value).endswith(".")
