"""What a request may ask beyond a decoding rule: rows come as often as an enumeration of all
sequences says, in plain Python.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from functools import cache, reduce
from itertools import product

import pytest
import torch

from fledge.engine.engine import Engine
from fledge.engine.request import Completion, Request
from fledge.engine.structures import choice, regex
from fledge.engine.vocabulary import Vocabulary
from fledge.log_prob import Decoding
from fledge.policy import TokenPolicy
from tests.engine.strangers import same
from tests.subjects import TableNetwork, come_as_often_as, policy_of, transformer, truncated

SYMBOLS, LENGTH, STOP = 5, 6, frozenset({0})
SPELT = [b"", b"a", b"b", b"ab", b"ba"]
TOKENS = Vocabulary(SPELT)
SPOKEN = Vocabulary([b"c", *SPELT[1:]])
# longer than 6 tokens say
TEXTS = ["".join(text) for n in range(14) for text in product("ab", repeat=n)]
Word = tuple[int, ...]

WORDS = ["ab", "abab", "ba", "aab", "bbabab"]
PATTERN = "a(b|ba)*"
SAID_ALONE = "(a|bb){1,2}"  # the rules of this one have no stop token
ASKED: dict[str, Request] = {
    "bias": Request([1], LENGTH, stop=STOP, logit_bias={1: 1.5, 3: -2.0, 4: -math.inf}),
    "repetition": Request([1], LENGTH, stop=STOP, repetition_penalty=1.8),
    "echo": Request([2], LENGTH, stop=STOP, repetition_penalty=0.6),
    "said": Request([1], LENGTH, stop=STOP, presence_penalty=1.2, frequency_penalty=0.8),
    "minimum": Request([1], LENGTH, min_new_tokens=3, stop=STOP),
    "two stops": Request(
        [1], LENGTH, min_new_tokens=1, stop=STOP | {3}, rule=Decoding(temperature=0.7)
    ),
    "choice": Request([1], LENGTH, stop=STOP, constraint=choice(WORDS, TOKENS, STOP)),
    "regex": Request([1], LENGTH, stop=STOP, constraint=regex(PATTERN, TOKENS, STOP)),
    "complete": Request([1], LENGTH, constraint=regex(SAID_ALONE, SPOKEN, ())),
    "stop strings": Request([1], LENGTH, stop=STOP, stop_strings=("bb", "aba")),
    "mixture": Request(
        [1],
        LENGTH,
        min_new_tokens=2,
        rule=Decoding(temperature=1.3, top_k=3, top_p=0.9),
        stop=STOP,
        stop_strings=("bba",),
        repetition_penalty=1.3,
        presence_penalty=0.4,
        frequency_penalty=-0.3,
        logit_bias={2: 0.5},
        constraint=regex(PATTERN, TOKENS, STOP),
    ),
}
MEANT = {"choice": "|".join(WORDS), "regex": PATTERN, "complete": SAID_ALONE, "mixture": PATTERN}


def network(length: int = LENGTH) -> TableNetwork:
    """Every prefix has logits of its own, unless it is long. The opening token, which a table does
    not look at, is one of the symbols here.
    """
    table = TableNetwork(SYMBOLS, length, seed=1, scale=1.5, markov=length > LENGTH)
    table.config.vocab_size = SYMBOLS
    return table


def text_of(word: Word) -> str:
    return b"".join(SPELT[token] for token in word).decode()


@cache
def texts_of(pattern: str) -> tuple[str, ...]:
    return tuple(text for text in TEXTS if re.fullmatch(pattern, text))


@cache
def completable(pattern: str, said: str) -> bool:
    """Whether tokens can lead from what is said to a text that matches, by trying them."""
    texts = texts_of(pattern)
    longer = (said + token.decode() for token in SPELT if token)
    return said in texts or any(
        completable(pattern, s) for s in longer if any(text.startswith(s) for text in texts)
    )


def process_in_python(
    logits: list[float], word: Word, request: Request, pattern: str | None
) -> list[float]:
    """The rules as Request states them, in its order, in plain Python."""
    processed = [x + request.logit_bias.get(token, 0.0) for token, x in enumerate(logits)]
    for token in {*request.prompt, *word}:
        processed[token] *= request.repetition_penalty ** (-1 if processed[token] > 0 else 1)
    for token in set(word):
        processed[token] -= request.presence_penalty
    for token in word:
        processed[token] -= request.frequency_penalty
    for token in range(SYMBOLS):
        if token in request.stop:
            forbidden = len(word) < request.min_new_tokens or (
                pattern and text_of(word) not in texts_of(pattern)
            )
        else:
            forbidden = pattern and not (
                SPELT[token] and completable(pattern, text_of((*word, token)))
            )
        if forbidden:
            processed[token] = -math.inf
    return processed


class Enumeration:
    """Of one request, on a table: the chances of every symbol after every prefix, and of every
    sequence.
    """

    def __init__(self, table: TableNetwork, request: Request, pattern: str | None) -> None:
        self.columns = table.table.T.tolist()
        self.table, self.request, self.pattern = table, request, pattern
        self.after = cache(self._after)

    def column(self, word: Word) -> list[float]:
        return self.columns[reduce(self.table.child, word, 0)]

    def _after(self, word: Word) -> list[float]:
        """0 for all where nothing may follow."""
        logits = process_in_python(self.column(word), word, self.request, self.pattern)
        return [0.0] * SYMBOLS if max(logits) == -math.inf else truncated(logits, self.request.rule)

    def sequences(self) -> dict[tuple[Word, str], float]:
        """Everything that can be said, how it ends, and its probability."""
        exact: dict[tuple[Word, str], float] = {}
        alive: list[tuple[Word, float]] = [((), 1.0)]
        while alive:
            word, p = alive.pop()
            if not any(self.after(word)):
                exact[word, "stop"] = p
            for token, q in enumerate(self.after(word)):
                how = self.ended((*word, token))
                if q > 0 and how:
                    exact[(*word, token), how] = p * q
                elif q > 0:
                    alive.append(((*word, token), p * q))
        return exact

    def ended(self, word: Word) -> str:
        if word[-1] in self.request.stop:
            return "stop"
        if any(string in text_of(word) for string in self.request.stop_strings):
            return "stop_string"
        return "length" if len(word) == self.request.max_new_tokens else ""

    def score(self, row: Completion) -> None:
        """Its chances are those of the enumeration, and the raw ones those of the table."""
        prefixes = [tuple(row.tokens[:t]) for t in range(len(row.tokens))]
        steps = [
            self.after(prefix)[token] for prefix, token in zip(prefixes, row.tokens, strict=True)
        ]
        assert row.logp == pytest.approx([math.log(p) for p in steps], abs=1e-10)
        raw = [
            math.exp(self.column(word)[s]) / sum(map(math.exp, self.column(word)))
            for word, s in zip(prefixes, row.tokens, strict=True)
        ]
        assert row.raw_logp == pytest.approx([math.log(p) for p in raw], abs=1e-10)


@pytest.mark.parametrize(
    ("name", "samples"),
    [
        *((name, 20_000) for name in ASKED),
        *(pytest.param(name, 100_000, marks=pytest.mark.slow) for name in ASKED),
    ],
)
def test_rows_come_as_often_as_their_exact_probability_says(name: str, samples: int) -> None:
    """20,000 samples of each rule (the slow test: 100,000), 5 symbols and 6 steps; one χ² of
    sequence and end, false alarm 1 in 10,000 (fixed seed).
    """
    table, request = network(), dataclasses.replace(ASKED[name], seed=3)
    enumeration = Enumeration(table, request, MEANT.get(name))
    engine = Engine(TokenPolicy(table), slots=1024, vocabulary=SPELT)
    said = engine.run(dataclasses.replace(request, sample=i) for i in range(samples))
    come_as_often_as(
        enumeration.sequences(), Counter((tuple(row.tokens), row.ended) for row in said)
    )
    for row in {tuple(row.tokens): row for row in said}.values():
        enumeration.score(row)


def test_rows_of_all_rules_side_by_side_are_drawn_by_their_own() -> None:
    """20 samples of each rule in one engine of 7 slots, in mixed order: the same rows as each
    rule's in an engine of its own.
    """
    policy = TokenPolicy(network())
    requests = [
        dataclasses.replace(request, sample=i) for i in range(20) for request in ASKED.values()
    ]
    mixed = Engine(policy, slots=7, vocabulary=SPELT).run(requests)
    for request, row in zip(requests, mixed, strict=True):
        (alone,) = Engine(policy, slots=1, vocabulary=SPELT).run([request])
        same(row, alone, 1e-12)


@pytest.mark.parametrize("string", ["ab", "ba", "bb", "abab", "aab", "babb"])
def test_a_stop_string_ends_a_row_at_the_first_token_with_which_its_text_has_it(
    string: str,
) -> None:
    policy = TokenPolicy(network(12))
    requests = [Request([1], 12, stop=STOP, stop_strings=(string,), sample=i) for i in range(200)]
    rows = Engine(policy, vocabulary=SPELT).run(requests)
    for row in rows:
        has = [n for n in range(len(row.tokens) + 1) if string in text_of(tuple(row.tokens[:n]))]
        assert (row.ended == "stop_string") == bool(has)
        assert has in ([], [len(row.tokens)])
    assert {row.ended for row in rows} >= {"stop", "stop_string"}


def test_a_complete_text_ends_a_row_that_has_no_stop_token() -> None:
    """Under a bias that forbids to go on, too."""
    policy = TokenPolicy(network())
    constraint = regex("ab(a|b)*", TOKENS, ())
    request = Request(
        [1], LENGTH, constraint=constraint, logit_bias=dict.fromkeys((1, 2, 4), -math.inf)
    )
    (row,) = Engine(policy).run([request])
    assert (text_of(tuple(row.tokens))[:2], row.ended) == ("ab", "length")  # ab, ab, ab …
    constraint = choice(["abb"], TOKENS, ())
    (row,) = Engine(policy).run([Request([1], LENGTH, constraint=constraint)])
    assert (text_of(tuple(row.tokens)), row.ended, row.stopped) == ("abb", "stop", True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_biases_and_penalties_bend_a_transformer_as_they_bend_a_table(dtype: torch.dtype) -> None:
    """Greedy, under penalties, against a forward pass processed in plain Python; tokens 0 and 1
    are no actions.
    """
    policy = policy_of(transformer(dtype=dtype))
    for sample in range(30):
        request = Request(
            [sample % 11, 3, 4],
            20,
            min_new_tokens=5,
            rule=Decoding(temperature=0),
            stop=frozenset({2}),
            repetition_penalty=1 + sample / 20,
            presence_penalty=sample / 30 - 0.5,
            frequency_penalty=0.3 - sample / 60,
            logit_bias={sample % 9: 0.7},
        )
        (row,) = Engine(policy, slots=2).run([request])
        for t, token in enumerate(row.tokens):
            with torch.no_grad():
                hidden = policy.hidden(torch.tensor([[*request.prompt, *row.tokens[:t]]]))[0, -1]
                logits = (policy.network.unembedding @ hidden).tolist()
            scores = [x + request.logit_bias.get(token, 0.0) for token, x in enumerate(logits)]
            for seen in {*request.prompt, *row.tokens[:t]}:
                scores[seen] *= request.repetition_penalty ** (-1 if scores[seen] > 0 else 1)
            for said in set(row.tokens[:t]):
                scores[said] -= request.presence_penalty
            for said in row.tokens[:t]:
                scores[said] -= request.frequency_penalty
            ranked = sorted(range(3 if t < 5 else 2, 11), key=lambda i, scores=scores: -scores[i])
            assert token == ranked[0]
        assert len(row.tokens) >= 5
        assert row.ended == ("stop" if row.tokens[-1] == 2 else "length")
