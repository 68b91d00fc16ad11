"""Sentences of a small probabilistic grammar of which everything is known: how likely each is, and
the nats that they take on average, beside which a model of them is laid.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from itertools import accumulate

START = "S"
Expansion = tuple[float, tuple[str, ...]]


class Grammar:
    """rules: of each symbol what it may become, as (share, "words and symbols"); whatever is no
    symbol is a word. No symbol may come out of itself, so that there are finitely many sentences.
    """

    def __init__(self, rules: Mapping[str, Sequence[tuple[float, str]]]) -> None:
        self.rules: dict[str, list[Expansion]] = {}
        for symbol, choices in rules.items():
            whole = sum(share for share, _ in choices)
            self.rules[symbol] = [(share / whole, tuple(text.split())) for share, text in choices]
        self._sums = {
            symbol: list(accumulate(share for share, _ in choices))
            for symbol, choices in self.rules.items()
        }

    def draw(self, source: random.Random, symbol: str = START) -> str:
        """A sentence, or what else comes of a symbol."""
        said: list[str] = []
        waiting = [symbol]
        while waiting:
            symbol = waiting.pop()
            if symbol not in self.rules:
                said.append(symbol)
                continue
            place = source.random()
            sums = self._sums[symbol]
            number = next((n for n, upto in enumerate(sums) if place < upto), len(sums) - 1)
            waiting.extend(reversed(self.rules[symbol][number][1]))
        return " ".join(said)

    def log_prob(self, sentence: str, symbol: str = START) -> float:
        """In nats, over all derivations (Jelinek & Lafferty 1991's inside probability); −inf of
        what the grammar cannot say.
        """
        words = sentence.split()

        @cache
        def ends(symbol: str, begin: int) -> dict[int, float]:
            """Where what comes of the symbol may end, and how likely it is there."""
            if symbol not in self.rules:
                fits = begin < len(words) and words[begin] == symbol
                return {begin + 1: 1.0} if fits else {}
            total: dict[int, float] = {}
            for share, symbols in self.rules[symbol]:
                reached = {begin: share}
                for each in symbols:
                    further: dict[int, float] = {}
                    for place, so_far in reached.items():
                        for end, own in ends(each, place).items():
                            further[end] = further.get(end, 0.0) + so_far * own
                    reached = further
                for end, p in reached.items():
                    total[end] = total.get(end, 0.0) + p
            return total

        p = ends(symbol, 0).get(len(words), 0.0)
        return math.log(p) if p else -math.inf

    @cached_property
    def entropy(self) -> float:
        """Nats of a derivation: of a sentence, where none has two."""

        @cache
        def of(symbol: str) -> float:
            return sum(
                share * (sum(map(of, symbols)) - math.log(share))
                for share, symbols in self.rules.get(symbol, ())
                if share
            )

        return of(START)

    @cached_property
    def derivations(self) -> int:
        """How many there are: sentences, where none has two."""

        @cache
        def count(symbol: str) -> int:
            if symbol not in self.rules:
                return 1
            return sum(math.prod(map(count, symbols)) for _, symbols in self.rules[symbol])

        return count(START)


NUMBERS = {"singular": 0.6, "plural": 0.4}
TENSES = {"present": 0.5, "past": 0.3, "future": 0.2}
_DETERMINERS = {
    "singular": [(5, "the"), (3, "a"), (2, "every")],
    "plural": [(5, "the"), (3, "some"), (2, "many")],
}
_NOUNS = (("cat", "cats"), ("dog", "dogs"), ("child", "children"), ("bird", "birds"),
          ("farmer", "farmers"), ("horse", "horses"))  # fmt: skip
# What one does, what several do, and what was done.
_WITH_OBJECT = (("sees", "see", "saw"), ("follows", "follow", "followed"),
                ("hears", "hear", "heard"), ("likes", "like", "liked"),
                ("chases", "chase", "chased"))  # fmt: skip
_ALONE = (("sleeps", "sleep", "slept"), ("runs", "run", "ran"),
          ("waits", "wait", "waited"), ("sings", "sing", "sang"))  # fmt: skip
_TIMES = {
    "present": [(2, ""), (1, "now"), (1, "today")],
    "past": [(2, ""), (1, "yesterday"), (1, "last week")],
    "future": [(2, ""), (1, "tomorrow"), (1, "soon")],
}


def make_sentence_grammar() -> Grammar:
    """A subject with its number, a verb that agrees with it in a tense, often an object, and a time
    that agrees with the tense: 200,880 sentences, none of them in two ways.
    """
    sentences: list[tuple[float, str]] = []
    rules: dict[str, Sequence[tuple[float, str]]] = {START: sentences}
    rules["ADJECTIVE"] = [(4, "old"), (3, "small"), (2, "quiet"), (1, "red")]
    rules["OBJECT"] = [(3, "the NOUN.singular"), (2, "a NOUN.singular"), (2, "the NOUN.plural"),
                       (1, "some NOUN.plural")]  # fmt: skip
    for place, (number, often) in enumerate(NUMBERS.items()):
        rules[f"DETERMINER.{number}"] = _DETERMINERS[number]
        rules[f"NOUN.{number}"] = [(1 / (n + 2), both[place]) for n, both in enumerate(_NOUNS)]
        rules[f"SUBJECT.{number}"] = [
            (3, f"DETERMINER.{number} NOUN.{number}"),
            (2, f"DETERMINER.{number} ADJECTIVE NOUN.{number}"),
        ]
        for tense, share in TENSES.items():
            form = f"{number}.{tense}"
            sentences.append((often * share, f"S.{form}"))
            rules[f"S.{form}"] = [(1, f"SUBJECT.{number} DOES.{form} TIME.{tense}")]
            rules[f"DOES.{form}"] = [(7, f"VERB.{form} OBJECT"), (3, f"ALONE.{form}")]
            for kind, verbs in (("VERB", _WITH_OBJECT), ("ALONE", _ALONE)):
                rules[f"{kind}.{form}"] = [(1, _inflect(verb, place, tense)) for verb in verbs]
            rules[f"TIME.{tense}"] = _TIMES[tense]
    return Grammar(rules)


def _inflect(verb: tuple[str, str, str], place: int, tense: str) -> str:
    if tense == "future":
        return f"will {verb[1]}"
    return verb[2] if tense == "past" else verb[place]


def draw_sentences(grammar: Grammar, count: int, seed: int) -> list[str]:
    """Independent draws; the same for a seed everywhere."""
    source = random.Random(seed)
    return [grammar.draw(source) for _ in range(count)]
