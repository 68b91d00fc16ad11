"""A grammar's probabilities, entropy and draws, held against the list of all that it can say."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from fledge.text.grammar import Grammar, draw_sentences, make_sentence_grammar

SMALL: Mapping[str, Sequence[tuple[float, str]]] = {
    "S": [(2, "A B"), (1, "B A"), (1, "x")],
    "A": [(1, "x"), (3, "x y")],
    "B": [(1, "y z"), (1, "z"), (2, "")],  # so that "x y z", "x" and "x y" have two derivations
}


def expand(
    rules: Mapping[str, Sequence[tuple[float, tuple[str, ...]]]], symbol: str = "S"
) -> list[tuple[float, str]]:
    """Every derivation of a symbol with its probability, one after the other."""
    known: dict[str, list[tuple[float, str]]] = {}

    def of(symbol: str) -> list[tuple[float, str]]:
        if symbol not in rules:
            return [(1.0, symbol)]
        if symbol not in known:
            listed = []
            for share, symbols in rules[symbol]:
                parts = [(share, "")]
                for each in symbols:
                    parts = [(p * q, f"{a} {b}".strip()) for p, a in parts for q, b in of(each)]
                listed += parts
            known[symbol] = listed
        return known[symbol]

    return of(symbol)


def shares(rules: Mapping[str, Sequence[tuple[float, str]]]) -> dict[str, list]:
    return {
        symbol: [(p / sum(q for q, _ in choices), tuple(text.split())) for p, text in choices]
        for symbol, choices in rules.items()
    }


def test_a_sentence_is_as_likely_as_all_its_derivations_together() -> None:
    listed = expand(shares(SMALL))
    wanted: dict[str, float] = defaultdict(float)
    for p, text in listed:
        wanted[text] += p
    assert len(wanted) < len(listed)  # some have two
    grammar = Grammar(SMALL)
    for text, p in wanted.items():
        assert math.isclose(grammar.log_prob(text), math.log(p), rel_tol=1e-12)
    assert grammar.log_prob("y x") == -math.inf
    assert grammar.log_prob("x y z z z") == -math.inf
    assert grammar.derivations == len(listed)
    assert math.isclose(grammar.entropy, -sum(p * math.log(p) for p, _ in listed))


def test_the_grammar_of_the_package_by_the_list_of_all_its_sentences() -> None:
    grammar = make_sentence_grammar()
    listed = expand(grammar.rules)
    assert len({text for _, text in listed}) == len(listed) == grammar.derivations == 200_880
    assert math.isclose(math.fsum(p for p, _ in listed), 1.0)
    assert math.isclose(grammar.entropy, -math.fsum(p * math.log(p) for p, _ in listed))
    for p, text in random.Random(1).sample(listed, 200):
        assert math.isclose(grammar.log_prob(text), math.log(p), rel_tol=1e-9)
    for wrong in ("the cats sees the dog", "a dog will runs", "the dog saw a cat tomorrow", ""):
        assert grammar.log_prob(wrong) == -math.inf


def test_what_is_drawn_is_drawn_as_often_as_it_is_likely() -> None:
    """By G, whose chi-squared has so many degrees of freedom as there are sentences less one: a
    false alarm once in 10,000.
    """
    wanted: dict[str, float] = defaultdict(float)
    for p, text in expand(shares(SMALL)):
        wanted[text] += p
    drawn = Counter(draw_sentences(Grammar(SMALL), 20_000, seed=3))
    assert set(drawn) <= set(wanted)
    g = 2 * sum(n * math.log(n / (20_000 * wanted[text])) for text, n in drawn.items())
    freedom = len(wanted) - 1
    # Wilson and Hilferty's: 3.72 deviations of a normal are 1e-4.
    assert g < freedom * (1 - 2 / (9 * freedom) + 3.72 * math.sqrt(2 / (9 * freedom))) ** 3
    assert draw_sentences(Grammar(SMALL), 5, seed=3) == draw_sentences(Grammar(SMALL), 5, seed=3)
