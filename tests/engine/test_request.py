"""What a request asks is known to whoever answers it, or refused in one sentence; nothing of it is
passed over.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from fledge.engine.beam import beam_search
from fledge.engine.completions_api import OUTSIDE
from fledge.engine.engine import Engine
from fledge.engine.request import PLAIN_FIELDS, PROCESSED, Completion, Feature, Request
from fledge.engine.speculative import Speculator
from fledge.engine.structures import choice
from fledge.engine.vocabulary import Vocabulary
from fledge.errors import UserError
from fledge.log_prob import Decoding
from tests.subjects import policy_of, transformer

VOCABULARY = [b"?", b"?"] + [bytes([97 + i]) for i in range(9)]
# A request that asks for one feature and nothing else.
ONE: Mapping[Feature, Mapping[str, Any]] = {
    Feature.MIN_NEW_TOKENS: {"min_new_tokens": 2},
    Feature.RULE: {"rule": Decoding(temperature=0)},
    Feature.STOP_STRINGS: {"stop_strings": ("a",)},
    Feature.REPETITION_PENALTY: {"repetition_penalty": 1.5},
    Feature.PRESENCE_PENALTY: {"presence_penalty": 0.5},
    Feature.FREQUENCY_PENALTY: {"frequency_penalty": 0.5},
    Feature.LOGIT_BIAS: {"logit_bias": {3: 1.0}},
    Feature.CONSTRAINT: {"constraint": choice(["ab"], Vocabulary(VOCABULARY), [])},
    Feature.ALTERNATIVES: {"alternatives": 2},
}


def by_engine(request: Request) -> Completion:
    return Engine(policy_of(transformer()), vocabulary=VOCABULARY).run([request])[0]


def by_beam(request: Request) -> Completion:
    return beam_search(policy_of(transformer()), [request], width=2)[0][0]


def by_guesses(request: Request) -> Completion:
    return Speculator(policy_of(transformer())).run([request])[0]


def by_an_outside_server(request: Request) -> Completion:
    request.check(11, 32, OUTSIDE)  # before anything is sent
    return Completion([], [], [], "length")


def test_every_field_is_plain_or_a_feature() -> None:
    features = {feature.value for feature in Feature}
    assert {one.name for one in dataclasses.fields(Request)} == PLAIN_FIELDS | features
    assert not PLAIN_FIELDS & features


def test_a_field_that_is_neither_is_answered_by_nobody() -> None:
    @dataclasses.dataclass(frozen=True)
    class Wider(Request):
        mirostat: float = 0.0

    assert Wider([2]).asks() == set()
    for answer in (by_engine, by_beam, by_guesses, by_an_outside_server):
        with pytest.raises(ValueError, match="mirostat"):
            answer(Wider([2], 3, mirostat=5.0))


@pytest.mark.parametrize("feature", Feature, ids=lambda feature: feature.value)
def test_a_request_asks_for_what_it_gives(feature: Feature) -> None:
    assert Request([2], **ONE[feature]).asks() == {feature}


def test_what_is_as_it_is_by_default_is_not_asked_for() -> None:
    given: dict[str, Any] = {
        "rule": Decoding(1.0), "stop_strings": [], "logit_bias": {}, "repetition_penalty": 1,
        "stop": frozenset({3}), "seed": 7, "sample": 9, "max_new_tokens": 5,
    }  # fmt: skip
    assert Request([2], **given).asks() == set()


EVERYTHING = set(Feature)
WAYS: list[tuple[Callable[[Request], Completion], set[Feature]]] = [
    (by_engine, EVERYTHING),
    (by_beam, set(PROCESSED)),
    (by_guesses, {Feature.RULE, Feature.CONSTRAINT}),
    (by_an_outside_server, EVERYTHING - {Feature.CONSTRAINT}),
]


@pytest.mark.parametrize("feature", Feature, ids=lambda feature: feature.value)
@pytest.mark.parametrize(("answer", "known"), WAYS, ids=lambda way: getattr(way, "__name__", ""))
def test_each_way_answers_what_it_knows_and_says_so_of_the_rest(
    answer: Callable[[Request], Completion], known: set[Feature], feature: Feature
) -> None:
    request = Request([2], 4, **ONE[feature])
    try:
        error = answer(request).error
    except UserError as refused:
        error = str(refused)
    if feature in known:
        assert error is None
    else:
        assert error is not None
        assert f"{feature.value} was given, which " in error
        assert " does not know: leave it out, or " in error


def test_what_the_beam_processes_is_processed_there_too() -> None:
    """PROCESSED is what the beam says it knows: each of these changes what it finds."""
    plain = by_beam(Request([2], 6, stop=frozenset({5})))
    for feature in PROCESSED - {Feature.MIN_NEW_TOKENS, Feature.CONSTRAINT}:
        other = by_beam(Request([2], 6, stop=frozenset({5}), **ONE[feature]))
        assert (other.tokens, other.logp) != (plain.tokens, plain.logp), feature
    assert len(by_beam(Request([2], 6, 6, stop=frozenset({5}))).tokens) == 6
    assert by_beam(Request([2], 6, **ONE[Feature.CONSTRAINT])).tokens == [2, 3]
